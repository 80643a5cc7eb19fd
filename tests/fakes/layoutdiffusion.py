"""A small LayoutDiffusion with random weights, and its parts with GLIGEN's fake autoencoder."""

import torch
from diffusers import DDIMScheduler

from helpers.generation.methods.layoutdiffusion import LayoutDiffusion
from helpers.models.layout_unet import IMAGE, NULL, LayoutDiffusionModel

CLASSES = (IMAGE, "red cone", "green cone", "traffic light", NULL)


def model(length: int = 5, frequencies: int = 4, channels: int = 4) -> LayoutDiffusionModel:
    """Of 8 x 8 latents, with attention at 4 x 4 and below."""
    torch.manual_seed(0)
    unet = {
        "sample_size": 8,
        "in_channels": channels,
        "out_channels": channels,
        "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
        "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
        "block_out_channels": (16, 32),
        "layers_per_block": 1,
        "attention_head_dim": 8,
        "norm_num_groups": 8,
    }
    made = LayoutDiffusionModel(
        CLASSES, unet, length=length, width=32, layers=2, heads=4, frequencies=frequencies
    )
    return made.eval().requires_grad_(False)


def scheduler() -> DDIMScheduler:
    """Stable Diffusion's schedule."""
    return DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1)


def parts(vae) -> LayoutDiffusion:
    """What the method draws with."""
    own = model()
    return LayoutDiffusion(own, own.unet, vae, scheduler())
