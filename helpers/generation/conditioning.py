"""The UNet's conditions: text embeddings of prompts and grounding tokens of boxes, each computed once."""

import copy
import hashlib
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import TYPE_CHECKING

import torch
from PIL import Image

from helpers.generation.requests import PLACES, Entries

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel

    from helpers.models.loading import Gligen

IMAGE_NORM = 28.7  # length of a projected image embedding, as GLIGEN was trained with
REMEMBERED = 1024  # distinct inputs kept: about 120 MB of text embeddings in half precision


class Conditions:
    """Text embeddings and grounding tokens for the pictures of one run; equal inputs are computed once.

    The loaded models stay as they are: tokens are made by a float32 copy of the position net, because boxes
    in half precision are off by up to a pixel.
    """

    def __init__(self, parts: "Gligen") -> None:
        self.parts = parts
        self.width = parts.unet.config.cross_attention_dim
        self.reads_images = parts.unet.config.attention_type == "gated-text-image"
        net = getattr(parts.unet, "position_net", None)
        self.net = None if net is None else copy.deepcopy(net).float()
        self.memory: dict[tuple[str, Hashable], torch.Tensor] = {}

    def prompt_embeds(self, prompts: Sequence[str]) -> torch.Tensor:
        """Text embeddings of prompts cut at the tokenizer's 77 tokens: (n, 77, width) in the UNet's dtype."""
        return torch.stack(self._remember(self._encode_prompts, prompts, prompts))

    def tokens(self, pictures: Iterable[Entries]) -> torch.Tensor:
        """Grounding tokens of n pictures and, as the last row, of a picture without boxes (null tokens).

        Returns (n + 1, 30, width) in the UNet's dtype; (n + 1, 60, width) where the UNet reads images too: 30
        of the phrases, 30 of the images. Empty places, and absent phrases or images, are the learnt null
        features. The crops of one picture are in memory at a time.
        """
        pictures = list(pictures)
        corners, masks = torch.zeros(len(pictures) + 1, PLACES, 4), torch.zeros(len(pictures) + 1, PLACES)
        for row, one in enumerate(pictures):
            corners[row, : len(one.boxes)], masks[row, : len(one.boxes)] = torch.from_numpy(one.boxes), 1
        phrase_masks, phrase_embeds = self._fill(self._encode_phrases, [one.phrases for one in pictures], str)
        inputs = {"positive_embeddings": phrase_embeds}
        if self.reads_images:
            crops = [[self._pixels(crop, one.request.crop_fit) for crop in one.crops] for one in pictures]
            image_masks, image_embeds = self._fill(self._encode_images, crops, _content)
            inputs = {"phrases_embeddings": phrase_embeds, "image_embeddings": image_embeds}
            inputs |= {"phrases_masks": phrase_masks, "image_masks": image_masks}
        device = self.parts.device
        tokens = self.net(boxes=corners.to(device), masks=masks.to(device), **inputs)
        return tokens.to(self.parts.unet.dtype)

    def _fill(
        self, encode: Callable, given: Sequence[Sequence], key: Callable[..., Hashable]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Masks (n + 1, 30), 1 where something is given, and the float32 embeddings (n + 1, 30, width)."""
        rows = ((row, place, one) for row, its in enumerate(given) for place, one in enumerate(its))
        inputs = {(row, place): one for row, place, one in rows if one is not None}
        masks = torch.zeros(len(given) + 1, PLACES, device=self.parts.device)
        filled = torch.zeros(*masks.shape, self.width, device=self.parts.device)
        if inputs:
            where, some = tuple(zip(*inputs, strict=True)), list(inputs.values())
            masks[where] = 1
            filled[where] = torch.stack(self._remember(encode, [*map(key, some)], some))
        return masks, filled

    def _remember(self, encode: Callable, keys: Sequence[Hashable], inputs: Sequence) -> list[torch.Tensor]:
        if len(self.memory) > REMEMBERED:
            self.memory.clear()
        keys = [(encode.__name__, key) for key in keys]
        new = {key: one for key, one in zip(keys, inputs, strict=True) if key not in self.memory}
        if new:
            self.memory.update(zip(new, encode(list(new.values())), strict=True))
        return [self.memory[key] for key in keys]

    def _tokenize(self, texts: list[str], padding: str) -> dict[str, torch.Tensor]:
        tokenizer = self.parts.tokenizer
        options = {"max_length": tokenizer.model_max_length, "truncation": True, "return_tensors": "pt"}
        return tokenizer(texts, padding=padding, **options).to(self.parts.device)

    def _encode_prompts(self, prompts: list[str]) -> torch.Tensor:
        # without the attention mask, as Stable Diffusion was trained: the states of the padding count
        embeds = self.parts.text_encoder(self._tokenize(prompts, "max_length").input_ids)[0]
        return embeds.to(self.parts.unet.dtype)

    def _encode_phrases(self, phrases: list[str]) -> torch.Tensor:
        return self.parts.text_encoder(**self._tokenize(phrases, "longest")).pooler_output.float()

    def _pixels(self, crop: Image.Image | None, fit: str) -> torch.Tensor | None:
        """A crop as the image encoder reads it, (3, h, w), some hundred kilobytes in place of megabytes."""
        if crop is None:
            return None
        side, options = self.parts.image_encoder.config.image_size, {}
        if fit == "squash":
            options = {"size": {"height": side, "width": side}, "do_center_crop": False}
        return self.parts.processor(images=[crop], return_tensors="pt", **options).pixel_values[0]

    def _encode_images(self, crops: list[torch.Tensor]) -> torch.Tensor:
        encoder = self.parts.image_encoder
        embeds = encoder(torch.stack(crops).to(self.parts.device, encoder.dtype)).image_embeds
        projected = self.parts.image_project(embeds).float()
        return IMAGE_NORM * projected / projected.norm(dim=-1, keepdim=True)


def _content(pixels: torch.Tensor) -> bytes:
    return hashlib.sha256(pixels.numpy().tobytes()).digest()


def reading_tokens(unet: "UNet2DConditionModel") -> "UNet2DConditionModel":
    """A second UNet of the same weights, which reads tokens where the first makes them in every step.

    They are its cross_attention_kwargs {"gligen": {"input": tokens}}, for it hands these to `Identity`.
    """
    twin = copy.copy(unet)
    twin._modules = {**unet._modules, "position_net": torch.nn.Identity()}
    return twin
