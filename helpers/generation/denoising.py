"""The grounded denoising loop: a batch of requests becomes latents, and latents become pictures."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, PNDMScheduler, UniPCMultistepScheduler
from PIL import Image

from helpers.generation import fusers
from helpers.generation.conditioning import Conditions
from helpers.generation.inpainting import canvas
from helpers.generation.requests import Request, entries, strengths
from helpers.scenes import images

if TYPE_CHECKING:
    from diffusers import SchedulerMixin

    from helpers.models.loading import Gligen

SCHEDULERS = {  # those of settings.SCHEDULERS
    "pndm": (PNDMScheduler, {}),
    "ddim": (DDIMScheduler, {"clip_sample": False}),  # its default would clip latents as if they were pixels
    "dpm++2m": (DPMSolverMultistepScheduler, {}),
    "unipc": (UniPCMultistepScheduler, {}),
}
DECODED_AT_ONCE = 4  # pictures; decoding one takes more memory than denoising it


def noise(seed: int, scene: str, shape: tuple[int, ...]) -> torch.Tensor:
    """Standard normal float32 on the CPU that depends on (seed, scene) and the shape alone."""
    digest = hashlib.sha256(f"{seed}:{scene}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
    return torch.randn(shape, generator=generator)


@dataclass(frozen=True, eq=False)
class Share:
    """The rows of a batch that take one UNet call together; gates where grounding fades.

    rows: indices; those from `count` on only fill the call up to a fixed shape.
    """

    rows: torch.Tensor
    count: int
    grounded: bool
    gates: dict[str, torch.Tensor] | None


class Denoiser:
    """Denoises batches of requests with one checkpoint, one scheduler and one picture size.

    size: (height, width) in pixels. compile: compile the UNet, but not for steps in which grounding fades.
    """

    def __init__(
        self, gligen: "Gligen", steps: int, scheduler: str, size: tuple[int, int], compile: bool = False
    ) -> None:
        self.gligen, self.steps, self.scheduler, self.size = gligen, steps, scheduler, size
        factor = 2 ** (len(gligen.vae.config.block_out_channels) - 1)
        self.shape = (gligen.vae.config.latent_channels, size[0] // factor, size[1] // factor)
        self.conditions = Conditions(gligen)
        self.calls = fusers.calls(gligen.unet, compile)

    @torch.inference_mode()
    def latents(self, requests: Sequence[Request], rows: int = 0) -> torch.Tensor:
        """Denoised latents (n, c, h, w) float32, in the order of the requests, on the model's device.

        Rows of a UNet call: every picture as told, then once more, untold, those with guidance_scale over 1.
        rows: fill every call up to so many, so that shapes never change. What depends on the requests is
        made before the loop; the loop only queues work for the device.
        """
        count, device = len(requests), self.gligen.device
        guided = [row for row, request in enumerate(requests) if request.guidance_scale > 1]
        scheduler, times = self._schedule()
        shares = self._shares(requests, guided, len(times), rows)
        states, tokens = self._told(requests, guided)
        pure = torch.stack([noise(one.seed, one.scene, self.shape) for one in requests]).to(device)
        photo = canvas(self.gligen, requests, pure)
        scale = torch.tensor([requests[row].guidance_scale for row in guided], device=device)[
            :, None, None, None
        ]
        owner = torch.tensor([*range(count), *guided], device=device)
        guided = owner[count:]
        latents, signals = pure * scheduler.init_noise_sigma, scheduler.alphas_cumprod[times].sqrt()
        for time, moment, signal, split in zip(times, times.to(device), signals, shares, strict=True):
            latents = photo.keep(latents, signal)
            x = photo.channels(scheduler.scale_model_input(latents, time))[owner]
            predicted = self._predict(split, x, moment, states, tokens)
            epsilon, untold = predicted[:count], predicted[count:]
            epsilon[guided] = untold + scale * (epsilon[guided] - untold)
            latents = scheduler.step(epsilon, time, latents).prev_sample
        return photo.keep(latents, 1.0)

    @torch.inference_mode()
    def pictures(self, latents: torch.Tensor) -> list[Image.Image]:
        """Latents (n, c, h, w) decoded, a few at a time, in their order."""
        vae = self.gligen.vae
        parts = (latents / vae.config.scaling_factor).to(vae.dtype).split(DECODED_AT_ONCE)
        return [picture for part in parts for picture in images.to_images(vae.decode(part).sample)]

    def _schedule(self) -> tuple["SchedulerMixin", torch.Tensor]:
        """A fresh scheduler and its times, on the CPU: read there, they never wait for the device."""
        kind, options = SCHEDULERS[self.scheduler]
        scheduler = kind.from_config(self.gligen.scheduler.config, **options)
        scheduler.set_timesteps(self.steps)
        return scheduler, scheduler.timesteps

    def _told(
        self, requests: Sequence[Request], guided: list[int]
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Text states and grounding tokens of every row. Untold rows have null tokens."""
        prompts = [request.prompt for request in requests] + [requests[row].negative_prompt for row in guided]
        states = self.conditions.states(prompts)
        if all(request.grounding == "none" for request in requests):
            return states, None
        tokens = self.conditions.tokens([entries(request) for request in requests])
        return states, tokens[[*range(len(requests)), *[len(requests)] * len(guided)]]

    def _shares(
        self, requests: Sequence[Request], guided: list[int], calls: int, least: int
    ) -> list[list[Share]]:
        """For each UNet call, how its rows are split. Steps with the same split have the same object."""
        strength = np.stack([strengths(request, calls) for request in requests])
        columns = np.concatenate([strength, strength[guided]]).T
        splits = {column.tobytes(): column for column in columns}
        splits = {key: self._split(column, least) for key, column in splits.items()}
        return [splits[column.tobytes()] for column in columns]

    def _split(self, strength: np.ndarray, least: int) -> list[Share]:
        split, device = [], self.gligen.device
        for grounded in (True, False):
            rows = np.flatnonzero((strength > 0) == grounded)
            if len(rows):
                filled = np.resize(rows, max(len(rows), least))
                faded = torch.tensor(strength[filled], device=device)
                gates = (
                    fusers.gates(self.gligen.unet, faded) if grounded and strength[rows].min() < 1 else None
                )
                split.append(Share(torch.tensor(filled, device=device), len(rows), grounded, gates))
        return split

    def _predict(
        self,
        split: list[Share],
        x: torch.Tensor,
        time: torch.Tensor,
        states: torch.Tensor,
        tokens: torch.Tensor | None,
    ) -> torch.Tensor:
        """What the UNet predicts for rows x (r, channels, h, w): (r, c, h, w) float32."""
        predicted = torch.empty((len(x), *self.shape), device=x.device)
        for share in split:
            inputs = (x[share.rows].to(self.gligen.unet.dtype), time, states[share.rows])
            if not share.grounded:
                epsilon = self.calls.plain(*inputs)
            elif share.gates is None:
                epsilon = self.calls.grounded(*inputs, tokens[share.rows])
            else:
                epsilon = self.calls.faded(*inputs, tokens[share.rows], share.gates)
            predicted[share.rows[: share.count]] = epsilon[: share.count].float()
        return predicted
