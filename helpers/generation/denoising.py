"""The grounded denoising loop: a batch of requests becomes latents, and latents become pictures."""

import copy
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, PNDMScheduler, UniPCMultistepScheduler
from PIL import Image

from helpers.generation.conditioning import Conditions
from helpers.generation.inpainting import canvas
from helpers.generation.requests import Request, entries, grounded_calls, guided_calls
from helpers.scenes import images

if TYPE_CHECKING:
    from diffusers import SchedulerMixin, UNet2DConditionModel

    from helpers.models.loading import Gligen

SCHEDULERS = {  # those of arms.SCHEDULERS
    "pndm": (PNDMScheduler, {}),
    "ddim": (DDIMScheduler, {"clip_sample": False}),  # its default would clip latents as if they were pixels
    "dpm++2m": (DPMSolverMultistepScheduler, {}),
    "unipc": (UniPCMultistepScheduler, {}),
}
ABSENT = -1  # an unconditional row in a call without guidance
DECODED_AT_ONCE = 4  # pictures; decoding one takes more memory than denoising it


def noise(seed: int, scene: str, shape: tuple[int, ...]) -> torch.Tensor:
    """Standard normal float32 on the CPU that depends on (seed, scene) and the shape alone."""
    digest = hashlib.sha256(f"{seed}:{scene}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
    return torch.randn(shape, generator=generator)


@dataclass(frozen=True, eq=False)
class Share:
    """Rows of a batch that share one UNet call, all grounded or all ungrounded.

    rows: indices; those from `count` on only fill the call up to a fixed shape.
    """

    rows: torch.Tensor
    count: int
    grounded: bool


class Denoiser:
    """Denoises batches of requests with one checkpoint, one scheduler and one picture size.

    size: (height, width) in pixels.
    """

    def __init__(self, gligen: "Gligen", steps: int, scheduler: str, size: tuple[int, int]) -> None:
        self.gligen, self.steps, self.scheduler, self.size = gligen, steps, scheduler, size
        factor = 2 ** (len(gligen.vae.config.block_out_channels) - 1)
        self.shape = (gligen.vae.config.latent_channels, size[0] // factor, size[1] // factor)
        self.calls = len(self._scheduler().timesteps)  # of the UNet; PNDM makes one more than its steps
        self.conditions = Conditions(gligen)
        self.unet = _reading_tokens(gligen.unet)

    @torch.inference_mode()
    def latents(
        self,
        requests: Sequence[Request],
        rows: int = 0,
        step: Callable[[int, int], None] = lambda done, total: None,
    ) -> torch.Tensor:
        """Denoised latents (n, c, h, w) float32, in the order of the requests, on the model's device.

        Rows of a UNet call: the conditional row of every picture, then the unconditional rows of those with
        guidance_scale over 1, which calls outside the interval of guidance leave out. rows: fill every call
        up to so many, or to half of them where no picture has guidance, so that shapes never change.
        step: called after each UNet call with how many are done, and how many there are.
        All that depends on the requests is made before the loop; the loop only queues work for the device.
        """
        n, device = len(requests), self.gligen.device
        guided = [row for row, request in enumerate(requests) if request.guidance_scale > 1]
        scheduler = self._scheduler()
        timesteps = scheduler.timesteps  # on the CPU: read there, they never wait for the device
        shares = self._shares(requests, guided, rows)
        embeds, tokens = self._conditions(requests, guided)
        noises = torch.stack([noise(one.seed, one.scene, self.shape) for one in requests]).to(device)
        photo = canvas(self.gligen, requests, noises)
        scales = self._scales(requests, guided).to(device)
        picture = torch.tensor([*range(n), *guided], device=device)  # of each row
        latents, signals = noises * scheduler.init_noise_sigma, scheduler.alphas_cumprod[timesteps].sqrt()
        calls = zip(timesteps, timesteps.to(device), signals, shares, scales, strict=True)
        for done, (t, t_there, signal, split, scale) in enumerate(calls, start=1):
            latents = photo.keep(latents, signal)
            x = photo.channels(scheduler.scale_model_input(latents, t))[picture]
            noise_pred = self._predict(split, x, t_there, embeds, tokens)
            noise_pred_text, noise_pred_uncond = noise_pred[picture[n:]], noise_pred[n:]
            noise_pred[picture[n:]] = noise_pred_uncond + scale * (noise_pred_text - noise_pred_uncond)
            latents = scheduler.step(noise_pred[:n], t, latents).prev_sample
            step(done, len(timesteps))
        return photo.keep(latents, 1.0)

    @torch.inference_mode()
    def pictures(self, latents: torch.Tensor) -> list[Image.Image]:
        """Latents (n, c, h, w) decoded, a few at a time, in their order."""
        vae = self.gligen.vae
        parts = (latents / vae.config.scaling_factor).to(vae.dtype).split(DECODED_AT_ONCE)
        return [picture for part in parts for picture in images.to_images(vae.decode(part).sample)]

    def _scheduler(self) -> "SchedulerMixin":
        """A fresh scheduler with its timesteps."""
        kind, options = SCHEDULERS[self.scheduler]
        scheduler = kind.from_config(self.gligen.scheduler.config, **options)
        scheduler.set_timesteps(self.steps)
        return scheduler

    def _conditions(
        self, requests: Sequence[Request], guided: list[int]
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Text embeddings and grounding tokens of the conditional rows, then of the unconditional rows
        (classifier-free guidance), which get null tokens. No tokens where nothing is grounded."""
        prompts = [request.prompt for request in requests]
        prompts += [requests[row].negative_prompt for row in guided]
        embeds = self.conditions.prompt_embeds(prompts)
        if all(request.grounding == "none" for request in requests):
            return embeds, None
        tokens = self.conditions.tokens(entries(request) for request in requests)
        return embeds, tokens[[*range(len(requests)), *[len(requests)] * len(guided)]]

    def _scales(self, requests: Sequence[Request], guided: list[int]) -> torch.Tensor:
        """guidance_scale by UNet call and guided picture, (calls, g, 1, 1, 1); 1 where it is off."""
        some = [(requests[row].guidance_scale, guided_calls(requests[row], self.calls)) for row in guided]
        rows = [[scale if call in calls else 1.0 for scale, calls in some] for call in range(self.calls)]
        return torch.tensor(rows)[:, :, None, None, None]

    def _shares(self, requests: Sequence[Request], guided: list[int], least: int) -> list[list[Share]]:
        """For each UNet call, how its rows are split. Calls with the same split have the same object."""
        calls = range(self.calls)
        many = np.array([grounded_calls(request, self.calls) for request in requests])
        n, many = len(requests), np.concatenate([many, many[guided]])
        columns = [(many > call).astype(np.int8) for call in calls]
        for row, request in enumerate(guided, n):
            for call in set(calls) - set(guided_calls(requests[request], self.calls)):
                columns[call][row] = ABSENT
        splits = {column.tobytes(): column for column in columns}
        for key, column in splits.items():
            without = bool(guided) and (column[n:] == ABSENT).all()
            splits[key] = self._split(column, least // 2 if without else least)
        return [splits[column.tobytes()] for column in columns]

    def _split(self, grounded: np.ndarray, least: int) -> list[Share]:
        """grounded: of each row 1, 0 or ABSENT."""
        split = []
        for kind in (True, False):
            rows = np.flatnonzero(grounded == kind)
            if len(rows):
                filled = torch.tensor(np.resize(rows, max(len(rows), least)), device=self.gligen.device)
                split.append(Share(filled, len(rows), kind))
        return split

    def _predict(
        self,
        split: list[Share],
        x: torch.Tensor,
        t: torch.Tensor,
        embeds: torch.Tensor,
        tokens: torch.Tensor | None,
    ) -> torch.Tensor:
        """The noise that the UNet predicts for rows x (r, channels, h, w): (r, c, h, w) float32; 0 for a row
        that is in no share."""
        noise_pred = torch.zeros((len(x), *self.shape), device=x.device)
        for share in split:
            inputs = (x[share.rows].to(self.gligen.unet.dtype), t, embeds[share.rows])
            # without these arguments its gated layers (fusers) are off
            gligen = {"gligen": {"tokens": tokens[share.rows]}} if share.grounded else None
            made = self.unet(*inputs, cross_attention_kwargs=gligen, return_dict=False)[0]
            noise_pred[share.rows[: share.count]] = made[: share.count].float()
        return noise_pred


class _HandThrough(torch.nn.Module):
    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return tokens


def _reading_tokens(unet: "UNet2DConditionModel") -> "UNet2DConditionModel":
    """A second UNet of the same weights, which reads tokens where the first makes them in every step."""
    twin = copy.copy(unet)
    twin._modules = {**unet._modules, "position_net": _HandThrough()}
    return twin
