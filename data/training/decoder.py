"""Fine-tuning of the autoencoder's decoder: sharper pictures from the same latents.

A pixelwise loss answers every doubt about where an edge lies with a blur. A loss on local contrast, how much
neighbouring pixels differ on average over a few pixels, does not: it asks for as many and as steep edges as
the photo has and leaves their exact places to the pixelwise loss. The encoder stays frozen, so that latents
keep their meaning and UNets trained on them stay valid. No network that judges pictures takes part.
"""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL

from data.training.attention_targets import coverage
from data.training.autoencoder import edges
from data.training.drawn_scenes import Scenes
from data.training.training_loop import Recipe, train
from data.training.world import SIZE

RECIPE = Recipe(steps=2100, batch_size=4, learning_rate=8e-4, warmup=50, decay=0.0, average=0.998)
CRISP = 0.9  # share of crisp photos, as for the autoencoder
NOISE = 0.1  # most noise added to latents, in their standard deviations: a UNet's are not exact either
CONTRAST = 6.0  # weight of the contrast loss
ERRING = 2400  # photos whose latents are there with the UNet's errors as well
RESTORED = 0.5  # how often those are taken
INSIDE = 2.0  # weight of all losses once more inside the boxes: a fifth of the pixels, most of what is seen


def fit_decoder(
    scenes: Scenes,
    latents: torch.Tensor,
    restored: torch.Tensor,
    folder: Path,
    model: AutoencoderKL,
    recipe: Recipe = RECIPE,
) -> AutoencoderKL:
    """Train decoder and post_quant_conv of `model`, in place; encoder and quant_conv do not change.

    latents: (n, LATENT_CHANNELS, 16, 16) float32, not scaled, of the first n scenes; restored: the first
    m <= n of them with the UNet's errors (restored_latents.py). Whole photos, not pieces: the statistics of
    group normalisation are then those of the pictures that are decoded later.
    """
    torch.manual_seed(recipe.seed)
    model = model.requires_grad_(False).to(memory_format=torch.channels_last)
    for part in (model.decoder, model.post_quant_conv):
        part.requires_grad_(True)
    crisp, spread = np.flatnonzero(scenes.crisp[: len(latents)]), NOISE * latents.std()

    def loss_of(rng: np.random.Generator, step: int) -> dict[str, torch.Tensor]:
        rows = rng.integers(len(latents), size=recipe.batch_size)
        rows = np.where(rng.random(len(rows)) < CRISP, rng.choice(crisp, len(rows)), rows)
        photos = torch.from_numpy(np.stack([scenes.photos[row] for row in rows])).permute(0, 3, 1, 2)
        photos = (photos.float() / 127.5 - 1).to(model.device, memory_format=torch.channels_last)
        known = latents[rows]
        erring = (rows < len(restored)) & (rng.random(len(rows)) < RESTORED)
        known[erring] = restored[rows[erring]]
        noise = torch.randn_like(known) * torch.rand(len(rows), 1, 1, 1) * spread
        with torch.autocast(model.device.type, torch.bfloat16):  # twice as fast where the processor has it
            decoded = model.decode((known + noise).to(photos)).sample.float()
        boxes = torch.from_numpy(scenes.boxes[rows])
        inside = (coverage(boxes, SIZE).amax(-1) > 0).view(-1, 1, SIZE, SIZE).to(photos)
        objects = losses(decoded * inside, photos * inside)
        return losses(decoded, photos) | {"boxes": INSIDE * sum(objects.values())}

    return train("decoder", model, loss_of, recipe, folder)


def losses(decoded: torch.Tensor, photos: torch.Tensor) -> dict[str, torch.Tensor]:
    """Losses of decoded pictures against photos, both (n, 3, h, w) in [-1, 1], by their names."""
    half, true = (F.avg_pool2d(pictures, 2) for pictures in (decoded, photos))
    coarse = F.l1_loss(contrast(half), contrast(true))
    return {
        "l1": F.l1_loss(decoded, photos),
        "edges": 0.5 * edges(decoded, photos),
        "colours": F.l1_loss(F.avg_pool2d(decoded, 4), F.avg_pool2d(photos, 4)),
        "contrast": CONTRAST * (F.l1_loss(contrast(decoded), contrast(photos)) + 0.5 * coarse),
    }


def contrast(pictures: torch.Tensor) -> torch.Tensor:
    """Mean absolute difference between neighbours across, down and diagonally, over 4 x 4 pixels.

    pictures: (n, 3, h, w). Returns (n, 12, ...): a map each 2 pixels for each colour and direction.
    """
    corner, right = pictures[..., :-1, :-1], pictures[..., :-1, 1:]
    below, opposite = pictures[..., 1:, :-1], pictures[..., 1:, 1:]
    differences = torch.cat([right - corner, below - corner, opposite - corner, below - right], 1)
    return F.avg_pool2d(differences.abs(), 4, 2)
