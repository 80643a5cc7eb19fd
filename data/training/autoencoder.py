"""The demo autoencoder: 128 x 128 photos to 16 x 16 x 8 latents and back.

Rombach et al. 2022, "High-Resolution Image Synthesis with Latent Diffusion Models", section 3.1, without the
adversarial term, which comes after it, for the decoder alone (decoder.py).
"""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL

from data.training.drawn_scenes import Scenes
from data.training.training_loop import Recipe, train
from data.training.world import SIZE

RECIPE = Recipe(steps=3000, batch_size=12, learning_rate=1.5e-3, warmup=100, decay=0.0, average=0.998)
CRISP = 0.9  # share of pieces from crisp photos: grain cannot be compressed, and learning it blurs the rest
PIECE = 64  # trained on pieces of this many pixels per side: four times the variety for the same work
CHANNELS = (16, 32, 64, 96)
LATENT_CHANNELS = 8  # with the 4 of Stable Diffusion the colours of small things are learnt very slowly


def build() -> AutoencoderKL:
    """An untrained autoencoder of 1.3 million parameters, a factor of 8 per side."""
    stages = len(CHANNELS)
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * stages,
        up_block_types=("UpDecoderBlock2D",) * stages,
        block_out_channels=CHANNELS,
        layers_per_block=1,
        norm_num_groups=8,
        latent_channels=LATENT_CHANNELS,
        sample_size=SIZE,
        mid_block_add_attention=False,
    )


def fit_autoencoder(
    scenes: Scenes,
    folder: Path,
    recipe: Recipe = RECIPE,
    model: AutoencoderKL | None = None,
) -> AutoencoderKL:
    """Train on pieces of photos; a given `model` is trained on, in place."""
    torch.manual_seed(recipe.seed)
    model = (model or build()).to(memory_format=torch.channels_last)

    def loss_of(rng: np.random.Generator, step: int) -> dict[str, torch.Tensor]:
        photos = pieces(rng, scenes, recipe.batch_size, PIECE).to(
            model.device, memory_format=torch.channels_last
        )
        posterior = model.encode(photos).latent_dist
        restored = model.decode(posterior.sample()).sample
        return {
            "l1": F.l1_loss(restored, photos),
            "square": 2 * F.mse_loss(restored, photos),
            "edges": 0.5 * edges(restored, photos),
            "colours": F.l1_loss(F.avg_pool2d(restored, 4), F.avg_pool2d(photos, 4)),
            "kl": 1e-5 * posterior.kl().mean(),
        }

    return train("autoencoder", model, loss_of, recipe, folder)


def encode(model: AutoencoderKL, photos: np.ndarray, batch_size: int = 8) -> torch.Tensor:
    """(n, LATENT_CHANNELS, 16, 16) float32 latents, not scaled, of photos (n, SIZE, SIZE, 3) uint8."""
    latents = []
    with torch.no_grad():
        for start in range(0, len(photos), batch_size):
            batch = torch.from_numpy(np.array(photos[start : start + batch_size])).permute(0, 3, 1, 2)
            batch = (batch.float() / 127.5 - 1).to(model.device, memory_format=torch.channels_last)
            latents.append(model.encode(batch).latent_dist.mean.cpu().contiguous())
    return torch.cat(latents)


def pieces(rng: np.random.Generator, scenes: Scenes, count: int, size: int) -> torch.Tensor:
    """(count, 3, size, size) float32 in [-1, 1]: pieces of photos, mirrored by chance.

    CRISP of them come from crisp photos, and half of them lie around an object.
    """
    found, crisp, room = [], np.flatnonzero(scenes.crisp), SIZE - size
    for row in rng.integers(len(scenes), size=count):
        row = crisp[row % len(crisp)] if len(crisp) and rng.random() < CRISP else row
        corner = rng.integers(0, room + 1, 2)
        if rng.random() < 0.5:
            box = scenes.boxes[row, rng.integers((scenes.things[row] >= 0).sum())]
            corner = (box[:2] + box[2:]) * SIZE / 2 - size / 2 + rng.uniform(-size / 4, size / 4, 2)
        x, y = np.clip(np.round(corner / 8).astype(int) * 8, 0, room)
        piece = scenes.photos[row, y : y + size, x : x + size]
        found.append(piece[:, ::-1] if rng.random() < 0.5 else piece)
    return torch.from_numpy(np.stack(found)).permute(0, 3, 1, 2).float() / 127.5 - 1


def edges(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """L1 distance of the differences between neighbours, across and down."""
    across, down = (lambda x: x[..., 1:] - x[..., :-1]), (lambda x: x[..., 1:, :] - x[..., :-1, :])
    return F.l1_loss(across(a), across(b)) + F.l1_loss(down(a), down(b))
