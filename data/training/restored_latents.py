"""Latents of photos, noised and denoised again by the UNet: they show the decoder the UNet's errors.

Meng et al. 2022, "SDEdit: Guided Image Synthesis and Editing with Stochastic Differential Equations". From
moderate noise the layout stays that of the photo, so that the photo is still what the decoder should give.
"""

from itertools import pairwise

import numpy as np
import torch
from diffusers import DDIMScheduler, UNet2DConditionModel

from data.training.gligen import ALL_TEXTS, SCHEDULE, TOKENS, Frozen
from data.training.world import MAX_OBJECTS

TIMESTEPS = (100, 200, 350, 500)  # noise levels of 1000: row i starts from TIMESTEPS[i % 4]
STEPS = 5  # of DDIM, from that noise level to none


def restored_latents(
    frozen: Frozen, unet: UNet2DConditionModel, count: int, batch_size: int = 48
) -> torch.Tensor:
    """The first `count` latents (count, c, 16, 16), restored from noise; scaled as those of `frozen`.

    Each with its training caption and its boxes, without guidance. Noise depends on the row alone.
    """
    phrases, noise = frozen.pooled(ALL_TEXTS), torch.Generator().manual_seed(0)
    pure = torch.randn(frozen.latents[:count].shape, generator=noise)
    restored = torch.empty_like(pure)
    for offset, start in enumerate(TIMESTEPS):
        mine = np.arange(offset, count, len(TIMESTEPS))
        for rows in (mine[i : i + batch_size] for i in range(0, len(mine), batch_size)):
            states = frozen.states([frozen.scenes.training_captions[row] for row in rows])
            given = {"gligen": _grounding(frozen, rows, phrases)}
            restored[rows] = _denoised(unet, frozen.latents[rows], pure[rows], start, states, given)
    return restored


def _grounding(frozen: Frozen, rows: np.ndarray, phrases: torch.Tensor) -> dict[str, torch.Tensor]:
    boxes, things = torch.zeros(len(rows), TOKENS, 4), torch.full((len(rows), TOKENS), -1)
    boxes[:, :MAX_OBJECTS] = torch.from_numpy(frozen.scenes.boxes[rows])
    things[:, :MAX_OBJECTS] = torch.from_numpy(frozen.scenes.things[rows])
    present = (things >= 0).float()
    return {"boxes": boxes, "masks": present, "positive_embeddings": phrases[things.clamp(min=0)]}


@torch.inference_mode()
def _denoised(
    unet: UNet2DConditionModel,
    latents: torch.Tensor,
    noise: torch.Tensor,
    start: int,
    states: torch.Tensor,
    given: dict,
) -> torch.Tensor:
    """DDIM (Song et al. 2021, eq. 12 with sigma 0) from timestep `start` to 1."""
    signal = DDIMScheduler(**SCHEDULE).alphas_cumprod
    times = torch.linspace(start, 1, STEPS + 1).long()
    x = signal[start].sqrt() * latents + (1 - signal[start]).sqrt() * noise
    for time, following in pairwise(times):
        now, then = signal[time], signal[following]
        epsilon = unet(x, time, states, cross_attention_kwargs=given).sample
        clean = (x - (1 - now).sqrt() * epsilon) / now.sqrt()
        x = then.sqrt() * clean + (1 - then).sqrt() * epsilon
    return x
