"""`python -m data.training.train`: everything that `data/models` holds, trained in order and saved.

A part that is named is trained: on from its own state in --work where that is still there, else from the
checkpoint in --models, and from nothing with --fresh. What it needs of other parts is taken from --models.
"""

import argparse
from collections.abc import Callable, Collection
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import TypeVar

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.pipelines.stable_diffusion.clip_image_project_model import CLIPImageProjection
from transformers import CLIPModel, CLIPTextModel, CLIPTokenizer, Owlv2ForObjectDetection

from data.training import (
    attngan,
    autoencoder,
    captioner,
    clip,
    damsm,
    decoder,
    detector,
    gligen,
    instruct_pix2pix,
    layoutdiffusion,
    saving,
    ssagan,
)
from data.training.drawn_scenes import load_scenes
from data.training.restored_latents import restored_latents
from data.training.training_loop import Recipe
from data.training.vocabularies import clip_tokenizer
from helpers.generation.methods.attngan import AttnGan
from helpers.generation.methods.ssagan import SsaGan
from helpers.models.layout_unet import LayoutDiffusionModel

MODELS = Path(__file__).resolve().parents[2] / "data" / "models"
SCENES, LATENTS = 24_000, 24_000  # drawn for training; of these encoded for decoder and GLIGEN
T = TypeVar("T", bound=torch.nn.Module)


