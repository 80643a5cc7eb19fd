"""AttnGAN (Xu et al. 2018, arXiv 1711.10485): a picture from a prompt, in one pass, from coarse to fine.

Noise and the sentence make a first small picture; at each further stage every place looks at the words of
the prompt, takes up what concerns it, and the picture is doubled (sections 3.1 and 4). No knobs: one picture
per prompt and seed.
"""

from functools import partial
from itertools import pairwise

import torch
import torch.nn.functional as F
from diffusers import ModelMixin
from diffusers.configuration_utils import ConfigMixin, register_to_config
from torch import nn

from helpers.generation.methods import gans
from helpers.generation.methods.gans import Drawn, Text


class WordAttention(nn.Module):
    """Every place's mean of the projected words, weighted by softmax of their products (eq. 2 and 3)."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.project = nn.Linear(width, channels, bias=False)

    def forward(self, hidden: torch.Tensor, text: Text) -> tuple[torch.Tensor, torch.Tensor]:
        """Context (n, channels, h, w) of hidden states of that shape, and attention (n, h, w, k)."""
        words = self.project(text.words)
        scores = torch.einsum("nchw,nkc->nhwk", hidden, words)
        attention = scores.masked_fill(~text.real[:, None, None], -torch.inf).softmax(-1)
        return torch.einsum("nhwk,nkc->nchw", attention, words), attention


def gated(inputs: int, outputs: int) -> list[nn.Module]:
    """A convolution with norm and gated linear units."""
    convolution = nn.Conv2d(inputs, 2 * outputs, 3, padding=1, bias=False)
    return [convolution, nn.BatchNorm2d(2 * outputs), nn.GLU(1)]


def doubled(inputs: int, outputs: int) -> nn.Sequential:
    """Twice the height and width."""
    return nn.Sequential(nn.Upsample(scale_factor=2), *gated(inputs, outputs))


class Residual(nn.Module):
    """Two convolutions beside the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        last = nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)
        self.block = nn.Sequential(*gated(channels, channels), *last)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """hidden: (n, channels, h, w); returns the same shape."""
        return hidden + self.block(hidden)


class FirstStage(nn.Module):
    """Hidden states (n, channels, 4 * 2**doublings, the same) of noise and condition (n, inputs)."""

    def __init__(self, inputs: int, channels: int, doublings: int) -> None:
        super().__init__()
        widths = [channels * 2**power for power in range(doublings, -1, -1)]
        self.linear = nn.Linear(inputs, 2 * 16 * widths[0], bias=False)
        self.norm = nn.BatchNorm1d(2 * 16 * widths[0])
        self.doublings = nn.Sequential(*map(doubled, widths, widths[1:]))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        hidden = F.glu(self.norm(self.linear(inputs)), 1)
        return self.doublings(hidden.unflatten(1, (-1, 4, 4)))


class NextStage(nn.Module):
    """Hidden states (n, outputs, 2 h, 2 w) of those of the stage before, (n, inputs, h, w), and words."""

    def __init__(self, inputs: int, outputs: int, width: int, residual_blocks: int) -> None:
        super().__init__()
        self.attention = WordAttention(inputs, width)
        self.residual = nn.Sequential(*(Residual(2 * inputs) for _ in range(residual_blocks)))
        self.upsample = doubled(2 * inputs, outputs)

    def forward(self, hidden: torch.Tensor, text: Text) -> tuple[torch.Tensor, torch.Tensor]:
        """Hidden states, and the attention (n, h, w, k) of the places before to the words."""
        context, attention = self.attention(hidden, text)
        return self.upsample(self.residual(torch.cat([hidden, context], 1))), attention


class AttnGan(ModelMixin, ConfigMixin):
    """The generator; its defaults are those of the published one for COCO.

    channels: of each stage's hidden states; doublings: of the first stage, from 4 x 4. width: of the text
    states. noise, condition: lengths. latents: whether it draws an autoencoder's latents, scaled, or pixels.
    """

    @register_to_config
    def __init__(
        self,
        channels: tuple[int, ...] = (48, 48, 48),
        doublings: int = 4,
        residual_blocks: int = 3,
        width: int = 256,
        noise: int = 100,
        condition: int = 100,
        outputs: int = 3,
        latents: bool = False,
    ) -> None:
        super().__init__()
        self.augmentation = nn.Linear(width, 4 * condition)
        self.first = FirstStage(noise + condition, channels[0], doublings)
        pairs = pairwise(channels)
        self.further = nn.ModuleList(NextStage(*pair, width, residual_blocks) for pair in pairs)
        paint = (nn.Conv2d(some, outputs, 3, padding=1, bias=False) for some in channels)
        self.pictures = nn.ModuleList(paint)

    def forward(self, noise: torch.Tensor, text: Text, spread: torch.Tensor) -> Drawn:
        """noise: (n, noise) and spread: (n, condition), standard normal; the latter varies the condition."""
        mean, logvar = F.glu(self.augmentation(text.sentence), 1).chunk(2, 1)
        condition = mean + (logvar / 2).exp() * spread
        hidden, maps = [self.first(torch.cat([condition, noise], 1))], []
        for stage in self.further:
            made, attention = stage(hidden[-1], text)
            hidden.append(made)
            maps.append(attention)
        pictures = [paint(one) for paint, one in zip(self.pictures, hidden, strict=True)]
        if not self.config.latents:
            pictures = [picture.tanh() for picture in pictures]
        return Drawn(pictures, maps, mean, logvar)


load = partial(gans.load, "attngan", AttnGan)
Sampler = gans.Sampler
