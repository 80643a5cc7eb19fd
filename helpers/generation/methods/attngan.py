"""AttnGAN (Xu et al. 2018, arXiv 1711.10485): a picture from a prompt, in one pass, from coarse to fine.

Noise and the sentence make a first small picture; at each further stage every place looks at the words of
the prompt, takes up what concerns it, and the picture is doubled (sections 3.1 and 4). No knobs: one picture
per prompt and seed.
"""

import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, ModelMixin
from diffusers.configuration_utils import ConfigMixin, register_to_config
from PIL import Image
from torch import nn
from torch.nn.utils.rnn import pack_sequence, pad_packed_sequence
from transformers import CLIPTextModel, CLIPTokenizer

from helpers.generation.denoising import DECODED_AT_ONCE, Step, ignore, noise
from helpers.generation.requests import Request
from helpers.models.checkpoints import locate
from helpers.models.devices import CPU, placed
from helpers.models.parts import network, read
from helpers.models.sets import Checkpoint, ModelSet
from helpers.runs.protocol import digest
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

    pictures: one (n, c, h, w) per stage, coarse to fine, latents or pixels in [-1, 1]. maps: of AttnGAN the
    attention of the places of each stage but the last to the words, (n, h, w, k), sums over k are 1; of
    SSA-GAN the masks (n, h, w) of its blocks. mean, logvar: (n, condition), of the normal distribution that
    the condition is drawn from (conditioning augmentation, AttnGAN alone).
    """

    pictures: list[torch.Tensor]
    maps: list[torch.Tensor]
    mean: torch.Tensor | None = None
    logvar: torch.Tensor | None = None


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
        if not self.config.vae:
            pictures = [picture.tanh() for picture in pictures]
        return Drawn(pictures, maps, mean, logvar)


class Words(ModelMixin, ConfigMixin):
    """The text encoder of the published checkpoint: a bidirectional LSTM. words: its vocabulary, in order."""

    @register_to_config
    def __init__(self, words: tuple[str, ...], embedding: int = 300, width: int = 256) -> None:
        super().__init__()
        self.embedding = nn.Embedding(len(words), embedding)
        self.lstm = nn.LSTM(embedding, width // 2, batch_first=True, bidirectional=True)
        self.index = {word: index for index, word in enumerate(words)}

    def forward(self, prompts: Sequence[str]) -> Text:
        """Text states; words outside of the vocabulary are left out, with a warning."""
        said = [re.findall(r"\w+", prompt.lower()) for prompt in prompts]
        if unknown := sorted({word for some in said for word in some if word not in self.index}):
            warnings.warn(f"words that the checkpoint does not know: {', '.join(unknown)}", stacklevel=2)
        tokens = [[self.index[word] for word in some if word in self.index] for some in said]
        embedded = [self.embedding(torch.tensor(one, device=self.device)) for one in tokens]
        states, (last, _) = self.lstm(pack_sequence(embedded, enforce_sorted=False))
        states, lengths = pad_packed_sequence(states, batch_first=True)
        real = torch.arange(states.shape[1]) < lengths[:, None]
        return Text(states, real.to(self.device), last.transpose(0, 1).flatten(1))


def encode(tokenizer: CLIPTokenizer, encoder: CLIPTextModel, prompts: Sequence[str]) -> Text:
    """CLIP's text states; the words are all tokens but those of begin and end."""
    options = {"padding": True, "truncation": True, "max_length": 77, "return_tensors": "pt"}
    tokens = tokenizer(list(prompts), **options).to(encoder.device)
    states, real = encoder(tokens.input_ids), tokens.attention_mask.bool()
    return Text(states.last_hidden_state[:, 1:-1].float(), real[:, 2:], states.pooler_output.float())


@dataclass
class Gan:
    """What a GAN draws with. encode: text states of prompts. tokenizer: None for `Words`; vae: None for a
    generator of pixels."""

    generator: ModelMixin
    encode: Callable[[Sequence[str]], Text]
    tokenizer: CLIPTokenizer | None = None
    vae: AutoencoderKL | None = None
    device: torch.device = CPU
    checkpoint: Checkpoint | None = None
    commit: str | None = None


def load(models: ModelSet, safety: Checkpoint | None = None) -> Gan:
    """The parts of a model set's AttnGAN. Raises CheckpointMissing."""
    return load_gan(models.methods["attngan"], AttnGan)


def load_gan(checkpoint: Checkpoint, kind: type[ModelMixin]) -> Gan:
    """A generator of that class, and the parts that its configuration names, which may lie in the folder of
    another checkpoint; in float32, for it is small. commit: the checksum of its folder."""
    folder, (device, dtype) = locate(checkpoint)[0], placed(None, None, "clip")
    given = checkpoint, folder, device, dtype
    generator, tokenizer = network(kind, *given), None
    text, vae = generator.config.text, generator.config.vae
    if text:
        tokenizer = read(CLIPTokenizer, checkpoint, folder, f"{text}/tokenizer")
        words = partial(encode, tokenizer, network(CLIPTextModel, *given, f"{text}/text_encoder"))
    else:
        words = network(Words, *given, "words")
    vae = network(AutoencoderKL, *given, vae) if vae else None
    return Gan(generator, words, tokenizer, vae, device, checkpoint, digest(folder))


class Sampler:
    """Pictures of prompts, in one pass. Where they are not of `size`, they are resized."""

    def __init__(self, parts: Gan, steps: int, scheduler: str, size: tuple[int, int]) -> None:
        self.parts, self.size = parts, size

    def rows(self, request: Request) -> int:
        """Rows of the generator per picture."""
        return 1

    @torch.inference_mode()
    def draw(self, requests: Sequence[Request], least: int = 0, step: Step = ignore) -> list[Image.Image]:
        """Pictures, in the order of the requests."""
        pictures, vae = self.make(requests, least)[0].pictures[-1], self.parts.vae
        step(1, 1)
        if vae:
            parts = (pictures / vae.config.scaling_factor).split(DECODED_AT_ONCE)
            pictures = torch.cat([vae.decode(part).sample for part in parts])
        return [picture.resize(self.size[::-1]) for picture in images.to_images(pictures[: len(requests)])]

    @torch.inference_mode()
    def make(self, requests: Sequence[Request], least: int = 0) -> tuple[Drawn, Text]:
        """What the generator makes of the requests, and then of the first of them again, up to `least`."""
        filled = [requests[row % len(requests)] for row in range(max(len(requests), least))]
        text = self.parts.encode([request.prompt for request in filled])
        return self.generate(filled, text), text

    def generate(self, requests: Sequence[Request], text: Text) -> Drawn:
        """What the generator makes of requests with these text states."""
        config = self.parts.generator.config
        return self.parts.generator(
            self.noises(requests, config.noise), text, self.noises(requests, config.condition, "#1")
        )

    def noises(self, requests: Sequence[Request], length: int, name: str = "") -> torch.Tensor:
        """Standard normal (n, length), one per picture; name: of another than the first."""
        rows = [noise(one.seed, one.scene + name, (length,)) for one in requests]
        return torch.stack(rows).to(self.parts.device)