class Workshop:
    """Every trained part by its name, made when it is first asked for, with what it needs of the others.

    work: states, loss curves and drawn scenes. models: the checkpoints, read and written. parts: names of
    those that are trained; the others are read where `models` has them. fresh: read none. scenes, latents:
    how many are drawn, how many of them encoded. share: factor on the recipes' steps.
    """

    def __init__(
        self,
        work: Path,
        models: Path,
        parts: Collection[str],
        fresh: bool = False,
        scenes: int = SCENES,
        latents: int = LATENTS,
        share: float = 1.0,
    ):
        self.work, self.models, self.parts, self.fresh = work, models, parts, fresh
        self.latent_count, self.share = latents, share
        self.scenes = load_scenes("train", scenes, work / "scenes")

    def recipe(self, recipe: Recipe) -> Recipe:
        """`recipe` with its share of the steps."""
        return replace(recipe, steps=max(round(recipe.steps * self.share), 1))

    def made(self, part: str, kind: type[T], folder: str, fit: Callable[[T | None], T]) -> T:
        """The model of that part: as it is in `models`, or what `fit` makes of it, or of None. Frozen."""
        place = self.models / folder
        known = saving.read(kind, place) if self._has(place) else None
        model = known if known is not None and part not in self.parts else fit(known)
        return model.eval().requires_grad_(False)

    @cached_property
    def tokenizer(self) -> CLIPTokenizer:
        """CLIP's tokenizer."""
        if self._has(self.models / "clip"):
            return CLIPTokenizer.from_pretrained(self.models / "clip")
        return clip_tokenizer(self.scenes.training_captions[:4000], self.work / "clip-tokenizer")

    @cached_property
    def clip(self) -> CLIPModel:
        """CLIP."""

        def fit(known: CLIPModel | None) -> CLIPModel:
            return clip.fit_clip(self.scenes, self.tokenizer, self.work, self.recipe(clip.RECIPE), known)

        return self.made("clip", CLIPModel, "clip", fit)

    @cached_property
    def autoencoder(self) -> AutoencoderKL:
        """Encoder and decoder; the scaling factor gives the latents unit deviation."""

        def fit(known: AutoencoderKL | None) -> AutoencoderKL:
            recipe = self.recipe(autoencoder.RECIPE)
            model = autoencoder.fit_autoencoder(self.scenes, self.work, recipe, known)
            sample = autoencoder.encode(model, self.scenes.photos[:256])
            model.register_to_config(scaling_factor=round(1 / sample.std().item(), 5))
            return model

        return self.made("autoencoder", AutoencoderKL, "gligen-text/vae", fit)

    @cached_property
    def latents(self) -> torch.Tensor:
        """Latents (latent_count, c, 16, 16) of the first photos, not scaled, encoded once and kept."""
        photos, model = self.scenes.photos[: self.latent_count], self.autoencoder
        encoder = torch.nn.ModuleList([model.encoder, model.quant_conv])
        file = self.work / f"latents-{len(photos)}-{saving.digest(encoder)}.npy"
        return saving.kept(file, lambda: autoencoder.encode(model, photos))

    @cached_property
    def restored(self) -> torch.Tensor:
        """Latents of the first photos with the UNet's errors, not scaled."""
        count, models = min(decoder.ERRING, len(self.latents)), [self.autoencoder.encoder, self.gligen_text]
        file = self.work / f"restored-{count}-{saving.digest(torch.nn.ModuleList(models))}.npy"
        latents = saving.kept(file, lambda: restored_latents(self.frozen, self.gligen_text, count))
        return latents / self.autoencoder.config.scaling_factor

    @cached_property
    def vae(self) -> AutoencoderKL:
        """The autoencoder with its decoder fine-tuned, in place: the same latents, sharper pictures."""
        if "decoder" in self.parts:
            recipe = self.recipe(decoder.RECIPE)
            decoder.fit_decoder(self.scenes, self.latents, self.restored, self.work, self.autoencoder, recipe)
        return self.autoencoder.eval().requires_grad_(False)

    @cached_property
    def frozen(self) -> gligen.Frozen:
        """What GLIGEN is trained on: scenes, their latents, CLIP."""
        latents = self.latents * self.autoencoder.config.scaling_factor
        scenes = replace(self.scenes, boxes=self.scenes.boxes[: len(latents)])
        return gligen.Frozen(scenes, latents, self.clip, self.tokenizer)

    @cached_property
    def projection(self) -> CLIPImageProjection:
        """The linear map from image embeddings of crops to pooled text states of phrases."""
        phrases = self.frozen.pooled(gligen.ALL_PHRASES)
        return saving.projection(clip.fit_projection(self.clip, self.scenes, phrases))

    @cached_property
    def gligen_text(self) -> UNet2DConditionModel:
        """The UNet grounded by text."""

        def fit(known: UNet2DConditionModel | None) -> UNet2DConditionModel:
            return gligen.fit_gligen_text(self.frozen, self.work, self.recipe(gligen.RECIPE), known)

        return self.made("gligen-text", UNet2DConditionModel, "gligen-text/unet", fit)

    @cached_property
    def gligen_image(self) -> UNet2DConditionModel:
        """The UNet grounded by text and image: from the one grounded by text, whatever there was before."""

        def fit(_: UNet2DConditionModel | None) -> UNet2DConditionModel:
            recipe = self.recipe(gligen.IMAGE_RECIPE)
            return gligen.fit_gligen_image(self.frozen, self.gligen_text, self.projection, self.work, recipe)

        return self.made("gligen-text-image", UNet2DConditionModel, "gligen-text-image/unet", fit)

    @cached_property
    def layoutdiffusion(self) -> LayoutDiffusionModel:
        """The UNet that reads classes and boxes."""

        def fit(known: LayoutDiffusionModel | None) -> LayoutDiffusionModel:
            start = known or layoutdiffusion.from_gligen(self.gligen_text)
            recipe = self.recipe(layoutdiffusion.RECIPE)
            return layoutdiffusion.fit_layoutdiffusion(self.frozen, self.work, start, recipe)

        return self.made("layoutdiffusion", LayoutDiffusionModel, "layoutdiffusion/unet", fit)

    @cached_property
    def detector(self) -> Owlv2ForObjectDetection:
        """The detector, which begins with CLIP's vision transformer."""

        def fit(known: Owlv2ForObjectDetection | None) -> Owlv2ForObjectDetection:
            start = known or detector.from_clip(self.clip, self.tokenizer)
            recipe = self.recipe(detector.RECIPE)
            return detector.fit_detector(self.scenes, self.tokenizer, self.work, recipe, start)

        return self.made("detector", Owlv2ForObjectDetection, "owlv2", fit)

    @cached_property
    def captioners(self) -> dict[str, captioner.Pair]:
        """Both captioners with their processors, by the name of their language half."""
        folders = {half: self.models / f"blip2-{half}" for half in captioner.RECIPES}
        known = {half: captioner.read(folder) for half, folder in folders.items() if self._has(folder)}
        recipes = {half: self.recipe(recipe) for half, recipe in captioner.RECIPES.items()}
        after = self.recipe(captioner.OPEN)
        return captioner.fit_captioners(self.scenes, self.detector, self.work, recipes, after, known)

    @cached_property
    def instruct_pix2pix(self) -> tuple[UNet2DConditionModel, CLIPTextModel]:
        """UNet and text encoder of the editor, which begin as the UNet grounded by text and CLIP's half."""
        file = self.work / f"pairs-{self.latent_count}-{saving.digest(self.autoencoder.encoder)}.npz"
        pairs = instruct_pix2pix.load_pairs(self.latent_count, self.autoencoder, file)
        if self._has(folder := self.models / "instruct-pix2pix"):
            unet = saving.read(UNet2DConditionModel, folder / "unet")
            text = saving.read(CLIPTextModel, folder / "text_encoder")
        else:
            unet, text = instruct_pix2pix.widened(self.gligen_text), saving.text_half(self.clip)
        recipe, factor = self.recipe(instruct_pix2pix.RECIPE), self.autoencoder.config.scaling_factor
        rest = self.tokenizer, self.work, recipe
        return instruct_pix2pix.fit_instruct_pix2pix(pairs, factor, unet, text, *rest)

    @cached_property
    def captioned(self) -> damsm.Captioned:
        """What the GANs are trained on."""
        return damsm.captioned(self.frozen)

    @cached_property
    def damsm(self) -> damsm.Damsm:
        """How well captions fit latents; it is in no checkpoint, for only training asks it."""
        return damsm.fit_damsm(self.captioned, self.work, self.recipe(damsm.RECIPE))

    @cached_property
    def attngan(self) -> AttnGan:
        """The generator of AttnGAN."""
        return self._gan("attngan", AttnGan, attngan.fit_attngan, attngan.RECIPE)

    @cached_property
    def ssagan(self) -> SsaGan:
        """The generator of SSA-GAN."""
        return self._gan("ssagan", SsaGan, ssagan.fit_ssagan, ssagan.RECIPE)

    def _gan(self, part: str, kind: type[T], train: Callable[..., T], recipe: Recipe) -> T:
        def fit(known: T | None) -> T:
            return train(self.captioned, self.damsm, self.work, self.recipe(recipe), known)

        return self.made(part, kind, f"{part}/generator", fit)

    def _has(self, folder: Path) -> bool:
        return not self.fresh and folder.is_dir()


