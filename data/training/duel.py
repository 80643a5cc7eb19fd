"""The training loop of GANs: generator and discriminator, each with its optimizer, in one resumable state."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from data.training.training_loop import Recipe, Training

Batch = TypeVar("Batch")
Losses = dict[str, torch.Tensor]
SETTLING = 100  # batches that the norms of the averaged generator are counted on


def duel(
    name: str,
    generator: torch.nn.Module,
    discriminator: torch.nn.Module,
    draw: Callable[[np.random.Generator], Batch],
    judge: Callable[[Batch, int], Losses],
    please: Callable[[Batch, int], Losses],
    recipe: Recipe,
    judging: float,
    folder: Path,
) -> torch.nn.Module:
    """Train both and return the generator with its averaged weights, in eval mode; see `train`.

    draw(rng): a batch with the generator's pictures of it; judge(batch, step): the discriminator's losses,
    please(batch, step): those of the generator after it. judging: the discriminator's learning rate.
    """
    ours = Training(name, generator, recipe, folder)
    theirs = Training(name, discriminator, replace(recipe, learning_rate=judging), folder)
    ours.parts |= {f"discriminator {part}": value for part, value in theirs.parts.items()}

    def step_of(step: int) -> Losses:
        half = torch.autocast(ours.accelerator.device.type, torch.bfloat16)
        with half:
            batch = draw(ours.random(step))
            losses = judge(batch, step)
        theirs.update(losses, step)
        discriminator.requires_grad_(False)
        with half:
            pleased = please(batch, step)
        discriminator.requires_grad_(True)
        return losses | ours.update(pleased, step)

    ours.run(step_of)
    ours.average.copy_to(generator.parameters())
    return settle(generator, draw, SETTLING)


def settle(
    generator: torch.nn.Module, draw: Callable[[np.random.Generator], Batch], batches: int
) -> torch.nn.Module:
    """The statistics of batch norms anew, for the weights are averages; in eval mode."""
    norms = [one for one in generator.modules() if isinstance(one, torch.nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean of all batches
    rng = np.random.default_rng(0)
    torch.manual_seed(0)
    generator.train()
    with torch.no_grad():
        for _ in range(batches):
            draw(rng)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return generator.eval()
