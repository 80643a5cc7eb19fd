"""GLIGEN with the published architecture and random weights: it draws noise at the real price."""

from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.pipelines.stable_diffusion.clip_image_project_model import CLIPImageProjection
from transformers import (
    CLIPImageProcessor,
    CLIPProcessor,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

from tests.fakes import gligen as fakes


def components(folder: Path, image: bool) -> dict:
    """The parts of a pipeline, gates open, made on the GPU if there is one. folder: for the tokenizer."""
    torch.manual_seed(0)
    parts = fakes.components(folder, image)
    words = len(parts["tokenizer"])
    text = CLIPTextConfig(
        vocab_size=words,
        hidden_size=768,
        intermediate_size=3072,
        num_hidden_layers=12,
        num_attention_heads=12,
        projection_dim=768,
        bos_token_id=words - 2,
        eos_token_id=words - 1,
        pad_token_id=words - 1,
    )
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        parts["text_encoder"] = CLIPTextModel(text)
        parts["vae"] = AutoencoderKL(
            block_out_channels=(128, 256, 512, 512),
            layers_per_block=2,
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            sample_size=512,
        )
        parts["unet"] = UNet2DConditionModel(
            sample_size=64,
            cross_attention_dim=768,
            attention_head_dim=8,
            attention_type="gated-text-image" if image else "gated",
        )
        if image:
            vision = CLIPVisionConfig(
                hidden_size=1024,
                intermediate_size=4096,
                num_hidden_layers=24,
                num_attention_heads=16,
                patch_size=14,
                projection_dim=768,
            )
            parts["image_encoder"] = CLIPVisionModelWithProjection(vision)
            parts["image_project"] = CLIPImageProjection(768)
            parts["processor"] = CLIPProcessor(CLIPImageProcessor(), parts["tokenizer"])
    for name, gate in parts["unet"].named_parameters():
        if name.endswith(("alpha_attn", "alpha_dense")):
            gate.data.fill_(fakes.GATE)
    return parts
