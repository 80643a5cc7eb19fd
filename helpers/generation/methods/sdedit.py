"""SDEdit (Meng et al. 2022, arXiv 2108.01073): the photo, noisy, denoised with the prompt.

Knob strength: the share of the steps that are made, the last ones; 1 starts from pure noise. As in diffusers'
image-to-image pipeline, but the photo's latents are the mode of their distribution, not drawn from it, and
the noise is the scene's.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from diffusers import PNDMScheduler

from helpers.generation.denoising import Denoiser
from helpers.generation.requests import Request, guided_calls
from helpers.parameters import ParameterError

if TYPE_CHECKING:
    from diffusers import SchedulerMixin


class Sampler(Denoiser):
    """GLIGEN's UNet without boxes, from a photo on."""

    def begin(
        self, scheduler: "SchedulerMixin", requests: Sequence[Request], noise: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The last timesteps, and the photos with noise as at the first of them."""
        strength = requests[0].knobs["strength"]
        timesteps = self._last(scheduler, strength)
        if strength == 1:
            return timesteps, noise * scheduler.init_noise_sigma
        signal = scheduler.alphas_cumprod[timesteps[0]].sqrt()
        return timesteps, signal * self.encode(requests) + (1 - signal**2).sqrt() * noise

    def rows(self, request: Request) -> int:
        """UNet rows of a picture."""
        calls = len(self._last(self.new_scheduler(), request.knobs["strength"]))
        return calls + len(guided_calls(request, calls))

    def _last(self, scheduler: "SchedulerMixin", strength: float) -> torch.Tensor:
        timesteps = scheduler.timesteps.unique().flip(0)
        many = int(round(strength * self.steps, 6))
        if not many:
            least = f"give at least {1 / self.steps:.3g}"
            raise ParameterError(f"strength = {strength:g}: of {self.steps} steps none is left; {least}")
        if hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(len(timesteps) - many)
        timesteps = timesteps[-many:]
        if isinstance(scheduler, PNDMScheduler):  # its second step is made twice, wherever it starts
            timesteps = torch.cat([timesteps[:2], timesteps[1:]])
        return timesteps
