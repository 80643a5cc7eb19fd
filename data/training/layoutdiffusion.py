"""The demo LayoutDiffusion: latents from classes and boxes, on the convolutions of the demo GLIGEN.

Zheng et al. 2023 (arXiv 2303.17189) train in pixels for a million steps. Here: latents, as in their own
latent configurations; convolutions, samplers and time embedding begin as GLIGEN's, the attention new; boxes
by sines and cosines; the layout dropped per picture, not per batch; attention targets (attention_targets.py)
for half of the heads. Crisp photos only, for no prompt asks for them.
"""

from pathlib import Path

import numpy as np
import torch
from diffusers import UNet2DConditionModel

from data.training.attention_targets import WEIGHT, attention_loss
from data.training.autoencoder import LATENT_CHANNELS
from data.training.drawn_scenes import Scenes
from data.training.gligen import CHANNELS, Frozen, denoising_loss
from data.training.training_loop import Recipe, train
from data.training.world import COLOURS, KINDS, MAX_OBJECTS
from helpers.models.layout_unet import IMAGE, NULL, WHOLE, LayoutDiffusionModel

RECIPE = Recipe(steps=2500, batch_size=24, learning_rate=8e-4, warmup=30, decay=0.01, betas=(0.9, 0.99))
CLASSES = (IMAGE, *(f"{colour} {kind}" for kind in KINDS for colour in COLOURS), NULL)  # as of ALL_PHRASES
LENGTH = 10  # of a layout, as in the paper: the whole picture and nine objects
FREQUENCIES = 8  # of the boxes' sines and cosines, as GLIGEN's; 0 for their corners, as in the paper
DROPPED = 0.2  # share of pictures with the null layout


def build(frequencies: int = FREQUENCIES) -> LayoutDiffusionModel:
    """An untrained model on 16 x 16 latents, with attention where GLIGEN has it."""
    unet = {
        "sample_size": 16,
        "in_channels": LATENT_CHANNELS,
        "out_channels": LATENT_CHANNELS,
        "down_block_types": ("DownBlock2D", "AttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
        "block_out_channels": CHANNELS,
        "layers_per_block": 1,
        "attention_head_dim": 16,
        "norm_num_groups": 16,
    }
    return LayoutDiffusionModel(CLASSES, unet, LENGTH, layers=3, heads=4, frequencies=frequencies)


def from_gligen(gligen: UNet2DConditionModel) -> LayoutDiffusionModel:
    """A model with all weights of a GLIGEN UNet that have the same name: those of anything but attention."""
    model = build()
    shared = gligen.state_dict().keys() & model.unet.state_dict().keys()
    model.unet.load_state_dict({name: gligen.state_dict()[name] for name in shared}, strict=False)
    return model


def fit_layoutdiffusion(
    frozen: Frozen, folder: Path, model: LayoutDiffusionModel, recipe: Recipe = RECIPE
) -> LayoutDiffusionModel:
    """Train a model, in place."""
    torch.manual_seed(recipe.seed)
    model, crisp = model.to(memory_format=torch.channels_last), np.flatnonzero(frozen.scenes.crisp)
    crisp = crisp[crisp < len(frozen.latents)]

    def loss_of(rng: np.random.Generator, step: int) -> dict[str, torch.Tensor]:
        rows = rng.choice(crisp, recipe.batch_size)
        classes, boxes = layouts(rng, frozen.scenes, rows)
        seen: list[torch.Tensor] = []

        def predict(noisy: torch.Tensor, time: torch.Tensor, *_, **__) -> torch.Tensor:
            return model(noisy, time, model.encode(classes, boxes), seen)

        loss = denoising_loss(predict, frozen.latents[rows], None, boxes[:, 1:], None)
        targets = [attention_loss(one[:, : one.shape[1] // 2, :, 1:], boxes[:, 1:]) for one in seen]
        return {"noise": loss, "attention": WEIGHT * sum(targets) / len(targets)}

    return train("layoutdiffusion", model, loss_of, recipe, folder)


def layouts(rng: np.random.Generator, scenes: Scenes, rows: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Classes (b, LENGTH) and boxes (b, LENGTH, 4), the whole picture first; DROPPED of them without more."""
    null, objects, things = len(CLASSES) - 1, slice(1, MAX_OBJECTS + 1), scenes.things[rows]
    classes, boxes = np.full((len(rows), LENGTH), null), np.zeros((len(rows), LENGTH, 4), np.float32)
    classes[:, objects], boxes[:, objects] = np.where(things < 0, null, 1 + things), scenes.boxes[rows]
    dropped = rng.random(len(rows)) < DROPPED
    classes[dropped], boxes[dropped] = null, 0
    classes[:, 0], boxes[:, 0] = 0, WHOLE
    return torch.from_numpy(classes), torch.from_numpy(boxes)
