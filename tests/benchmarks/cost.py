"""What a picture costs: operations, memory, and how often the loop waits for its device."""

import torch
from torch.utils.flop_counter import FlopCounterMode

from helpers.generation.denoising import Denoiser
from helpers.generation.generate import generate
from helpers.generation.requests import Request
from helpers.models.loading import Gligen
from tests.benchmarks.timing import interleaved


def side(gligen: Gligen) -> int:
    """Pixels of a picture's side."""
    return gligen.unet.config.sample_size * 2 ** (len(gligen.vae.config.block_out_channels) - 1)


def operations(gligen: Gligen, request: Request, steps: int) -> float:
    """Floating point operations of one picture: counted for two and three steps, the rest by proportion."""
    counted = []
    for few in (2, 3):
        denoiser = Denoiser(gligen, few, "pndm", (side(gligen), side(gligen)))
        with FlopCounterMode(display=False) as counter:
            latents = denoiser.latents([request])
        counted.append(counter.get_total_flops())
    with FlopCounterMode(display=False) as counter:
        denoiser.decode(latents)
    return counted[0] + (counted[1] - counted[0]) * (steps - 2) + counter.get_total_flops()


def product_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Operations a second of a large matrix product, the best of ten."""
    n = 8192 if device.type == "cuda" else 1024
    a, b = (torch.randn(n, n, device=device, dtype=dtype) for _ in range(2))
    return 2 * n**3 / min(interleaved({"product": lambda: a @ b}, 10)["product"])


def waits(gligen: Gligen, request: Request) -> int:
    """How often ten more steps wait for the device or read it: 0 where the loop only queues work."""
    found = []
    for steps in (2, 12):
        denoiser = Denoiser(gligen, steps, "pndm", (side(gligen), side(gligen)))
        denoiser.latents([request])
        with torch.profiler.profile() as profile:
            denoiser.latents([request])
        names = [event.name for event in profile.events()]
        found.append(sum("StreamSynchronize" in name or "DtoH" in name for name in names))
    return found[1] - found[0]


def peak_memory(gligen: Gligen, requests: list[Request]) -> float:
    """GiB of GPU memory that a batch of these requests needs at most."""
    torch.cuda.reset_peak_memory_stats()
    list(generate(gligen, requests, 2, batch_size=len(requests), progress=False))
    return torch.cuda.max_memory_allocated() / 2**30
