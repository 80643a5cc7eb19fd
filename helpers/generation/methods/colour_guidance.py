"""Colour guidance (Ge et al. 2023, arXiv 2304.06720, section 3.3): latents whose colours are given."""

from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F

from helpers.generation.denoising import DECODED_AT_ONCE, decoded
from helpers.scenes import images

if TYPE_CHECKING:
    from diffusers import AutoencoderKL

SATURATED = 0.15  # of 1, largest less smallest channel: from here on a pixel counts fully
DAMPING = 0.1  # change of RGB per unit of latents under which the step leaves a direction alone
LONGEST = 2.0  # a step's length at any place, in latents of standard deviation 1
PATCHWORKS = 16  # pictures that the linear map is fitted to


def colour_step(
    matrix: torch.Tensor, clean: torch.Tensor, maps: torch.Tensor, targets: torch.Tensor
) -> torch.Tensor:
    """A step of clean latents (k, c, h, w) that moves the mean colour under each map to its target.

    matrix: of `linear_map`; maps: (k, 1, h, w); targets: (k, 3), RGB from 0 to 1. All places of a map move
    alike, times the map: v = J^T (J J^T + damping)^-1 gap, J (3, c) the mean's derivative.
    """
    with torch.inference_mode(False), torch.enable_grad():
        clean, maps, targets = clean.clone().requires_grad_(), maps.clone(), targets.clone()
        rgb = torch.einsum("nchw,cr->nrhw", _inputs(clean), matrix)
        chroma = (rgb.amax(1, keepdim=True) - rgb.amin(1, keepdim=True)).detach()
        weights = maps * (chroma / SATURATED).clamp(0, 1) ** 2
        weights = weights / weights.sum((2, 3), keepdim=True).clamp(min=1e-6)
        means = (weights * rgb).sum((2, 3))
        slopes = [torch.autograd.grad(means[:, k].sum(), clean, retain_graph=True)[0] for k in range(3)]
    jacobian = (torch.stack(slopes, 1) * maps[:, None]).sum((3, 4))
    gram = jacobian @ jacobian.mT + DAMPING**2 * torch.eye(3, device=clean.device)
    shift = jacobian.mT @ torch.linalg.solve(gram, (targets - means.detach())[..., None])
    shift = shift * (LONGEST / shift.norm(dim=1, keepdim=True).clamp(min=LONGEST))
    return maps * shift[..., None]


@torch.inference_mode(False)  # gradients go through the matrix, whoever asks for it
@torch.no_grad()
def linear_map(vae: "AutoencoderKL", size: tuple[int, int]) -> torch.Tensor:
    """Matrix (2 c + 1, 3) from latents to RGB from 0 to 1.

    Its inputs are the scaled latents of a place, their mean over the 3 x 3 places around it, and 1; fitted by
    least squares to patchworks of random colours on noise, as the autoencoder shows them. Fitted to
    noise, it brings Rich Text nearer to its colours than fitted to areas or to black (data/README.md).
    """
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (PATCHWORKS, *size, 3), np.uint8)
    for picture in pixels:
        for _ in range(32):
            middle, sides = rng.uniform(0, 1, 2), rng.uniform(0.1, 0.5, 2)
            corners = np.clip([middle - sides / 2, middle + sides / 2], 0, 1) * size
            (top, left), (bottom, right) = corners.astype(int)
            picture[top:bottom, left:right] = rng.integers(0, 256, 3)
    parts = images.to_tensor(pixels).to(vae.device, vae.dtype).split(DECODED_AT_ONCE)
    latents = torch.cat([vae.encode(part).latent_dist.mode() for part in parts]).float()
    latents *= vae.config.scaling_factor
    shown = decoded(vae, latents).float() / 2 + 0.5
    shown = F.adaptive_avg_pool2d(shown, latents.shape[-2:]).movedim(1, -1).flatten(0, 2)
    inputs = _inputs(latents).movedim(1, -1).flatten(0, 2)
    return torch.linalg.lstsq(inputs, shown).solution


def _inputs(latents: torch.Tensor) -> torch.Tensor:
    around = F.avg_pool2d(F.pad(latents, (1, 1, 1, 1), mode="replicate"), 3, 1)
    return torch.cat([latents, around, torch.ones_like(latents[:, :1])], dim=1)
