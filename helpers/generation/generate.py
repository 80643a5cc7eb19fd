"""Grounded generation: any mix of requests in, pictures out, in batches that fit into memory."""

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

from helpers.generation.denoising import Denoiser, noise
from helpers.generation.pictures import Picture, record, write
from helpers.generation.requests import Request, RequestError, check, guided_calls
from helpers.parameters import ParameterError
from helpers.runs import arms

if TYPE_CHECKING:
    from helpers.models.loading import Gligen

__all__ = ["Picture", "Request", "RequestError", "fitting", "generate", "noise", "write"]
MOST_AT_ONCE = {"cpu": 8, "cuda": 64}  # pictures; more of them are hardly faster
ALIVE = 100  # tensors as large as the UNet's first level that a row needs at once, estimated generously


def generate(
    gligen: "Gligen",
    requests: Iterable[Request],
    steps: int = 50,
    scheduler: str = "pndm",
    height: int | None = None,
    width: int | None = None,
    batch_size: int | None = None,
    fixed_shapes: bool = False,
    safety: bool = False,
    progress: bool = True,
    step: Callable[[int, int], None] = lambda done, total: None,
) -> Iterator[Picture]:
    """Pictures of requests, in their order, batch after batch.

    height, width: pixels, multiples of the autoencoder's factor (8); None: what the UNet was trained with.
    batch_size: pictures per batch; None: as many as free memory should hold. Halved when memory runs out.
    fixed_shapes: fill every UNet call up to a full batch, so that a picture is the same to the last bit
    however many others there are. safety: withhold pictures that the safety checker flags.
    step: called after each UNet call of a batch with how many are done, and how many there are.
    Crops are read when their batch is due. Raises RequestError or ParameterError, before any model runs, for
    requests and settings that cannot be right.
    """
    requests = list(requests)
    check(requests, gligen.unet.config.attention_type)
    _check_settings(gligen, steps, scheduler, batch_size or 1, safety)
    denoiser = Denoiser(gligen, steps, scheduler, _size(gligen, height, width))
    guided = any(request.guidance_scale > 1 for request in requests)
    rows_each = 1 + guided if fixed_shapes else 0

    def make(some: list[Request], batch_size: int) -> list[Picture]:
        return _make(denoiser, some, batch_size * rows_each, safety, step)

    return _stream(make, requests, batch_size or fitting(gligen, denoiser.size), progress)


def fitting(gligen: "Gligen", size: tuple[int, int]) -> int:
    """How many pictures of (height, width) pixels a batch may have: as many as should fit into 80 % of
    the free memory, two rows each; never more than pays off."""
    kind, unet, factor = gligen.device.type, gligen.unet, _factor(gligen)
    free = torch.cuda.mem_get_info(gligen.device)[0] if kind == "cuda" else psutil.virtual_memory().available
    places = (size[0] // factor) * (size[1] // factor)
    each = 2 * places * unet.config.block_out_channels[0] * unet.dtype.itemsize * ALIVE
    return max(1, min(MOST_AT_ONCE.get(kind, 8), int(0.8 * free / each)))


def _stream(
    make: Callable[[list[Request], int], list[Picture]], requests: list[Request], size: int, progress: bool
) -> Iterator[Picture]:
    """make(requests, batch size) of one batch after the other; smaller ones from where memory runs out."""
    done = 0
    with tqdm(total=len(requests), unit="picture", disable=not progress) as bar:
        while done < len(requests):
            try:
                made = make(requests[done : done + size], size)
            except RuntimeError as error:
                _check_memory(error, size)
                made = []
            if not made:  # cleared here, where the error no longer holds on to its tensors
                clear_device_cache(garbage_collection=True)
                size //= 2
            done += len(made)
            for picture in made:
                bar.update()
                yield picture


def _check_memory(error: RuntimeError, size: int) -> None:
    """Raise the error unless it is lack of memory, for which half the batch may be the remedy."""
    if not should_reduce_batch_size(error):
        raise error
    if size == 1:
        advice = "ask for smaller pictures, or free some memory"
        raise MemoryError(f"out of memory at batch_size 1: {advice}") from error
    warnings.warn(f"out of memory at batch_size {size}; going on with {size // 2}", stacklevel=4)


def _make(
    denoiser: Denoiser,
    requests: list[Request],
    rows: int,
    safety: bool,
    step: Callable[[int, int], None],
) -> list[Picture]:
    gligen, (height, width) = denoiser.gligen, denoiser.size
    began = time.monotonic()
    pictures = denoiser.pictures(denoiser.latents(requests, rows, step))
    flags = _flags(gligen, pictures) if safety else [False] * len(pictures)
    more = {"steps": denoiser.steps, "scheduler": denoiser.scheduler, "height": height, "width": width}
    more |= {"checkpoint": gligen.checkpoint and gligen.checkpoint.name, "commit": gligen.commit}
    more |= {"dtype": str(gligen.unet.dtype).removeprefix("torch.")}
    more |= {"seconds": round((time.monotonic() - began) / len(requests), 4)}
    rows = [denoiser.calls + len(guided_calls(request, denoiser.calls)) for request in requests]
    records = [
        record(request, gligen.tokenizer, **more, unet_rows=count)
        for request, count in zip(requests, rows, strict=True)
    ]
    return [
        Picture(request, None if flag else picture, record | {"flagged": bool(flag)})
        for request, picture, record, flag in zip(requests, pictures, records, flags, strict=True)
    ]


def _flags(gligen: "Gligen", pictures: list[Image.Image]) -> list[bool]:
    checker = gligen.safety_checker
    pixels = gligen.feature_extractor(pictures, return_tensors="pt").pixel_values
    # It paints black what it flags, in place, which would enter the scores unnoticed: it gets stand-ins
    stand_ins = [np.zeros((1, 1, 3)) for _ in pictures]
    return checker(clip_input=pixels.to(gligen.device, checker.dtype), images=stand_ins)[1]


def _size(gligen: "Gligen", height: int | None, width: int | None) -> tuple[int, int]:
    factor = _factor(gligen)
    default = gligen.unet.config.sample_size * factor
    sides = {"height": default if height is None else height, "width": default if width is None else width}
    for name, side in sides.items():
        if not (isinstance(side, int) and side > 0 and side % factor == 0):
            raise ParameterError(f"{name} = {side!r}: give pixels, a multiple of {factor}")
    return sides["height"], sides["width"]


def _factor(gligen: "Gligen") -> int:
    return 2 ** (len(gligen.vae.config.block_out_channels) - 1)


def _check_settings(gligen: "Gligen", steps: int, scheduler: str, batch_size: int, safety: bool) -> None:
    arms.check(steps=steps, batch_size=batch_size, scheduler=scheduler)
    if safety and gligen.safety_checker is None:
        raise ParameterError("safety = True: the models were loaded without a safety checker")
