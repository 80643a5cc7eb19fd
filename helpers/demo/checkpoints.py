"""Trained parts to folders in the layout of the published checkpoints, in fp16 safetensors."""

from pathlib import Path

import torch
from diffusers import AutoencoderKL, PNDMScheduler, UNet2DConditionModel
from diffusers.pipelines.deprecated.stable_diffusion_gligen import (
    StableDiffusionGLIGENPipeline,
    StableDiffusionGLIGENTextImagePipeline,
)
from diffusers.pipelines.stable_diffusion.clip_image_project_model import CLIPImageProjection
from transformers import CLIPModel, CLIPTextModel, CLIPTokenizer, CLIPVisionModelWithProjection

from helpers.demo.clip import WIDTH, processor
from helpers.demo.gligen import SCHEDULE


def save_clip(model: CLIPModel, tokenizer: CLIPTokenizer, folder: Path) -> None:
    """CLIP with its processor."""
    halved(model).save_pretrained(folder)
    processor(tokenizer).save_pretrained(folder)


def save_gligen_text(unet: UNet2DConditionModel, vae: AutoencoderKL, clip: CLIPModel, tokenizer: CLIPTokenizer, folder: Path) -> None:
    """As masterful/gligen-1-4-generation-text-box is laid out, without a safety checker."""
    pipeline = StableDiffusionGLIGENPipeline(
        halved(vae), halved(text_half(clip)), tokenizer, halved(unet), scheduler(), None, None, requires_safety_checker=False
    )
    pipeline.save_pretrained(folder)


def save_gligen_image(
    unet: UNet2DConditionModel,
    vae: AutoencoderKL,
    clip: CLIPModel,
    tokenizer: CLIPTokenizer,
    project: CLIPImageProjection,
    folder: Path,
) -> None:
    """As anhnct/Gligen_Text_Image is laid out, without a safety checker."""
    pipeline = StableDiffusionGLIGENTextImagePipeline(
        halved(vae),
        halved(text_half(clip)),
        tokenizer,
        processor(tokenizer),
        halved(image_half(clip)),
        halved(project),
        halved(unet),
        scheduler(),
        None,
        None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(folder)


def projection(weight: torch.Tensor) -> CLIPImageProjection:
    """The image projection that holds `weight`, (WIDTH, WIDTH)."""
    project = CLIPImageProjection(hidden_size=WIDTH).requires_grad_(False)
    project.project.weight.copy_(weight)
    return project


def scheduler() -> PNDMScheduler:
    """PNDM as Stable Diffusion 1.4 ships it."""
    return PNDMScheduler(**{k: v for k, v in SCHEDULE.items() if k != "clip_sample"}, skip_prk_steps=True)


def text_half(clip: CLIPModel) -> CLIPTextModel:
    """CLIP's text tower as the pipelines' text encoder."""
    half = CLIPTextModel(clip.config.text_config)
    half.load_state_dict(clip.text_model.state_dict(), strict=True)
    return half


def image_half(clip: CLIPModel) -> CLIPVisionModelWithProjection:
    """CLIP's vision tower with its projection."""
    half = CLIPVisionModelWithProjection(clip.config.vision_config)
    half.vision_model.load_state_dict(clip.vision_model.state_dict(), strict=True)
    half.visual_projection.load_state_dict(clip.visual_projection.state_dict(), strict=True)
    return half


def halved(model: torch.nn.Module) -> torch.nn.Module:
    """A copy in fp16 with its weights laid out plainly."""
    copy = type(model).from_config(model.config) if hasattr(model, "from_config") else type(model)(model.config)
    copy.load_state_dict({name: value.contiguous() for name, value in model.state_dict().items()})
    return copy.to(torch.float16)
