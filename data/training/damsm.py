"""Words and regions of pictures in one space: AttnGAN's similarity model (DAMSM), here on latents.

Xu et al. 2018 (arXiv 1711.10485), section 3.2, with the code's forms: no power 1 / gamma2 of the sum over
words. Theirs reads photos with an Inception and words with a bi-LSTM; here three convolutions read the
autoencoder's latents, a little noisy so that a generator cannot please them by what nobody sees, and the
words are CLIP's, frozen. Both GANs learn from it what of a caption their pictures lack.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from data.training.autoencoder import LATENT_CHANNELS
from data.training.clip import WIDTH
from data.training.gligen import Frozen
from data.training.training_loop import Recipe, train
from helpers.generation.methods.gans import Text, encode

RECIPE = Recipe(steps=450, batch_size=48, learning_rate=2e-3, warmup=50, decay=0.01)
WORDS, WHICH, SURE = 4.0, 5.0, 10.0  # gamma 1 to 3: of regions per word, of words, of the caption
NOISE = 0.3  # standard deviation, where the latents' is 1


@dataclass(frozen=True)
class Captioned:
    """Latents (n, c, h, w), scaled, of pictures with the text states of their captions, in half precision.
    An index takes rows of both, in float32, without the padding that none of them needs."""

    latents: torch.Tensor
    text: Text

    def __getitem__(self, rows: np.ndarray) -> tuple[torch.Tensor, Text]:
        real = self.text.real[rows]
        longest = int(real.sum(1).max())
        words, sentence = self.text.words[rows, :longest].float(), self.text.sentence[rows].float()
        return self.latents[rows], Text(words, real[:, :longest], sentence)


def captioned(frozen: Frozen, every: int = 500) -> Captioned:
    """The crisp ones of the training photos, for no prompt asks for blurred ones; half of the captions with
    their quality words."""
    rows = np.flatnonzero(frozen.scenes.crisp[: len(frozen.latents)])
    both = frozen.scenes.captions, frozen.scenes.training_captions
    said = [both[row % 2][row] for row in rows]
    with torch.no_grad():
        parts = [
            encode(frozen.tokenizer, frozen.clip.text_model, said[start : start + every])
            for start in range(0, len(said), every)
        ]
    longest = max(part.real.shape[1] for part in parts)
    words, real = (
        torch.cat([F.pad(one, (*ends, 0, longest - one.shape[1])) for one in some])
        for some, ends in (
            ([part.words.half() for part in parts], (0, 0)),
            ([part.real for part in parts], ()),
        )
    )
    return Captioned(frozen.latents[rows], Text(words, real, torch.cat([part.sentence for part in parts])))


class Damsm(nn.Module):
    """Regions of latents and words of captions, as vectors of one space."""

    def __init__(self, width: int = WIDTH) -> None:
        super().__init__()
        self.see = nn.Sequential(
            nn.Conv2d(LATENT_CHANNELS, 64, 3, padding=1),
            nn.GroupNorm(8, 64),
            nn.SiLU(),
            nn.Conv2d(64, width, 4, 2, padding=1),
            nn.GroupNorm(8, width),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.GroupNorm(8, width),
            nn.SiLU(),
        )
        self.regions, self.picture = nn.Conv2d(width, width, 1), nn.Linear(2 * width, width)
        self.words, self.sentence = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, latents: torch.Tensor, text: Text) -> tuple[torch.Tensor, torch.Tensor]:
        """How well captions fit pictures, by words and as a whole: (captions, pictures) each."""
        seen = self.see(latents)
        regions, words = self.regions(seen).flatten(2), self.words(text.words)
        scores = torch.einsum("ckd,pdr->cpkr", words, regions) / words.shape[-1] ** 0.5
        scores = scores.masked_fill(~text.real[:, None, :, None], -1e4).softmax(2)
        attention = (WORDS * scores).softmax(-1)
        contexts = torch.einsum("cpkr,pdr->cpkd", attention, regions)
        fits = WHICH * F.cosine_similarity(contexts.float(), words[:, None].float(), dim=-1)
        by_word = fits.masked_fill(~text.real[:, None], -torch.inf).logsumexp(-1)
        whole = self.picture(torch.cat([seen.mean((2, 3)), seen.amax((2, 3))], 1))
        said = F.normalize(self.sentence(text.sentence), dim=-1)
        return SURE * by_word, SURE * (said @ F.normalize(whole, dim=-1).T).float()


def matching_loss(model: Damsm, latents: torch.Tensor, text: Text) -> dict[str, torch.Tensor]:
    """Cross entropies of the caption of each picture and the picture of each caption."""
    order = torch.arange(len(latents))
    losses = (
        (F.cross_entropy(fits, order) + F.cross_entropy(fits.T, order)) for fits in model(latents, text)
    )
    return dict(zip(("words", "sentence"), losses, strict=True))


def fit_damsm(data: Captioned, folder: Path, recipe: Recipe = RECIPE) -> Damsm:
    """Train, and freeze."""
    torch.manual_seed(recipe.seed)
    model, held = Damsm(), min(100, len(data.latents) // 2)

    def loss_of(rng: np.random.Generator, step: int) -> dict[str, torch.Tensor]:
        latents, text = data[rng.integers(len(data.latents) - held, size=recipe.batch_size)]
        with torch.autocast(latents.device.type, torch.bfloat16):
            return matching_loss(model, latents + NOISE * torch.randn_like(latents), text)

    def watch(_: int) -> dict[str, float]:
        both, order = model(*data[np.arange(-held, 0)]), torch.arange(held)
        tops = [(fits.argmax(1) == order).float().mean().item() for fits in both]
        return dict(zip(("top 1 by words", "top 1 by sentence"), tops, strict=True))

    return train("damsm", model, loss_of, recipe, folder, watch, 100).requires_grad_(False)
