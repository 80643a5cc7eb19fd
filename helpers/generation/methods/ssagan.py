"""SSA-GAN (Liao, Hu, Yang, Rosenhahn 2022, arXiv 2104.00567): a picture from a sentence, in one stage.

Every block predicts where the sentence concerns the picture: a mask between 0 and 1, which weighs the scale
and the shift that the sentence gives to the norms of the block after it (section 3.2). As in the published
code a mask of 0 leaves the norm as it is; the paper's equation would erase. No knobs: one picture per prompt
and seed.
"""

from base64 import b64encode
from collections.abc import Sequence
from functools import partial
from io import BytesIO
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import ModelMixin
from diffusers.configuration_utils import ConfigMixin, register_to_config
from PIL import Image
from torch import nn

from helpers.generation.methods import gans
from helpers.generation.methods.gans import Drawn, Text
from helpers.generation.requests import Request


class ConditionalNorm(nn.Module):
    """Batch norm, then scaled and shifted by a sentence where a mask says so: (1 + m g) norm(x) + m b."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        layers = ((nn.Linear(width, width), nn.ReLU(), nn.Linear(width, channels)) for _ in range(2))
        self.scale, self.shift = (nn.Sequential(*some) for some in layers)
        for last in (self.scale[-1], self.shift[-1]):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def forward(self, hidden: torch.Tensor, sentence: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """hidden: (n, channels, h, w); sentence: (n, width); mask: (n, 1, h, w)."""
        scale, shift = self.scale(sentence)[..., None, None], self.shift(sentence)[..., None, None]
        return (1 + mask * scale) * self.norm(hidden) + mask * shift


def mask_predictor(channels: int) -> nn.Sequential:
    """Logits of a mask (n, 1, h, w) from hidden states."""
    first = nn.Conv2d(channels, 100, 3, padding=1), nn.BatchNorm2d(100)
    return nn.Sequential(*first, nn.ReLU(), nn.Conv2d(100, 1, 1))


class Block(nn.Module):
    """Two convolutions with conditional norms, beside the identity; their gate starts at 0."""

    def __init__(self, inputs: int, outputs: int, width: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(ConditionalNorm(channels, width) for channels in (inputs, outputs))
        self.convolutions = nn.ModuleList(nn.Conv2d(one, outputs, 3, padding=1) for one in (inputs, outputs))
        self.shortcut = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()
        self.gate = nn.Parameter(torch.zeros(1))

    def forward(self, hidden: torch.Tensor, sentence: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Shapes as of `ConditionalNorm`; returns (n, outputs, h, w)."""
        made = hidden
        for norm, convolve in zip(self.norms, self.convolutions, strict=True):
            made = convolve(norm(made, sentence, mask).relu())
        return self.shortcut(hidden) + self.gate * made


class SsaGan(ModelMixin, ConfigMixin):
    """The generator; its defaults are those of the published one.

    sides: of the picture in each block; channels: of its hidden states, and of what it makes. width: of the
    text states. noise: length. latents: as for `AttnGan`.
    """

    @register_to_config
    def __init__(
        self,
        sides: tuple[int, ...] = (4, 8, 16, 32, 64, 128, 256),
        channels: tuple[int, ...] = (512, 512, 512, 512, 512, 256, 128, 64),
        width: int = 256,
        noise: int = 100,
        outputs: int = 3,
        latents: bool = False,
    ) -> None:
        super().__init__()
        self.linear = nn.Linear(noise, channels[0] * sides[0] ** 2)
        self.blocks = nn.ModuleList(Block(*pair, width) for pair in pairwise(channels))
        self.masks = nn.ModuleList(map(mask_predictor, channels[:-1]))
        self.norm, self.paint = nn.BatchNorm2d(channels[-1]), nn.Conv2d(channels[-1], outputs, 3, padding=1)

    def forward(self, noise: torch.Tensor, text: Text) -> Drawn:
        """noise: (n, noise), standard normal."""
        first = self.config.sides[0]
        hidden, masks = self.linear(noise).unflatten(1, (-1, first, first)), []
        for side, block, predict in zip(self.config.sides, self.blocks, self.masks, strict=True):
            logits = F.interpolate(predict(hidden), (side, side), mode="bilinear", align_corners=True)
            hidden = F.interpolate(hidden, (side, side))
            masks.append(logits.sigmoid())
            hidden = block(hidden, text.sentence, masks[-1])
        picture = self.paint(F.leaky_relu(self.norm(hidden), 0.2))
        return Drawn([picture if self.config.latents else picture.tanh()], [mask[:, 0] for mask in masks])


load = partial(gans.load, "ssagan", SsaGan)


class Sampler(gans.Sampler):
    """Pictures of prompts, in one pass, each with its last mask, a grey PNG in base64, in its record."""

    def make(self, requests: Sequence[Request], least: int = 0) -> Drawn:
        """What the generator makes; the last masks are kept for the records."""
        drawn = super().make(requests, least)
        self.masks = dict(zip(requests, drawn.maps[-1].cpu().numpy(), strict=False))
        return drawn

    def facts(self, request: Request) -> dict[str, str]:
        """The last mask of a picture of the last batch."""
        file = BytesIO()
        Image.fromarray(np.uint8((255 * self.masks[request]).round())).save(file, "PNG")
        return {"mask": b64encode(file.getvalue()).decode()}
