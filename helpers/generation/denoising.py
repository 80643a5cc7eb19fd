"""The grounded denoising loop: a batch of requests becomes latents, and latents become pictures."""

import hashlib
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, PNDMScheduler, UniPCMultistepScheduler
from PIL import Image

from helpers.generation.conditioning import Conditions, reading_tokens
from helpers.generation.requests import Request, entries, grounded_calls, guided_calls
from helpers.runs.methods import METHODS
from helpers.scenes import images

if TYPE_CHECKING:
    from diffusers import AutoencoderKL, SchedulerMixin

    from helpers.models.loading import Gligen

# Those of arms.SCHEDULERS, with what Stable Diffusion's configuration says and that of another kind may not;
# DDIM's own default would clip latents as if they were pixels
SCHEDULERS = {
    "pndm": (PNDMScheduler, {"skip_prk_steps": True}),
    "ddim": (DDIMScheduler, {"clip_sample": False, "set_alpha_to_one": False}),
    "dpm++2m": (DPMSolverMultistepScheduler, {}),
    "unipc": (UniPCMultistepScheduler, {}),
}
ABSENT = -1  # an unconditional row in a call without guidance
DECODED_AT_ONCE = 4  # pictures; decoding one takes more memory than denoising it
Step = Callable[[int, int], None]  # called after each UNet call: how many are done, and how many there are


def ignore(done: int, total: int) -> None:
    """For who does not watch the steps."""


