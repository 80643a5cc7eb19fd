"""GLIGEN with random weights and open gates, small enough for a test: in memory, or saved as published."""

import inspect
import json
import textwrap
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from diffusers import (
    AutoencoderKL,
    PNDMScheduler,
    StableDiffusionGLIGENPipeline,
    StableDiffusionGLIGENTextImagePipeline,
    StableDiffusionInstructPix2PixPipeline,
    UNet2DConditionModel,
)
from diffusers.pipelines.stable_diffusion import StableDiffusionSafetyChecker
from diffusers.pipelines.stable_diffusion.clip_image_project_model import CLIPImageProjection
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPProcessor,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizer,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

from helpers.generation.requests import Request
from helpers.runs.methods import METHODS

WIDTH = 16  # of text states, phrases and image embeddings
PARTS = (
    *("unet", "vae", "text_encoder", "tokenizer", "scheduler", "image_encoder", "image_project", "processor"),
    *("safety_checker", "feature_extractor"),
)
GATE = 0.8  # GLIGEN's gates start at 0, where grounding does nothing and no comparison could fail
WORDS = "worker cone crate barrel truck ladder helmet vest warehouse street orange green blue red yellow with"
# The scheduler of Stable Diffusion 1.4
SCHEDULER = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
    "skip_prk_steps": True,
    "set_alpha_to_one": False,
    "steps_offset": 1,
}


def write_vocabulary(folder: Path) -> None:
    """vocab.json and merges.txt of a byte-level CLIP tokenizer: every text, and a few whole words."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = [chr(byte) for byte in printable] + [chr(256 + n) for n in range(256 - len(printable))]
    merges: dict[tuple[str, str], None] = {}
    for word in WORDS.split():
        parts = [*word[:-1], word[-1] + "</w>"]
        while len(parts) > 1:
            merges[parts[0], parts[1]] = None
            parts[:2] = [parts[0] + parts[1]]
    words = [
        *letters,
        *(letter + "</w>" for letter in letters),
        *("".join(pair) for pair in merges),
        "<|startoftext|>",
        "<|endoftext|>",
    ]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({word: n for n, word in enumerate(dict.fromkeys(words))}))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *map(" ".join, merges)]) + "\n")


def tokenizer(folder: Path) -> CLIPTokenizer:
    write_vocabulary(folder)
    return CLIPTokenizer.from_pretrained(folder, model_max_length=77)


def unet(
    attention_type: str = "gated",
    channels: tuple[int, ...] = (16, 32),
    in_channels: int = 4,
    gate: float = GATE,
) -> UNet2DConditionModel:
    """A UNet over 16 x 16 latents; attention_type "gated", "gated-text-image" or "default" (no fusers)."""
    levels = len(channels)
    model = UNet2DConditionModel(
        sample_size=16,
        in_channels=in_channels,
        block_out_channels=channels,
        layers_per_block=1,
        norm_num_groups=4,
        down_block_types=("CrossAttnDownBlock2D",) * (levels - 1) + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * (levels - 1),
        cross_attention_dim=WIDTH,
        attention_head_dim=2,
        attention_type=attention_type,
    )
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(("alpha_attn", "alpha_dense")):
                parameter.fill_(gate)
            if "position_net.null" in name:  # zeros at the start: a mix-up of null tokens would go unseen
                parameter.normal_()
            if parameter.ndim == 2 and ("position_net" in name or ".fuser." in name):
                parameter.mul_(2)  # fresh weights hardly tell one box from another
    return model.eval()


def components(folder: Path, image: bool = False, safety: bool = False, seed: int = 0, **options) -> dict:
    """What a pipeline of diffusers is made of. folder: for the tokenizer's files; options: of `unet`."""
    torch.manual_seed(seed)
    words = tokenizer(folder / "vocabulary")
    text = CLIPTextConfig(
        vocab_size=len(words),
        hidden_size=WIDTH,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        projection_dim=WIDTH,
        bos_token_id=words.bos_token_id,
        eos_token_id=words.eos_token_id,
        pad_token_id=words.pad_token_id,
    )
    vision = CLIPVisionConfig(
        image_size=32,
        patch_size=8,
        hidden_size=WIDTH,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        projection_dim=WIDTH,
    )
    pictures = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    checker = CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=WIDTH)
    parts = {
        "unet": unet(**{"attention_type": "gated-text-image" if image else "gated"} | options),
        "vae": AutoencoderKL(
            block_out_channels=(4, 4, 4, 8),
            norm_num_groups=2,
            latent_channels=4,
            sample_size=128,
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
        ),
        "text_encoder": CLIPTextModel(text),
        "tokenizer": words,
        "scheduler": PNDMScheduler(**SCHEDULER),
        "safety_checker": StableDiffusionSafetyChecker(checker) if safety else None,
        "feature_extractor": pictures if safety else None,
    }
    if image:
        parts |= {
            "image_encoder": CLIPVisionModelWithProjection(vision),
            "image_project": CLIPImageProjection(WIDTH),
            "processor": CLIPProcessor(pictures, words),
        }
    for part in parts.values():
        if isinstance(part, torch.nn.Module):
            part.eval()
    return parts


