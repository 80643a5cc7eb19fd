"""What GANs from prompts have in common: text states, their parts, and drawing in one pass."""

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from diffusers import AutoencoderKL, DiffusionPipeline, ModelMixin
from diffusers.configuration_utils import ConfigMixin, register_to_config
from PIL import Image
from torch import nn
from torch.nn.utils.rnn import pack_sequence, pad_packed_sequence
from transformers import CLIPTextModel, CLIPTokenizer

from helpers.generation.denoising import Step, decoded, ignore, noises
from helpers.generation.requests import Request
from helpers.models.checkpoints import locate
from helpers.models.devices import placed
from helpers.models.parts import network, read
from helpers.models.sets import Checkpoint, ModelSet
from helpers.parameters import ParameterError
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


class Words(ModelMixin, ConfigMixin):
    """The text encoder of the published checkpoint: a bidirectional LSTM. words: its vocabulary, in order."""

    @register_to_config
    def __init__(self, words: tuple[str, ...], embedding: int = 300, width: int = 256) -> None:
        super().__init__()
        self.embed = nn.Embedding(len(words), embedding)
        self.lstm = nn.LSTM(embedding, width // 2, batch_first=True, bidirectional=True)
        self.index = {word: index for index, word in enumerate(words)}

    def forward(self, prompts: Sequence[str]) -> Text:
        """Text states; words outside of the vocabulary are left out, with a warning."""
        said = [re.findall(r"\w+", prompt.lower()) for prompt in prompts]
        if unknown := sorted({word for some in said for word in some if word not in self.index}):
            warnings.warn(f"words that the checkpoint does not know: {', '.join(unknown)}", stacklevel=2)
        tokens = [[self.index[word] for word in some if word in self.index] for some in said]
        if not all(tokens):
            prompt = prompts[tokens.index([])]
            raise ParameterError(f"prompt {prompt!r}: the checkpoint knows none of its words; give another")
        embedded = [self.embed(torch.tensor(one, device=self.device)) for one in tokens]
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


class GanPipeline(DiffusionPipeline):
    """What a GAN draws with, and the folders of its checkpoint. text_encoder: CLIP's, with its tokenizer, or
    `Words`; vae: None for a generator of pixels. checkpoint, commit: as of `Gligen`."""

    _optional_components = ("tokenizer", "vae")
    checkpoint: Checkpoint | None = None
    commit: str | None = None

    def __init__(
        self,
        generator: ModelMixin,
        text_encoder: CLIPTextModel | Words,
        tokenizer: CLIPTokenizer | None,
        vae: AutoencoderKL | None,
    ) -> None:
        super().__init__()
        self.register_modules(generator=generator, text_encoder=text_encoder, tokenizer=tokenizer, vae=vae)

    def encode(self, prompts: Sequence[str]) -> Text:
        """Text states of prompts."""
        own = self.text_encoder
        return encode(self.tokenizer, own, prompts) if self.tokenizer else own(prompts)


def load(
    name: str, kind: type[ModelMixin], models: ModelSet, safety: Checkpoint | None = None
) -> GanPipeline:
    """A method's generator, of that class, and the other parts of its checkpoint; in float32, for it is
    small. safety: not read, there is no checker. Raises CheckpointMissing."""
    checkpoint = models.methods[name]
    folder, commit = locate(checkpoint)
    given = checkpoint, folder, *placed(None, None, "clip")
    generator, tokenizer, vae = network(kind, *given, "generator"), None, None
    if (folder / "tokenizer").is_dir():
        tokenizer = read(CLIPTokenizer, checkpoint, folder, "tokenizer")
    if generator.config.latents:
        vae = network(AutoencoderKL, *given, "vae")
    text_encoder = network(CLIPTextModel if tokenizer else Words, *given, "text_encoder")
    parts = GanPipeline(generator, text_encoder, tokenizer, vae)
    parts.checkpoint, parts.commit = checkpoint, commit
    return parts


class Sampler:
    """Pictures of prompts, in one pass. Where a generator draws another size than `size`, they are resized.

    A generator is called with noise, text, and, where it has a condition, noise of the condition's length.
    """

    def __init__(self, parts: GanPipeline, steps: int, scheduler: str, size: tuple[int, int]) -> None:
        self.parts, self.size = parts, size

    def rows(self, request: Request) -> int:
        """Rows of the generator per picture."""
        return 1

    @torch.inference_mode()
    def draw(self, requests: Sequence[Request], least: int = 0, step: Step = ignore) -> list[Image.Image]:
        """Pictures, in the order of the requests."""
        pixels, vae = self.make(requests, least).pictures[-1], self.parts.vae
        step(1, 1)
        pixels = decoded(vae, pixels) if vae else pixels
        return [picture.resize(self.size[::-1]) for picture in images.to_images(pixels)][: len(requests)]

    @torch.inference_mode()
    def make(self, requests: Sequence[Request], least: int = 0) -> Drawn:
        """What the generator makes of the requests, and then of the first of them again, up to `least`."""
        for one in requests:
            if not re.search(r"\w", one.prompt):
                raise ParameterError(f"scene {one.scene!r}, prompt {one.prompt!r}: no word; give a prompt")
        filled = [requests[row % len(requests)] for row in range(max(len(requests), least))]
        text, config = self.parts.encode([request.prompt for request in filled]), self.parts.generator.config
        lengths = {"": config.noise} | ({"#1": config.condition} if "condition" in config else {})
        first, *spread = (
            noises(filled, (length,), name).to(self.parts.device) for name, length in lengths.items()
        )
        return self.parts.generator(first, text, *spread)