def noise(seed: int, scene: str, shape: tuple[int, ...]) -> torch.Tensor:
    """Standard normal float32 on the CPU that depends on (seed, scene) and the shape alone."""
    digest = hashlib.sha256(f"{seed}:{scene}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
    return torch.randn(shape, generator=generator)


def noises(requests: Sequence[Request], shape: tuple[int, ...], name: str = "") -> torch.Tensor:
    """`noise` of each request, (n, *shape). name: of a further one of the same scene, such as "#1"."""
    return torch.stack([noise(one.seed, one.scene + name, shape) for one in requests])


def factor(parts: "Gligen") -> int:
    """Pixels per latent, along a side; 1 where there is no autoencoder."""
    vae = getattr(parts, "vae", None)
    return 2 ** (len(vae.config.block_out_channels) - 1) if vae else 1


def decoded(vae: "AutoencoderKL", latents: torch.Tensor) -> torch.Tensor:
    """Pixels (n, 3, H, W) in [-1, 1], not clamped, of scaled latents (n, c, h, w); a few at a time."""
    parts = (latents / vae.config.scaling_factor).to(vae.dtype).split(DECODED_AT_ONCE)
    return torch.cat([vae.decode(part).sample for part in parts])


class Share(NamedTuple):
    """Rows of a batch that share one UNet call, all grounded or all ungrounded. rows: indices; those from
    `count` on only fill the call up to a fixed shape."""

    rows: torch.Tensor
    count: int
    grounded: bool


class Denoiser:
    """Denoises batches of requests with one checkpoint, one scheduler and one picture size.

    parts: a Gligen, or what a method's `load` gives. size: (height, width) in pixels. What the hooks, `begin`
    to `guide`, share of a batch they hold on the sampler.
    """

    def __init__(self, parts: "Gligen", steps: int, scheduler: str, size: tuple[int, int]) -> None:
        self.parts, self.steps, self.scheduler, self.size = parts, steps, scheduler, size
        self.shape = (parts.vae.config.latent_channels, *(side // factor(parts) for side in size))
        self.calls = len(self.new_scheduler().timesteps)  # of the UNet; PNDM makes one more than its steps
        self.conditions = Conditions(parts)
        self.unet = reading_tokens(parts.unet)

    def draw(self, requests: Sequence[Request], least: int = 0, step: Step = ignore) -> list[Image.Image]:
        """Pictures of requests, in their order; see `latents`."""
        latents = self.latents(requests, least, step)
        batch = len(self.filled(requests, least)) if least else 1
        return self.decode(latents, min(DECODED_AT_ONCE, batch))

    def filled(self, requests: Sequence[Request], rows: int) -> list[int]:
        """Places of the requests, then of the first of them again, up to a batch of so many UNet rows."""
        batch = rows // (1 + any(request.guidance_scale > 1 for request in requests))
        return [place % len(requests) for place in range(max(len(requests), batch))]

    def rows(self, request: Request) -> int:
        """UNet rows of a picture: one per call, and another where the call has guidance."""
        return self.calls + len(guided_calls(request, self.calls))

    @torch.inference_mode()
    def latents(self, requests: Sequence[Request], rows: int = 0, step: Step = ignore) -> torch.Tensor:
        """Denoised latents (n, c, h, w) float32, in the order of the requests, on the model's device.

        Rows of a UNet call: the conditional row of every picture, then the unconditional rows of those with
        guidance_scale over 1, which calls outside the interval of guidance leave out, then those of regions.
        rows: all calls have so many, or half of them without guidance, so that shapes never change.
        All that depends on the requests is made before the loop; the loop only queues work for the device.
        """
        n, device, scheduler = len(requests), self.parts.device, self.new_scheduler()
        guided = [row for row, request in enumerate(requests) if request.guidance_scale > 1]
        timesteps, latents = self.begin(scheduler, requests, noises(requests, self.shape).to(device))
        regions = self.regions(requests)
        pictures = [*range(n), *guided, *(row for row, _ in regions)]  # of each row
        shares = self._shares(requests, guided, pictures, rows, len(timesteps))
        conditions = self._conditions(requests, guided, regions)
        scales = self._scales(requests, guided, len(timesteps)).to(device)
        picture, counts = torch.tensor(pictures, device=device), (n, len(guided), len(regions))
        with_guidance = picture[n : n + len(guided)]
        # timesteps are on the CPU: read there, they never wait for the device
        signals = scheduler.alphas_cumprod[timesteps].sqrt()
        calls = zip(timesteps, timesteps.to(device), signals, shares, scales, strict=True)
        for done, (t, t_there, signal, split, scale) in enumerate(calls, start=1):
            latents = self.keep(latents, signal)
            x = scheduler.scale_model_input(latents, t)[picture]
            own, noise_pred_uncond, others = self._predict(split, x, t_there, conditions).split(counts)
            noise_pred_text = (noise_pred := self.merge(own, others))[with_guidance]
            noise_pred[with_guidance] = noise_pred_uncond + scale * (noise_pred_text - noise_pred_uncond)
            noise_pred = self.guide(latents, noise_pred, signal)
            latents = scheduler.step(noise_pred, t, latents).prev_sample
            step(done, len(timesteps))
        return self.keep(latents, 1.0)

    @torch.inference_mode()
    def decode(self, latents: torch.Tensor, multiple: int = 1) -> list[Image.Image]:
        """Pictures of latents (n, c, h, w), decoded in calls of a multiple, so that shapes never change."""
        filled = torch.arange(-(-len(latents) // multiple) * multiple) % len(latents)
        return images.to_images(decoded(self.parts.vae, latents[filled])[: len(latents)])

    def encode(self, requests: Sequence[Request]) -> torch.Tensor:
        """Latents (n, c, h, w) float32 of the requests' photos, squashed to the size of pictures."""
        vae, (height, width), latents = self.parts.vae, self.size, []
        for request in requests:
            photo = images.fit(request.photo().convert("RGB"), (width, height))
            pixels = images.to_tensor(images.to_array([photo])).to(vae.device, vae.dtype)
            latents.append(vae.encode(pixels).latent_dist.mode().float() * vae.config.scaling_factor)
        return torch.cat(latents)

    def new_scheduler(self) -> "SchedulerMixin":
        """A fresh scheduler with its timesteps."""
        kind, options = SCHEDULERS[self.scheduler]
        scheduler = kind.from_config(self.parts.scheduler.config, **options)
        with warnings.catch_warnings():  # of diffusers' multistep schedulers, with NumPy 2
            warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)
            scheduler.set_timesteps(self.steps)
        return scheduler

    def begin(
        self, scheduler: "SchedulerMixin", requests: Sequence[Request], noise: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The timesteps, one per UNet call, and the latents (n, c, h, w) at the first of them."""
        return scheduler.timesteps, noise * scheduler.init_noise_sigma

    def keep(self, latents: torch.Tensor, signal: torch.Tensor | float) -> torch.Tensor:
        """latents before a step, at signal = sqrt(alphas_cumprod), and after the last step, at 1."""
        return latents

    def regions(self, requests: Sequence[Request]) -> list[tuple[int, str]]:
        """Further conditional rows: the index of the picture and the prompt of each."""
        return []

    def merge(self, noise_pred: torch.Tensor, of_regions: torch.Tensor) -> torch.Tensor:
        """The conditional noise (n, c, h, w) of the pictures, of their own rows and those of `regions`."""
        return noise_pred

    def guide(self, latents: torch.Tensor, noise_pred: torch.Tensor, signal: torch.Tensor) -> torch.Tensor:
        """The noise (n, c, h, w) that a step removes from latents, at signal = sqrt(alphas_cumprod)."""
        return noise_pred

    def _conditions(
        self, requests: Sequence[Request], guided: list[int], regions: list[tuple[int, str]]
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Text embeddings and grounding tokens of the conditional rows, of the unconditional rows
        (classifier-free guidance), which get null tokens, and of the regions, which get those of their
        picture. No tokens where nothing is grounded."""
        prompts = [request.prompt for request in requests]
        prompts += [requests[row].negative_prompt for row in guided]
        embeds = self.conditions.prompt_embeds([*prompts, *(prompt for _, prompt in regions)])
        if not any("boxes" in METHODS[request.grounding].reads for request in requests):
            return embeds, None
        tokens, n = self.conditions.tokens(entries(request) for request in requests), len(requests)
        return embeds, tokens[[*range(n), *[n] * len(guided), *(row for row, _ in regions)]]

    def _scales(self, requests: Sequence[Request], guided: list[int], calls: int) -> torch.Tensor:
        """guidance_scale by UNet call and guided picture, (calls, g, 1, 1, 1); 1 where it is off."""
        some = [(requests[row].guidance_scale, guided_calls(requests[row], calls)) for row in guided]
        rows = [[scale if call in those else 1.0 for scale, those in some] for call in range(calls)]
        return torch.tensor(rows)[:, :, None, None, None]

    def _shares(
        self, requests: Sequence[Request], guided: list[int], pictures: list[int], least: int, calls: int
    ) -> list[list[Share]]:
        """For each UNet call, how its rows are split. Calls with the same split have the same object."""
        n, many = len(requests), np.array([grounded_calls(requests[one], calls) for one in pictures])
        table = np.int8(many > np.arange(calls)[:, None])  # calls x rows
        for row, request in enumerate(guided, n):
            table[np.setdiff1d(range(calls), guided_calls(requests[request], calls)), row] = ABSENT
        splits = {grounded.tobytes(): grounded for grounded in table}
        for key, grounded in splits.items():
            without = bool(guided) and (grounded[n : n + len(guided)] == ABSENT).all()
            splits[key] = self._split(grounded, least // 2 if without else least)
        return [splits[grounded.tobytes()] for grounded in table]

    def _split(self, grounded: np.ndarray, least: int) -> list[Share]:
        """grounded: of each row 1, 0 or ABSENT."""
        split = []
        for kind in (True, False):
            rows = np.flatnonzero(grounded == kind)
            for some in np.split(rows, range(least, len(rows), least)) if least else [rows]:
                if len(some):
                    filled = torch.tensor(np.resize(some, max(len(some), least)), device=self.parts.device)
                    split.append(Share(filled, len(some), kind))
        return split

    def _predict(
        self, split: list[Share], x: torch.Tensor, t: torch.Tensor, conditions: tuple
    ) -> torch.Tensor:
        """The noise that the UNet predicts for rows x (r, channels, h, w): (r, c, h, w) float32; 0 for a row
        that is in no share. conditions: of `_conditions`."""
        (embeds, tokens), noise_pred = conditions, torch.zeros((len(x), *self.shape), device=x.device)
        for share in split:
            inputs = (x[share.rows].to(self.parts.unet.dtype), t, embeds[share.rows])
            # without these arguments its gated layers (fusers) are off
            gligen = {"gligen": {"input": tokens[share.rows]}} if share.grounded else None
            made = self.unet(*inputs, cross_attention_kwargs=gligen, return_dict=False)[0]
            noise_pred[share.rows[: share.count]] = made[: share.count].float()
        return noise_pred
