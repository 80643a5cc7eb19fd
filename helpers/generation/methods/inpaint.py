"""GLIGEN inpainting: outside the boxes a picture stays the photo, at every step."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from helpers.generation.denoising import Denoiser
from helpers.generation.requests import Request

if TYPE_CHECKING:
    from diffusers import SchedulerMixin


def mask(boxes: np.ndarray, height: int, width: int) -> np.ndarray:
    """(height, width) float32: 0 where a box (of n, 4, fractions) reaches, 1 where the photo stays."""
    kept = np.ones((height, width), np.float32)
    # Rounded first: 0.6 in float32 is a little more, and would reach into the next of ten cells
    scaled = np.round(np.asarray(boxes, np.float64).reshape(-1, 4) * [width, height, width, height], 4)
    for left, top, right, bottom in np.hstack([np.floor(scaled[:, :2]), np.ceil(scaled[:, 2:])]).astype(int):
        kept[top:bottom, left:right] = 0
    return kept


class Sampler(Denoiser):
    """GLIGEN, with the photos' own latents back outside the boxes before every step and after the last."""

    def begin(
        self, scheduler: "SchedulerMixin", requests: Sequence[Request], noise: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """As of `Denoiser`. Holds latents (n, c, h, w) of the photos, masks (n, 1, h, w), 1 where they stay,
        and the noise."""
        masks = np.stack([mask(request.boxes, *self.shape[1:]) for request in requests])
        self.photos = self.encode(requests), torch.from_numpy(masks)[:, None].to(noise.device), noise
        return super().begin(scheduler, requests, noise)

    def keep(self, latents: torch.Tensor, signal: torch.Tensor | float) -> torch.Tensor:
        """latents with the photos where they stay, noisy as at signal = sqrt(alphas_cumprod); 1 is clean.

        The noise is the picture's own at every step, which makes it repeatable.
        """
        photo, mask, noise = self.photos
        return mask * (signal * photo + (1 - signal**2) ** 0.5 * noise) + (1 - mask) * latents
