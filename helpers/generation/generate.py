"""Grounded generation: any mix of requests in, pictures out, in batches that fit into memory."""

import math
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import psutil
import torch
from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size
from PIL import Image
from tqdm.auto import tqdm

from helpers.generation.denoising import Step, factor, ignore, noise
from helpers.generation.methods import sampler as sampler_of
from helpers.generation.pictures import Picture, record, write
from helpers.generation.requests import Request, RequestError, check
from helpers.parameters import ParameterError
from helpers.runs import arms

if TYPE_CHECKING:
    from helpers.models.loading import Gligen

__all__ = ["Picture", "Request", "RequestError", "fitting", "generate", "noise", "write"]
MOST_AT_ONCE = {"cpu": 8, "cuda": 64}  # pictures; more of them are hardly faster
ALIVE = 100  # tensors as large as the UNet's first level that a row needs at once, estimated generously


def generate(
    parts: "Gligen",
    requests: Iterable[Request],
    steps: int = 50,
    scheduler: str = "pndm",
    height: int | None = None,
    width: int | None = None,
    batch_size: int | None = None,
    fixed_shapes: bool = False,
    safety: bool = False,
    progress: bool = True,
    step: Step = ignore,
) -> Iterator[Picture]:
    """Pictures of requests of one method, or of several that share a sampler, in their order, in batches.

    parts: what the method draws with (a Gligen, or what its `load` gives: anything with a device).
    height, width: pixels, multiples of the autoencoder's factor (8); None: what the UNet was trained with.
    batch_size: pictures per batch; None: as many as free memory should hold. Halved when memory runs out.
    fixed_shapes: fill every UNet call up to a full batch, so that a picture is the same however many others
    there are: to the last bit with one thread, to a level of 255 in few values with several.
    safety: withhold pictures that the safety checker flags.
    Crops and photos are read when their batch is due. Raises RequestError or ParameterError, before any model
    runs, for requests and settings that cannot be right.
    """
    if not (requests := list(requests)):
        return iter(())
    unet = getattr(parts, "unet", None)
    check(requests, unet and getattr(unet.config, "attention_type", None))
    arms.check(steps=steps, batch_size=batch_size or 1, scheduler=scheduler)
    if safety and getattr(parts, "safety_checker", None) is None:
        raise ParameterError("safety = True: the models were loaded without a safety checker")
    size = _size(parts, height, width)
    sampler = sampler_of(requests)(parts, steps, scheduler, size)
    prepare, facts = getattr(sampler, "prepare", len), getattr(sampler, "facts", lambda _: {})
    rows_each = 1 + any(request.guidance_scale > 1 for request in requests) if fixed_shapes else 0
    known = {"steps": steps, "scheduler": scheduler, "height": size[0], "width": size[1]} | _origin(parts)

    def make(some: list[Request], batch_size: int) -> list[Picture]:
        """Pictures of one batch, with their records."""
        began, made = time.monotonic(), []
        pictures = sampler.draw(some, batch_size * rows_each, step)
        flags = _flags(parts, pictures) if safety else [False] * len(pictures)
        seconds = round((time.monotonic() - began) / len(some), 4)
        for request, picture, flag in zip(some, pictures, flags, strict=True):
            own = {"seconds": seconds, "unet_rows": sampler.rows(request), "flagged": bool(flag)}
            told = record(request, getattr(parts, "tokenizer", None), **known, **own) | facts(request)
            made.append(Picture(request, None if flag else picture, told))
        return made

    return _stream(make, requests, batch_size or fitting(parts, size), progress, prepare)


def _origin(parts: "Gligen") -> dict[str, str | None]:
    """For the record of a picture: the checkpoint that draws it, with its licence if there is one."""
    checkpoint = getattr(parts, "checkpoint", None)
    dtype = getattr(getattr(parts, "unet", parts), "dtype", None)
    known = {"checkpoint": checkpoint and checkpoint.name, "commit": getattr(parts, "commit", None)}
    known |= {"dtype": dtype and str(dtype).removeprefix("torch.")}
    return known | ({"licence": terms} if (terms := getattr(checkpoint, "licence", "")) else {})


def fitting(parts: "Gligen", size: tuple[int, int]) -> int:
    """How many pictures of (height, width) pixels a batch may have: as many as should fit into 80 % of
    the free memory, two rows each; never more than pays off."""
    kind, unet = parts.device.type, getattr(parts, "unet", None)
    most = getattr(parts, "most_at_once", MOST_AT_ONCE.get(kind, 8))
    if unet is None:
        return most
    free = torch.cuda.mem_get_info(parts.device)[0] if kind == "cuda" else psutil.virtual_memory().available
    places = math.prod(side // factor(parts) for side in size)
    each = 2 * places * unet.config.block_out_channels[0] * unet.dtype.itemsize * ALIVE
    return max(1, min(most, int(0.8 * free / each)))


def _stream(
    make: Callable[[list[Request], int], list[Picture]],
    requests: list[Request],
    size: int,
    progress: bool,
    prepare: Callable[[list[Request]], int],
) -> Iterator[Picture]:
    """make(requests, batch size) of one batch after the other; smaller ones from where memory runs out.
    prepare: what goes before, for the first so many requests, which it returns."""
    done = ready = 0
    with tqdm(total=len(requests), unit="picture", disable=not progress) as bar:
        while done < len(requests):
            if done == ready:
                ready += prepare(requests[done:])
            try:
                made = make(requests[done : min(done + size, ready)], size)
            except RuntimeError as error:
                if not should_reduce_batch_size(error):
                    raise
                if size == 1:
                    advice = "ask for smaller pictures, or free some memory"
                    raise MemoryError(f"out of memory at batch_size 1: {advice}") from error
                warnings.warn(f"out of memory at batch_size {size}; going on with {size // 2}", stacklevel=3)
                made = []
            if not made:  # cleared here, where the error no longer holds on to its tensors
                clear_device_cache(garbage_collection=True)
                size //= 2
            done += len(made)
            for picture in made:
                bar.update()
                yield picture


def _flags(parts: "Gligen", pictures: list[Image.Image]) -> list[bool]:
    checker = parts.safety_checker
    pixels = parts.feature_extractor(pictures, return_tensors="pt").pixel_values
    # It paints black what it flags, in place, which would enter the scores unnoticed: it gets stand-ins
    stand_ins = [np.zeros((1, 1, 3)) for _ in pictures]
    return checker(clip_input=pixels.to(parts.device, checker.dtype), images=stand_ins)[1]


def _size(parts: "Gligen", height: int | None, width: int | None) -> tuple[int, int]:
    each, unet = factor(parts), getattr(parts, "unet", None)
    sides = {"height": height, "width": width}
    for name, side in sides.items():
        if side is None and unet:
            sides[name] = unet.config.sample_size * each
        elif not (isinstance(side, int) and side > 0 and side % each == 0):
            raise ParameterError(f"{name} = {side!r}: give pixels, a multiple of {each}")
    return sides["height"], sides["width"]
