"""Captions of photos by BLIP-2, in batches, whole or half by half; and the faults of a caption."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import torch
from PIL import Image
from transformers import Blip2Config

from helpers.models import devices
from helpers.models.checkpoints import locate
from helpers.models.loading import Loaded, load_captioner, release
from helpers.models.parts import read
from helpers.models.sets import Checkpoint


@dataclass(frozen=True)
class Caption:
    """generated_text: stripped of special tokens and outer blanks; seconds: its share of its batch's time."""

    generated_text: str
    seconds: float


def caption_all(
    checkpoint: Checkpoint,
    images: Iterable[Image.Image],
    beams: int = 4,
    max_new_tokens: int = 40,
    batch_size: int = 8,
) -> list[Caption]:
    """One caption per photo, in order, by beam search. The batch size changes no caption.

    images: PIL RGB of any size, read batch by batch. There is no text prompt: words start from the photo.
    The model is loaded whole where weights and work fit into the GPU; else one half at a time, vision for all
    photos, then language.
    """
    halves = not fits(checkpoint)
    captioner = load_captioner(checkpoint, half="vision" if halves else None)
    features = (_encode(captioner, batch) for batch in _batches(images, batch_size))
    if halves:
        features = [*features]
        release(captioner)
        captioner = load_captioner(checkpoint, half="language")
    made = [one for some in features for one in _decode(captioner, *some, beams, max_new_tokens)]
    release(captioner)
    return made


def fits(checkpoint: Checkpoint) -> bool:
    """Whether the memory of the GPU takes the whole model; on a CPU all fits."""
    if (device := devices.best_device()).type == "cpu":
        return True
    config = read(Blip2Config, checkpoint, locate(checkpoint)[0])
    dtype = devices.best_dtype(device, "opt" if config.use_decoder_only_language_model else "t5")
    return devices.parameters(checkpoint) * dtype.itemsize * devices.ROOM <= devices.memory(device)


def flags(text: str) -> tuple[str, ...]:
    """The faults of a caption: "empty", "repeats", or none.

    repeats: two to six words follow themselves, or one word does twice ("a dog and a dog" does not).
    """
    words = text.lower().replace(",", " ").replace(".", " ").split()
    if not words:
        return ("empty",)
    return ("repeats",) if any(_follows_itself(words, length) for length in range(1, 7)) else ()


def _follows_itself(words: list[str], length: int) -> bool:
    times = 3 if length == 1 else 2
    runs = range(len(words) - times * length + 1)
    return any(words[i : i + length] * times == words[i : i + times * length] for i in runs)


def _batches(images: Iterable[Image.Image], size: int) -> Iterator[list[Image.Image]]:
    remaining = iter(images)
    while batch := list(islice(remaining, size)):
        yield batch


@torch.no_grad()
def _encode(captioner: Loaded, images: list[Image.Image]) -> tuple[torch.Tensor, float]:
    """Photos as features for the language half, (n, queries, width) on the CPU, and the seconds it took."""
    start = time.perf_counter()
    pixels = captioner.processor(images=images, return_tensors="pt")["pixel_values"]
    features = captioner.model.get_image_features(pixels.to(captioner.device, captioner.dtype)).pooler_output
    return features.cpu(), time.perf_counter() - start


@torch.no_grad()
def _decode(
    captioner: Loaded, features: torch.Tensor, seconds: float, beams: int, max_new_tokens: int
) -> list[Caption]:
    """The features, one start token, and then words. `generate` of the whole model does the same behind image
    tokens; given embeddings alone, OPT returns new words only, so there is no prompt to strip."""
    start = time.perf_counter()
    language = captioner.model.language_model
    first = torch.full(
        (len(features), 1), captioner.model.config.text_config.bos_token_id, device=captioner.device
    )
    embedded = language.get_input_embeddings()(first)
    inputs = torch.cat([features.to(embedded), embedded], dim=1)
    mask = torch.ones(inputs.shape[:2], dtype=torch.long, device=captioner.device)
    options = {"num_beams": beams, "max_new_tokens": max_new_tokens, "do_sample": False}
    tokens = language.generate(inputs_embeds=inputs, attention_mask=mask, **options)
    texts = captioner.processor.batch_decode(tokens.cpu(), skip_special_tokens=True)
    each = (seconds + time.perf_counter() - start) / len(features)
    return [Caption(text.strip(), each) for text in texts]
