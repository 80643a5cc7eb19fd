"""The demo SSA-GAN: one generator and one discriminator of the autoencoder's latents.

Liao et al. 2022 (arXiv 2104.00567), section 3.4: a hinge loss of pictures with their captions against made
ones and against other captions; the matching-aware gradient penalty, at every second step and with twice its
weight, for its second derivatives take half of the time; for the generator the words' loss as well.
"""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from data.training.attngan import head, spread
from data.training.autoencoder import LATENT_CHANNELS
from data.training.clip import WIDTH
from data.training.damsm import Captioned, Damsm, matching_loss
from data.training.duel import duel
from data.training.training_loop import Recipe
from helpers.generation.methods.gans import Text
from helpers.generation.methods.ssagan import SsaGan

RECIPE = Recipe(steps=7000, batch_size=24, learning_rate=3e-4, warmup=50, decay=0, betas=(0.0, 0.9))
JUDGING = 6e-4  # the discriminator's learning rate
SIDES, CHANNELS = (4, 8, 8, 16, 16), (192, 192, 128, 128, 96, 64)
LIKENESS = 0.3  # weight of the words' loss
PENALTY, POWER, EVERY = 2.0, 6, 2  # of gradients: weight and power as in the paper


def build() -> SsaGan:
    """An untrained generator of latents."""
    return SsaGan(SIDES, CHANNELS, WIDTH, outputs=LATENT_CHANNELS, latents=True)


class Halving(nn.Module):
    """Half the height and width: convolutions beside the mean; their gate starts at 0."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        first = nn.Conv2d(inputs, outputs, 4, 2, 1, bias=False), nn.LeakyReLU(0.2)
        self.block = nn.Sequential(
            *first, nn.Conv2d(outputs, outputs, 3, padding=1, bias=False), nn.LeakyReLU(0.2)
        )
        self.shortcut, self.gate = nn.Conv2d(inputs, outputs, 1), nn.Parameter(torch.zeros(1))

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return F.avg_pool2d(self.shortcut(hidden), 2) + self.gate * self.block(hidden)


class Discriminator(nn.Module):
    """How real a picture is with a sentence, (n,)."""

    def __init__(self, width: int = 128) -> None:
        super().__init__()
        first = nn.Conv2d(LATENT_CHANNELS, width // 2, 3, padding=1)
        self.see = nn.Sequential(first, Halving(width // 2, width), Halving(width, width))
        self.joint = head(width + WIDTH + 1)

    def forward(self, seen: torch.Tensor, sentence: torch.Tensor) -> torch.Tensor:
        said = sentence[:, :, None, None].expand(-1, -1, 4, 4)
        return self.joint(spread(torch.cat([seen, said], 1))).flatten().float()


def fit_ssagan(
    data: Captioned, damsm: Damsm, folder: Path, recipe: Recipe = RECIPE, model: SsaGan | None = None
) -> SsaGan:
    """Train a generator; a given one is trained on, in place."""
    torch.manual_seed(recipe.seed)
    model = (model or build()).to(memory_format=torch.channels_last)
    one = Discriminator().to(memory_format=torch.channels_last)

    def draw(rng: np.random.Generator) -> tuple[torch.Tensor, Text, torch.Tensor]:
        latents, text = data[rng.integers(len(data.latents), size=recipe.batch_size)]
        return latents, text, model(torch.randn(recipe.batch_size, 100), text).pictures[-1]

    def judge(batch: tuple[torch.Tensor, Text, torch.Tensor], step: int) -> dict[str, torch.Tensor]:
        latents, text, made = batch
        seen = one.see(latents)
        right, other = one(seen, text.sentence), one(seen, text.sentence.roll(1, 0))
        wrong = one(one.see(made.detach()), text.sentence)
        losses = {"right": F.relu(1 - right).mean()}
        losses["wrong"] = (F.relu(1 + wrong).mean() + F.relu(1 + other).mean()) / 2
        return losses | ({"penalty": penalty(one, latents, text.sentence)} if step % EVERY == 0 else {})

    def please(batch: tuple[torch.Tensor, Text, torch.Tensor], step: int) -> dict[str, torch.Tensor]:
        _, text, made = batch
        fits = sum(matching_loss(damsm, made, text).values())
        return {"fool": -one(one.see(made), text.sentence).mean(), "likeness": LIKENESS * fits}

    return duel("ssagan", model, one, draw, judge, please, recipe, JUDGING, folder)


def penalty(one: Discriminator, latents: torch.Tensor, sentence: torch.Tensor) -> torch.Tensor:
    """The matching-aware gradient penalty: by pictures and sentences, where both are real and match."""
    both = latents.clone().requires_grad_(), sentence.clone().requires_grad_()
    with torch.autocast(latents.device.type, enabled=False):
        logits = one(one.see(both[0]), both[1])
        gradients = torch.autograd.grad(logits.sum(), both, create_graph=True)
    length = torch.cat([gradient.flatten(1) for gradient in gradients], 1).norm(dim=1)
    return EVERY * PENALTY * (length**POWER).mean()
