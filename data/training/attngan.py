"""The demo AttnGAN: three stages, 4, 8 and 16, of the autoencoder's latents, and a discriminator per stage.

Xu et al. 2018 (arXiv 1711.10485), section 3. Theirs paints pixels, on a GPU for days; here the generator
draws latents, the frozen autoencoder paints, and CLIP's frozen text states are the words. Three departures
against collapse: spectral norms, the spread of the batch as a feature of the discriminators (Karras et al.
2018, arXiv 1710.10196, section 3), and a loss of two pictures of one caption that are alike (Mao et al. 2019,
arXiv 1903.05628), without which the noise did next to nothing.
"""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from data.training.autoencoder import LATENT_CHANNELS
from data.training.clip import WIDTH
from data.training.damsm import Captioned, Damsm, matching_loss
from data.training.duel import duel
from data.training.training_loop import Recipe
from helpers.generation.methods.attngan import AttnGan
from helpers.generation.methods.gans import Drawn, Text

RECIPE = Recipe(
    steps=7000, batch_size=24, learning_rate=4e-4, warmup=50, decay=0, betas=(0.5, 0.99), average=0.999
)
JUDGING = 2e-4  # the discriminators' learning rate
TWINS, VARIETY = 8, 1.0  # captions per batch that are drawn twice; weight of how much alike those are
STAGES = (4, 8, 16)
CHANNELS = (128, 64, 48)
LIKENESS = 1.0  # weight of the words' loss: lambda of the paper


def build() -> AttnGan:
    """An untrained generator of latents."""
    options = {"outputs": LATENT_CHANNELS, "latents": True}
    return AttnGan(CHANNELS, doublings=0, residual_blocks=2, width=WIDTH, **options)


class Discriminator(nn.Module):
    """Logits of pictures of one stage: whether they are real, and whether so with that sentence."""

    def __init__(self, side: int, width: int = 128) -> None:
        super().__init__()
        layers = [nn.Conv2d(LATENT_CHANNELS, width // 2, 3, padding=1), nn.LeakyReLU(0.2)]
        wide = width // 2
        while side > 4:
            layers += [nn.Conv2d(wide, width, 4, 2, 1), nn.LeakyReLU(0.2)]
            wide, side = width, side // 2
        layers += [nn.Conv2d(wide, width, 3, padding=1), nn.LeakyReLU(0.2)]
        self.see = normed(nn.Sequential(*layers))
        self.alone = normed(head(width + 1))
        self.said, self.joint = normed(nn.Linear(WIDTH, width)), normed(head(2 * width))

    def forward(self, seen: torch.Tensor, sentence: torch.Tensor) -> torch.Tensor:
        """Of features of pictures: (2, n), alone and with the sentence."""
        said = self.said(sentence)[:, :, None, None].expand(-1, -1, 4, 4)
        logits = self.alone(spread(seen)), self.joint(torch.cat([seen, said], 1))
        return torch.stack([one.flatten() for one in logits]).float()


def twice(rows: torch.Tensor) -> torch.Tensor:
    """Rows, and then the first TWINS of them again."""
    return torch.cat([rows, rows[:TWINS]])


def head(width: int) -> nn.Sequential:
    """A logit of features (n, width, 4, 4)."""
    return nn.Sequential(nn.Conv2d(width, 128, 3, padding=1), nn.LeakyReLU(0.2), nn.Conv2d(128, 1, 4))


def normed(module: nn.Module) -> nn.Module:
    """With a spectral norm on every layer."""
    for one in list(module.modules()):
        if isinstance(one, nn.Conv2d | nn.Linear):
            spectral_norm(one)
    return module


def spread(seen: torch.Tensor) -> torch.Tensor:
    """Features with one channel more: their mean standard deviation over the batch."""
    deviation = seen.float().var(0, correction=0).add(1e-8).sqrt().mean()
    return torch.cat([seen, deviation.to(seen).expand(len(seen), 1, *seen.shape[2:])], 1)


def fit_attngan(
    data: Captioned, damsm: Damsm, folder: Path, recipe: Recipe = RECIPE, model: AttnGan | None = None
) -> AttnGan:
    """Train a generator; a given one is trained on, in place."""
    torch.manual_seed(recipe.seed)
    model = (model or build()).to(memory_format=torch.channels_last)
    judges = nn.ModuleList(map(Discriminator, STAGES)).to(memory_format=torch.channels_last)

    def draw(rng: np.random.Generator) -> tuple[list[torch.Tensor], Text, Drawn]:
        latents, text = data[rng.integers(len(data.latents), size=recipe.batch_size)]
        real = [F.avg_pool2d(latents, STAGES[-1] // side) for side in STAGES]
        repeated = Text(*map(twice, (text.words, text.real, text.sentence)))
        noises = torch.randn(2, len(repeated.sentence), 100)
        return real, text, model(noises[0], repeated, noises[1])

    def judge(batch: tuple[list[torch.Tensor], Text, Drawn], step: int) -> dict[str, torch.Tensor]:
        (real, text, drawn), losses = batch, {}
        for one, photo, picture in zip(judges, real, drawn.pictures, strict=True):
            seen, made = one.see(photo), one.see(picture.detach())
            right, wrong = one(seen, text.sentence), one(made, twice(text.sentence))
            other = one(seen, text.sentence.roll(1, 0))[1]  # real, and of another caption
            false = wrong[0], wrong[1], other
            weights = 1, 0.5, 0.5
            parts = [weight * F.softplus(part).mean() for weight, part in zip(weights, false, strict=True)]
            losses[f"judge_{photo.shape[-1]}"] = 2 * F.softplus(-right).mean() + sum(parts)
        return losses

    def please(batch: tuple[list[torch.Tensor], Text, Drawn], step: int) -> dict[str, torch.Tensor]:
        _, text, drawn = batch
        losses = {
            f"fool_{picture.shape[-1]}": 2 * F.softplus(-one(one.see(picture), twice(text.sentence))).mean()
            for one, picture in zip(judges, drawn.pictures, strict=True)
        }
        picture, many = drawn.pictures[-1].float(), len(text.sentence)
        fits = sum(matching_loss(damsm, picture[:many], text).values())
        apart = (picture[: len(picture) - many] - picture[many:]).abs().mean()
        mean, logvar = drawn.mean.float(), drawn.logvar.float()
        divergence = (mean**2 + logvar.exp() - 1 - logvar).mean() / 2
        return losses | {"likeness": LIKENESS * fits, "condition": divergence, "alike": VARIETY / apart}

    return duel("attngan", model, judges, draw, judge, please, recipe, JUDGING, folder)
