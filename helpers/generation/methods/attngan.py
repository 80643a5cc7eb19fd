"""AttnGAN (Xu et al. 2018, arXiv 1711.10485): a picture from a prompt, in one pass, from coarse to fine.

Noise and the sentence make a first small picture; at each further stage every place looks at the words of
the prompt, takes up what concerns it, and the picture is doubled (sections 3.1 and 4). No knobs: one picture
per prompt and seed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
import transformers
from diffusers import AutoencoderKL, ModelMixin
from diffusers.configuration_utils import ConfigMixin, register_to_config
from PIL import Image
from torch import nn

from helpers.generation.denoising import Step, ignore, noise
from helpers.generation.requests import Request
from helpers.models.checkpoints import locate
from helpers.models.devices import CPU, placed
from helpers.models.parts import network, read
from helpers.models.sets import Checkpoint, ModelSet
from helpers.scenes import images


@dataclass(frozen=True)
class Text:
    """Text states of n prompts of at most k words. words: (n, k, width); real: (n, k) bool, False at padding;
    sentence: (n, width)."""

    words: torch.Tensor
    real: torch.Tensor
    sentence: torch.Tensor


@dataclass(frozen=True)
class Drawn:
    """What a generator makes of n prompts.

    pictures: one (n, c, h, w) per stage, coarse to fine, latents or pixels in [-1, 1]. attention: of the
    places of each stage but the last to the words, (n, h, w, k), sums over k are 1. mean, logvar: (n,
    condition), of the normal distribution that the condition is drawn from (conditioning augmentation).
    """

    pictures: list[torch.Tensor]
    attention: list[torch.Tensor]
    mean: torch.Tensor
    logvar: torch.Tensor


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
        context, attention = self.attention(hidden, text)
        return self.upsample(self.residual(torch.cat([hidden, context], 1))), attention


class AttnGan(ModelMixin, ConfigMixin):
    """The generator; its defaults are those of the published one for COCO.

    channels: of each stage's hidden states; doublings: of the first stage, from 4 x 4. width: of the text
    states. noise, condition: lengths. text: the folder, beside its own, with text_encoder and tokenizer;
    vae: that of the autoencoder whose latents it draws, scaled; "" where it draws pixels.
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
        text: str = "..",
        vae: str = "",
    ) -> None:
        super().__init__()
        self.augmentation = nn.Linear(width, 4 * condition)
        self.first = FirstStage(noise + condition, channels[0], doublings)
        pairs = zip(channels, channels[1:], strict=False)
        self.further = nn.ModuleList(NextStage(*pair, width, residual_blocks) for pair in pairs)
        paint = (nn.Conv2d(some, outputs, 3, padding=1, bias=False) for some in channels)
        self.pictures = nn.ModuleList(paint)

    def forward(self, noise: torch.Tensor, spread: torch.Tensor, text: Text) -> Drawn:
        """noise: (n, noise) and spread: (n, condition), standard normal: the latter varies the condition."""
        mean, logvar = F.glu(self.augmentation(text.sentence), 1).chunk(2, 1)
        condition = mean + (logvar / 2).exp() * spread
        hidden, attention = [self.first(torch.cat([condition, noise], 1))], []
        for stage in self.further:
            made, looked = stage(hidden[-1], text)
            hidden.append(made)
            attention.append(looked)
        pictures = [paint(one) for paint, one in zip(self.pictures, hidden, strict=True)]
        if not self.config.vae:
            pictures = [picture.tanh() for picture in pictures]
        return Drawn(pictures, attention, mean, logvar)


def encode(tokenizer, encoder: nn.Module, prompts: Sequence[str]) -> Text:
    """CLIP's text states; the words are all tokens but those of begin and end."""
    options = {"padding": True, "truncation": True, "max_length": 77, "return_tensors": "pt"}
    tokens = tokenizer(list(prompts), **options).to(encoder.device)
    states, real = encoder(tokens.input_ids), tokens.attention_mask.bool()
    # without the end of each: the first padding, or the last token, is what it moves to
    return Text(states.last_hidden_state[:, 1:-1].float(), real[:, 2:], states.pooler_output.float())