def pipeline(parts: dict) -> StableDiffusionGLIGENPipeline | StableDiffusionGLIGENTextImagePipeline:
    """diffusers' own pipeline of these components, quiet."""
    kind = StableDiffusionGLIGENTextImagePipeline if "processor" in parts else StableDiffusionGLIGENPipeline
    if parts["vae"].config.latent_channels != 4:
        kind = _of_any_latents(kind)
    made = kind(**parts, requires_safety_checker=False)
    made.set_progress_bar_config(disable=True)
    return made


def _of_any_latents(kind: type) -> type:
    """The pipeline without its check for four channels, which replaces other latents by noise."""
    source, check = textwrap.dedent(inspect.getsource(kind.__call__)), "if latents.shape[1] != 4:"
    assert source.count(check) == 1, "diffusers' pipeline is not the one that this was written for"
    names = dict(vars(inspect.getmodule(kind)))
    exec(source.replace(check, "if False:"), names)
    return type(kind.__name__, (kind,), {"__call__": names["__call__"]})


def write_gligen(
    folder: Path,
    image: bool = False,
    safety: bool = False,
    variant: str | None = None,
    safetensors: bool = True,
    seed: int = 0,
    **options,
) -> Path:
    """Save a random GLIGEN repository in the published layout. Returns the folder."""
    made = pipeline(components(folder.parent / f"{folder.name}-parts", image, safety, seed, **options))
    made.save_pretrained(folder, variant=variant, safe_serialization=safetensors)
    for part in {"tokenizer", "processor"} & set(made.components):
        (folder / part / "tokenizer.json").unlink()  # newer than what is published, which holds these two:
        write_vocabulary(folder / part)
    if image:
        (folder / "processor" / "processor_config.json").unlink()
        made.processor.image_processor.save_pretrained(folder / "processor")
    return folder


def editor(parts: dict) -> StableDiffusionInstructPix2PixPipeline:
    """diffusers' own InstructPix2Pix of components with a UNet of 8 channels, quiet."""
    parts = {"safety_checker": None, "feature_extractor": None} | parts
    made = StableDiffusionInstructPix2PixPipeline(**parts, requires_safety_checker=False)
    made.set_progress_bar_config(disable=True)
    return made


def write_editor(folder: Path, seed: int = 0) -> Path:
    """Save a random InstructPix2Pix repository as timbrooks/instruct-pix2pix, which has the configuration of
    another scheduler, from before most of its settings. Returns the folder."""
    options = {"attention_type": "default", "in_channels": 8}
    editor(components(folder.parent / f"{folder.name}-parts", seed=seed, **options)).save_pretrained(folder)
    names = ("beta_start", "beta_end", "beta_schedule", "num_train_timesteps", "steps_offset")
    config = {"_class_name": "EulerAncestralDiscreteScheduler", "_diffusers_version": "0.12.0.dev0"}
    config |= {name: SCHEDULER[name] for name in names}
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(config))
    return folder


def gligen(parts: dict) -> SimpleNamespace:
    """The same components with the field names of `helpers.models.loading.Gligen`."""
    return SimpleNamespace(
        **{name: parts.get(name) for name in PARTS},
        device=torch.device("cpu"),
        dtype=torch.float32,
        checkpoint=SimpleNamespace(name="tiny", revision=None),
        commit=None,
    )


def readable(request: Request, **changes) -> Request:
    """The request with changes, without boxes, phrases and crops that its method does not read."""
    request = replace(request, **changes)
    reads = METHODS[request.grounding].reads if request.grounding in METHODS else ()
    nothing = {"boxes": np.empty((0, 4), np.float32), "phrases": (), "crops": ()}
    return replace(request, **{name: value for name, value in nothing.items() if name not in reads})


def same(pictures, others) -> bool:
    """Whether pictures are equal: to the bit with one thread, and to one level of 255 with several, which
    share the work out by the place in the batch."""
    apart = np.abs(np.asarray(pictures, int) - np.asarray(others, int)).max()
    return apart <= (torch.get_num_threads() > 1)