def save_clip(shop: Workshop) -> None:
    """models/clip"""
    saving.save(shop.clip, clip.processor(shop.tokenizer), shop.models / "clip")


def save_vae(shop: Workshop) -> None:
    """models/gligen-text/vae, which the others share"""
    saving.halved(shop.vae).save_pretrained(shop.models / "gligen-text" / "vae")


def save_gligen_text(shop: Workshop) -> None:
    """models/gligen-text"""
    folder = shop.models / "gligen-text"
    saving.save_gligen(shop.gligen_text, shop.vae, shop.clip, shop.tokenizer, folder)


def save_gligen_image(shop: Workshop) -> None:
    """models/gligen-text-image"""
    parts = shop.gligen_image, shop.vae, shop.clip, shop.tokenizer
    folder = shop.models / "gligen-text-image"
    saving.save_gligen(*parts, folder, shop.projection)
    saving.share(folder, "vae", "text_encoder")


def save_instruct_pix2pix(shop: Workshop) -> None:
    """models/instruct-pix2pix"""
    folder = shop.models / "instruct-pix2pix"
    saving.save_instruct_pix2pix(*shop.instruct_pix2pix, shop.vae, shop.tokenizer, folder)
    saving.share(folder, "vae")


def save_layoutdiffusion(shop: Workshop) -> None:
    """models/layoutdiffusion"""
    folder = shop.models / "layoutdiffusion"
    saving.save_layoutdiffusion(shop.layoutdiffusion, shop.vae, folder)
    saving.share(folder, "vae")


def save_gan(shop: Workshop, part: str) -> None:
    """models/attngan or models/ssagan"""
    saving.save_gan(getattr(shop, part), shop.vae, shop.clip, shop.tokenizer, shop.models / part)


def save_detector(shop: Workshop) -> None:
    """models/owlv2"""
    saving.save(shop.detector, detector.processor(shop.tokenizer), shop.models / "owlv2")


def save_captioners(shop: Workshop) -> None:
    """models/blip2-opt and models/blip2-t5"""
    for half, (model, processor) in shop.captioners.items():
        saving.save(model, processor, shop.models / f"blip2-{half}")


PARTS = {
    "clip": save_clip,
    "autoencoder": save_vae,
    "decoder": save_vae,
    "gligen-text": save_gligen_text,
    "gligen-text-image": save_gligen_image,
    "instruct-pix2pix": save_instruct_pix2pix,
    "layoutdiffusion": save_layoutdiffusion,
    "attngan": partial(save_gan, part="attngan"),
    "ssagan": partial(save_gan, part="ssagan"),
    "detector": save_detector,
    "captioners": save_captioners,
}


def main(arguments: list[str] | None = None) -> None:
    """Train and save the parts that are named, all of them by default, in the order of PARTS."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}; default: all")
    parser.add_argument("--fresh", action="store_true", help="begin from nothing, not from --models")
    parser.add_argument("--work", type=Path, default=Path("runs/training"), help="states, curves, scenes")
    parser.add_argument("--models", type=Path, default=MODELS, help="where the checkpoints are and go")
    parser.add_argument("--scenes", type=int, default=SCENES, help="how many are drawn")
    parser.add_argument("--latents", type=int, default=LATENTS, help="how many of them are encoded")
    parser.add_argument("--share", type=float, default=1.0, help="of the recipes' steps; 0.001 for a trial")
    given = parser.parse_args(arguments)
    if unknown := set(given.parts) - set(PARTS):
        parser.error(f"no part is called {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    parts = given.parts or list(PARTS)
    shop = Workshop(given.work, given.models, parts, given.fresh, given.scenes, given.latents, given.share)
    for part in (part for part in PARTS if part in parts):
        PARTS[part](shop)
        print(f"{part}: saved under {given.models}", flush=True)


if __name__ == "__main__":
    main()
