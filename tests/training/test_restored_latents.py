"""Latents with the UNet's errors: near the photo's own, the nearer the less noise they came from."""

import torch
from diffusers import UNet2DConditionModel
from transformers import CLIPModel, CLIPTokenizer

from data.training import gligen
from data.training.drawn_scenes import load_scenes
from data.training.restored_latents import TIMESTEPS, restored_latents
from data.training.saving import read
from helpers.models.sets import data_folder


def test_the_layout_stays_and_errors_grow_with_the_noise(tmp_path):
    models, scenes = data_folder() / "models", load_scenes("validation", 8, tmp_path)
    unet = read(UNet2DConditionModel, models / "gligen-text" / "unet").eval()
    clip, tokenizer = read(CLIPModel, models / "clip"), CLIPTokenizer.from_pretrained(models / "clip")
    latents = torch.randn(8, 8, 16, 16, generator=torch.Generator().manual_seed(0)).cumsum(2) / 4
    frozen = gligen.Frozen(scenes, latents, clip, tokenizer)
    restored = restored_latents(frozen, unet, count=8)
    assert torch.allclose(restored, restored_latents(frozen, unet, count=8, batch_size=1), atol=1e-3)
    errors = (restored - latents).square().mean((1, 2, 3)).unflatten(0, (-1, len(TIMESTEPS))).mean(0)
    assert (errors.diff() > 0).all() and errors[0] < 0.5 * latents.square().mean()
