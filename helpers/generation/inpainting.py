"""Inpainting: outside the boxes a picture stays the photo that was given, at every step."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from helpers.generation.requests import Request
from helpers.scenes import images

if TYPE_CHECKING:
    from helpers.models.loading import Gligen


def mask(boxes: np.ndarray, height: int, width: int) -> np.ndarray:
    """(height, width) float32: 0 where a box (of n, 4, fractions) reaches, 1 where the photo stays."""
    kept = np.ones((height, width), np.float32)
    # Rounded first: 0.6 in float32 is a little more, and would reach into the next of ten cells
    scaled = np.round(np.asarray(boxes, np.float64).reshape(-1, 4) * [width, height, width, height], 4)
    for left, top, right, bottom in np.concatenate(
        [np.floor(scaled[:, :2]), np.ceil(scaled[:, 2:])], 1
    ).astype(int):
        kept[top:bottom, left:right] = 0
    return kept


@dataclass(frozen=True, eq=False)
class Canvas:
    """The parts of n photos that stay.

    latents: (n, c, h, w) float32 of the photos; mask: (n, 1, h, w), 1 where they stay; None without photos.
    noise: (n, c, h, w), of the pictures. wide: whether the UNet reads photo and mask as further channels.
    """

    latents: torch.Tensor | None
    mask: torch.Tensor | None
    noise: torch.Tensor
    wide: bool

    def keep(self, latents: torch.Tensor, signal: torch.Tensor | float) -> torch.Tensor:
        """latents with the photos where they stay, noisy as at signal = sqrt(alphas_cumprod); 1 is clean.

        The noise is the picture's own at every step, which makes it repeatable.
        """
        if self.latents is None:
            return latents
        noised = signal * self.latents + (1 - signal**2) ** 0.5 * self.noise
        return self.mask * noised + (1 - self.mask) * latents

    def channels(self, x: torch.Tensor) -> torch.Tensor:
        """x with the further channels that an inpainting checkpoint reads, if it is one."""
        if not self.wide:
            return x
        if self.latents is None:
            return torch.cat([x, torch.zeros_like(x), torch.zeros_like(x[:, :1])], dim=1)
        return torch.cat([x, self.latents * self.mask, self.mask], dim=1)


def canvas(gligen: "Gligen", requests: Sequence[Request], noise: torch.Tensor) -> Canvas:
    """The canvas of a batch with noise (n, c, h, w). Photos are squashed to the size of pictures."""
    wide = gligen.unet.config.in_channels > noise.shape[1]
    if all(request.inpaint is None for request in requests):
        return Canvas(None, None, noise, wide)
    vae, (height, width) = gligen.vae, noise.shape[2:]
    factor = 2 ** (len(vae.config.block_out_channels) - 1)
    latents, kept = torch.zeros_like(noise), torch.zeros_like(noise[:, :1])
    for row, request in enumerate(requests):
        if request.inpaint is not None:
            fitted = images.fit(
                request.inpaint.convert("RGB"), request.boxes, (width * factor, height * factor)
            )[0]
            pixels = images.to_tensor(images.to_array([fitted])).to(vae.device, vae.dtype)
            latents[row] = vae.encode(pixels).latent_dist.mode()[0].float() * vae.config.scaling_factor
            kept[row, 0] = torch.from_numpy(mask(request.boxes, height, width))
    return Canvas(latents, kept, noise, wide)
