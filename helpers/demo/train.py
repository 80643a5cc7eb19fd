"""`python -m helpers.demo.train`: everything that `data/models` holds, trained in order and saved.

Every part resumes from its own state in --work where that is still there; a part whose state is gone begins again,
or, with --from-shipped, goes on from the weights in `data/models`.
"""

import argparse
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.pipelines.stable_diffusion.clip_image_project_model import CLIPImageProjection
from transformers import CLIPModel, CLIPTokenizer

from helpers.demo import autoencoder, captioner, checkpoints, clip, detector, gligen
from helpers.demo.data import Scenes, load_scenes
from helpers.demo.loop import Recipe
from helpers.demo.tokens import clip_tokenizer
from helpers.settings import MODEL_SETS

SCENES, LATENTS = 24_000, 16_000  # drawn for training; of these encoded for GLIGEN


class Workshop:
    """The parts in the order in which they need one another; each is trained when it is first asked for.

    work: states, loss curves and drawn scenes. shares: recipe steps are multiplied by this (a small one tries the chain).
    """

    def __init__(self, work: Path, scenes: int = SCENES, latents: int = LATENTS, share: float = 1.0):
        self.work, self.latent_count, self.share = work, latents, share
        self.scenes = load_scenes("train", scenes, work / "scenes")

    def recipe(self, recipe: Recipe) -> Recipe:
        """`recipe` with its share of the steps."""
        return replace(recipe, steps=max(round(recipe.steps * self.share), 1))

    @cached_property
    def tokenizer(self) -> CLIPTokenizer:
        """CLIP's tokenizer."""
        return clip_tokenizer(self.scenes.training_captions[:4000], self.work / "clip-tokenizer")

    @cached_property
    def clip(self) -> CLIPModel:
        """CLIP, frozen."""
        model = clip.fit_clip(self.scenes, self.tokenizer, self.work, self.recipe(clip.RECIPE))
        return model.requires_grad_(False)

    @cached_property
    def autoencoder(self) -> AutoencoderKL:
        """The autoencoder; its scaling factor gives the latents unit deviation."""
        model = autoencoder.fit_autoencoder(self.scenes, self.work, self.recipe(autoencoder.RECIPE)).requires_grad_(False)
        sample = autoencoder.encode(model, self.scenes.photos[:256])
        model.register_to_config(scaling_factor=round(1 / sample.std().item(), 5))
        return model

    @cached_property
    def frozen(self) -> gligen.Frozen:
        """What GLIGEN is trained on; the latents are encoded once and kept."""
        file = self.work / f"latents-{self.latent_count}.npy"
        if not file.exists():
            latents = autoencoder.encode(self.autoencoder, self.scenes.photos[: self.latent_count])
            np.save(file, latents.numpy())
        latents = torch.from_numpy(np.load(file)) * self.autoencoder.config.scaling_factor
        scenes = replace(self.scenes, boxes=self.scenes.boxes[: len(latents)])
        return gligen.Frozen(scenes, latents, self.clip, self.tokenizer)

    @cached_property
    def projection(self) -> CLIPImageProjection:
        """The map from crops to phrases."""
        phrases = self.frozen.pooled(gligen.ALL_PHRASES)
        return checkpoints.projection(clip.fit_projection(self.clip, self.scenes, phrases))

    @cached_property
    def gligen_text(self) -> UNet2DConditionModel:
        """The UNet grounded by text."""
        return gligen.fit_gligen_text(self.frozen, self.work, self.recipe(gligen.RECIPE))

    @cached_property
    def gligen_image(self) -> UNet2DConditionModel:
        """The UNet grounded by text and image."""
        recipe = self.recipe(gligen.IMAGE_RECIPE)
        return gligen.fit_gligen_image(self.frozen, self.gligen_text, self.projection, self.work, recipe)
