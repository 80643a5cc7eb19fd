"""Writing trained models as those on the hub: configuration, fp16 safetensors, processor."""

import hashlib
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import numpy as np
import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    ModelMixin,
    PNDMScheduler,
    StableDiffusionInstructPix2PixPipeline,
    UNet2DConditionModel,
)
from diffusers.pipelines.deprecated.stable_diffusion_gligen import (
    StableDiffusionGLIGENPipeline,
    StableDiffusionGLIGENTextImagePipeline,
)
from diffusers.pipelines.stable_diffusion.clip_image_project_model import CLIPImageProjection
from transformers import (
    CLIPModel,
    CLIPTextModel,
    CLIPTokenizer,
    CLIPVisionModelWithProjection,
    PreTrainedModel,
    ProcessorMixin,
)

from data.converters.layoutdiffusion import LayoutDiffusionPipeline
from data.training.clip import WIDTH, processor
from data.training.gligen import SCHEDULE
from helpers.files import beside
from helpers.generation.methods.gans import GanPipeline
from helpers.models.layout_unet import LayoutDiffusionModel


def save(model: PreTrainedModel, processor: ProcessorMixin, folder: Path) -> None:
    """Save to `folder` in half precision; the model itself stays as it is."""
    halved(model).save_pretrained(folder)
    processor.save_pretrained(folder)


def save_gligen(
    unet: UNet2DConditionModel,
    vae: AutoencoderKL,
    clip: CLIPModel,
    tokenizer: CLIPTokenizer,
    folder: Path,
    project: CLIPImageProjection | None = None,
) -> None:
    """As masterful/gligen-1-4-generation-text-box is laid out; with `project`, as anhnct/Gligen_Text_Image.

    Neither has a safety checker: there is nothing to check in a drawn world.
    """
    shared = {
        "vae": halved(vae),
        "text_encoder": halved(text_half(clip)),
        "tokenizer": tokenizer,
        "unet": halved(unet),
        "scheduler": PNDMScheduler(**SCHEDULE, skip_prk_steps=True),
        "safety_checker": None,
        "feature_extractor": None,
        "requires_safety_checker": False,
    }
    if project is None:
        StableDiffusionGLIGENPipeline(**shared).save_pretrained(folder)
        return
    parts = {
        "processor": processor(tokenizer),
        "image_encoder": halved(image_half(clip)),
        "image_project": halved(project),
    }
    StableDiffusionGLIGENTextImagePipeline(**shared, **parts).save_pretrained(folder)


def save_layoutdiffusion(model: LayoutDiffusionModel, vae: AutoencoderKL, folder: Path) -> None:
    """As `data.converters.layoutdiffusion` lays the published one out, with an autoencoder."""
    scheduler = PNDMScheduler(**SCHEDULE, skip_prk_steps=True)
    LayoutDiffusionPipeline(halved(model), scheduler, halved(vae)).save_pretrained(folder)


def save_instruct_pix2pix(
    unet: UNet2DConditionModel,
    text_encoder: CLIPTextModel,
    vae: AutoencoderKL,
    tokenizer: CLIPTokenizer,
    folder: Path,
) -> None:
    """As timbrooks/instruct-pix2pix is laid out, without a safety checker."""
    StableDiffusionInstructPix2PixPipeline(
        vae=halved(vae),
        text_encoder=halved(text_encoder),
        tokenizer=tokenizer,
        unet=halved(unet),
        scheduler=DDIMScheduler(**SCHEDULE, clip_sample=False, set_alpha_to_one=False),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)


def save_gan(
    generator: ModelMixin, vae: AutoencoderKL, clip: CLIPModel, tokenizer: CLIPTokenizer, folder: Path
) -> None:
    """A generator of latents, and links to what gligen-text has as well."""
    shared = {"vae": halved(vae), "text_encoder": halved(text_half(clip)), "tokenizer": tokenizer}
    GanPipeline(halved(generator), **shared).save_pretrained(folder)
    share(folder, *shared)


def share(folder: Path, *parts: str) -> None:
    """Parts of a pipeline that equal those of gligen-text beside it: links to its files, so that neither the
    repository nor a disk holds them twice. diffusers reads links as files."""
    for file in (file for part in parts for file in (folder / part).iterdir()):
        file.unlink()
        file.symlink_to(Path("..", "..", "gligen-text", file.parent.name, file.name))


def read(kind: type[torch.nn.Module], folder: Path) -> torch.nn.Module:
    """A saved model in float32."""
    if not issubclass(kind, ModelMixin):
        return kind.from_pretrained(folder, local_files_only=True, dtype=torch.float32)
    model = kind.from_pretrained(folder, local_files_only=True, torch_dtype=torch.float32)
    model.register_to_config(_name_or_path="")  # else a path of this machine is saved with it
    return model


def kept(file: Path, make: Callable[[], torch.Tensor]) -> torch.Tensor:
    """A tensor on disk, made and written whole where `file` is not there."""
    if not file.exists():
        with beside(file) as partial, partial.open("wb") as stream:
            np.save(stream, make().numpy())
    return torch.from_numpy(np.load(file))


def digest(model: torch.nn.Module) -> str:
    """Eight hexadecimal digits that change with the weights."""
    total = hashlib.sha256()
    for weight in model.state_dict().values():
        total.update(weight.cpu().contiguous().numpy().tobytes())
    return total.hexdigest()[:8]


def projection(weight: torch.Tensor) -> CLIPImageProjection:
    """The image projection that holds `weight`, (WIDTH, WIDTH)."""
    project = CLIPImageProjection(hidden_size=WIDTH).requires_grad_(False)
    project.project.weight.copy_(weight)
    return project


def text_half(clip: CLIPModel) -> CLIPTextModel:
    """CLIP's text tower as the pipelines' text encoder."""
    half = CLIPTextModel(clip.config.text_config)
    half.load_state_dict(clip.text_model.state_dict())
    return half.eval()


def image_half(clip: CLIPModel) -> CLIPVisionModelWithProjection:
    """CLIP's vision tower with its projection."""
    half = CLIPVisionModelWithProjection(clip.config.vision_config)
    half.vision_model.load_state_dict(clip.vision_model.state_dict())
    half.visual_projection.load_state_dict(clip.visual_projection.state_dict())
    return half.eval()


def halved(model: torch.nn.Module) -> torch.nn.Module:
    """A copy in fp16, its weights laid out plainly."""
    return deepcopy(model).to(dtype=torch.float16, memory_format=torch.contiguous_format)
