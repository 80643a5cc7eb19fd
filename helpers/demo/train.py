"""`python -m helpers.demo.train`: everything that `data/models` holds, trained in order and saved.

Every part resumes from its own state in --work where that is still there and begins again where it is gone.
"""

import argparse
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.pipelines.stable_diffusion.clip_image_project_model import CLIPImageProjection
from transformers import CLIPModel, CLIPTokenizer, Owlv2ForObjectDetection

from helpers.demo import autoencoder, captioner, clip, detector, gligen, saving
from helpers.demo.data import load_scenes
from helpers.demo.loop import Recipe
from helpers.demo.tokens import clip_tokenizer

MODELS = Path(__file__).resolve().parents[2] / "data" / "models"
SCENES, LATENTS = 24_000, 16_000  # drawn for training; of these encoded for GLIGEN


class Workshop:
    """The parts in the order in which they need one another; each is trained when it is first asked for.

    work: states, loss curves and drawn scenes. shares: recipe steps are multiplied by this (a small one tries
    the chain).
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
        model = autoencoder.fit_autoencoder(
            self.scenes, self.work, self.recipe(autoencoder.RECIPE)
        ).requires_grad_(False)
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
        return saving.projection(clip.fit_projection(self.clip, self.scenes, phrases))

    @cached_property
    def gligen_text(self) -> UNet2DConditionModel:
        """The UNet grounded by text."""
        return gligen.fit_gligen_text(self.frozen, self.work, self.recipe(gligen.RECIPE))

    @cached_property
    def gligen_image(self) -> UNet2DConditionModel:
        """The UNet grounded by text and image."""
        recipe = self.recipe(gligen.IMAGE_RECIPE)
        return gligen.fit_gligen_image(self.frozen, self.gligen_text, self.projection, self.work, recipe)

    @cached_property
    def detector(self) -> Owlv2ForObjectDetection:
        """The detector, which begins with CLIP's eyes."""
        recipe = self.recipe(detector.RECIPE)
        return detector.fit_detector(self.scenes, self.tokenizer, self.work, recipe, self.clip)

    @cached_property
    def captioners(self) -> dict[str, tuple]:
        """Both captioners with their processors, by the name of their language half."""
        recipes = {half: self.recipe(recipe) for half, recipe in captioner.RECIPES.items()}
        return captioner.fit_captioners(self.scenes, self.detector, self.work, recipes)


def save_clip(shop: Workshop, models: Path) -> None:
    """models/clip"""
    saving.save(shop.clip, clip.processor(shop.tokenizer), models / "clip")


def save_gligen_text(shop: Workshop, models: Path) -> None:
    """models/gligen-text"""
    saving.save_gligen(shop.gligen_text, shop.autoencoder, shop.clip, shop.tokenizer, models / "gligen-text")


def save_gligen_image(shop: Workshop, models: Path) -> None:
    """models/gligen-text-image"""
    folder = models / "gligen-text-image"
    saving.save_gligen(
        shop.gligen_image, shop.autoencoder, shop.clip, shop.tokenizer, folder, shop.projection
    )


def save_captioners(shop: Workshop, models: Path) -> None:
    """models/blip2-opt and models/blip2-t5"""
    for half, (model, processor) in shop.captioners.items():
        saving.save(model, processor, models / f"blip2-{half}")


def save_detector(shop: Workshop, models: Path) -> None:
    """models/owlv2"""
    processor = detector.processor(shop.tokenizer, shop.work / "clip-tokenizer")
    saving.save(shop.detector, processor, models / "owlv2")


PARTS = {
    "clip": save_clip,
    "gligen-text": save_gligen_text,
    "gligen-text-image": save_gligen_image,
    "captioners": save_captioners,
    "detector": save_detector,
}


def main(arguments: list[str] | None = None) -> None:
    """Train and save the parts that are named, with what they need; all of them by default."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}; default: all")
    parser.add_argument(
        "--work", type=Path, default=Path("runs/training"), help="states, loss curves, scenes"
    )
    parser.add_argument("--models", type=Path, default=MODELS, help="where the checkpoints go")
    parser.add_argument("--scenes", type=int, default=SCENES, help="how many are drawn")
    parser.add_argument("--latents", type=int, default=LATENTS, help="of how many GLIGEN learns")
    parser.add_argument(
        "--share", type=float, default=1.0, help="of the recipes' steps; 0.001 tries the chain"
    )
    given = parser.parse_args(arguments)
    if unknown := set(given.parts) - set(PARTS):
        parser.error(f"no part is called {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    shop = Workshop(given.work, given.scenes, given.latents, given.share)
    for part in given.parts or PARTS:
        PARTS[part](shop, given.models)
        print(f"{part}: saved under {given.models}", flush=True)


if __name__ == "__main__":
    main()
