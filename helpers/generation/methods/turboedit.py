"""TurboEdit (Deutch et al. 2024, arXiv 2408.00735): a photo edited by a few steps of a text-to-image model.

The photo's latents are noised independently for each step; what the model's own step misses of the next
noised latents (the correction) is added to the step of the edit as well, so that all that the prompts do not
tell apart stays as it is.
"""

import math
from collections.abc import Callable, Sequence

import torch

SHIFT = 200  # timesteps by which network and scheduler are told a later time than the latents have (eq. 6, 7)
PSEUDO_GUIDANCE = 1.5  # w of eq. 10
CLIP = 15.5 / math.sqrt(4 * 64 * 64)  # most length of the last correction per square root of its numbers
TIMESTEPS = {3: (799, 499, 199), 4: (799, 599, 399, 199)}  # that the network is told, by number of steps


def posterior_mean(x: torch.Tensor, noise_pred: torch.Tensor, alpha: float, previous: float) -> torch.Tensor:
    """DDPM's posterior mean of the latents one step on. alpha, previous: cumulative products of the alphas of
    this timestep and of the one it leads to, 1 for clean latents. Shapes of x and noise_pred are equal."""
    clean = (x - (1 - alpha) ** 0.5 * noise_pred) / alpha**0.5
    ratio = alpha / previous
    return (previous**0.5 * (1 - ratio) * clean + ratio**0.5 * (1 - previous) * x) / (1 - alpha)


def edit(
    predict: Callable[[torch.Tensor, int], torch.Tensor],
    photo: torch.Tensor,
    noises: Sequence[torch.Tensor],
    alphas_cumprod: torch.Tensor,
    times: Sequence[int],
    pseudo_guidance: torch.Tensor | float = PSEUDO_GUIDANCE,
    shift: int = SHIFT,
    clip: float = CLIP,
) -> torch.Tensor:
    """Latents (n, c, h, w) of the edited photos.

    predict: the noise that the network predicts for 3 n rows at a timestep: the photo with its source prompt,
    the edit with the source prompt, the edit with the target prompt. photo: its latents, scaled.
    noises: one standard normal (n, c, h, w) per timestep. pseudo_guidance: w, one per picture or for all; 0
    gives the photo back. clip: of the last correction; math.inf for none.
    """

    def noised(index: int) -> torch.Tensor:
        time = times[index] - shift if index < len(times) else -1
        if time < 0:
            return photo
        alpha = float(alphas_cumprod[time])
        return alpha**0.5 * photo + (1 - alpha) ** 0.5 * noises[index]

    signals = [float(alphas_cumprod[time]) for time in times] + [1.0]
    weight = torch.as_tensor(pseudo_guidance, dtype=photo.dtype, device=photo.device).reshape(-1, 1, 1, 1)
    source = edited = noised(0)
    for index, time in enumerate(times):
        rows = torch.cat([source, edited, edited])
        means = posterior_mean(rows, predict(rows, time), signals[index], signals[index + 1])
        of_photo, same, changed = means.chunk(3)
        source = noised(index + 1)
        correction = source - of_photo
        if index == len(times) - 1:
            length = correction.flatten(1).norm(dim=1).reshape(-1, 1, 1, 1)
            correction = correction * (clip * photo[0].numel() ** 0.5 / length).clamp(max=1)
        edited = same + weight * (changed - same) + correction
    return edited
