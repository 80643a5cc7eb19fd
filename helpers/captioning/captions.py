"""Captions of photos by BLIP-2, in batches, whole or half by half; and the faults of a caption."""

import re
import time
from collections.abc import Iterable
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

REPEATS = re.compile(r"(?<!\S)(?:(\S+(?: \S+){1,5}) \1|(\S+) \2 \2)(?!\S)")  # in words with a blank between


@dataclass(frozen=True)
class Caption:
    """generated_text: stripped of special tokens and outer blanks; seconds: its share of its batch's time;
    flags: its faults, see `flags`."""

    generated_text: str
    seconds: float
    flags: tuple[str, ...]


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
    remaining = iter(images)
    batches = iter(lambda: [*islice(remaining, batch_size)], [])
    features = (_encode(captioner, batch) for batch in batches)
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
    words = " ".join(re.sub("[,.]", " ", text.lower()).split())
    return ("repeats",) * bool(REPEATS.search(words)) if words else ("empty",)


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
    return [Caption(text.strip(), each, flags(text)) for text in texts]
