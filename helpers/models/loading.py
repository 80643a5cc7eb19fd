"""Loading: one door for the demo checkpoints and the published ones.

Every model comes back on its device, in its dtype, in evaluation mode and without gradients. Weights are read
from safetensors, or from `.bin` files as tensors only; no code of a repository is ever run.
"""

import gc
from collections.abc import Mapping
from dataclasses import dataclass, field

import diffusers
import torch
import transformers
from diffusers.pipelines.stable_diffusion.clip_image_project_model import CLIPImageProjection
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
from torch import nn
from transformers.models.auto.modeling_auto import MODEL_FOR_OBJECT_DETECTION_MAPPING

from helpers.models.checkpoints import locate
from helpers.models.detectors import classes_of
from helpers.models.devices import CPU, Device, Dtype, placed
from helpers.models.halves import HALVES
from helpers.models.parts import network, read
from helpers.models.sets import Checkpoint

ATTENTION = {"text": "gated", "image": "gated-text-image"}
PARTS = {  # of a GLIGEN checkpoint: small ones first, so that gigabytes are read last
    "tokenizer": transformers.CLIPTokenizer,
    "scheduler": diffusers.PNDMScheduler,
    "text_encoder": transformers.CLIPTextModel,
    "vae": diffusers.AutoencoderKL,
}
CROP_PARTS = {  # for image grounding
    "processor": transformers.CLIPProcessor,
    "image_encoder": transformers.CLIPVisionModelWithProjection,
    "image_project": CLIPImageProjection,
}
SAFETY_PARTS = {
    "feature_extractor": transformers.CLIPImageProcessor,
    "safety_checker": StableDiffusionSafetyChecker,
}


@dataclass
class Loaded:
    """A model with its processor, device, dtype and origin.

    commit: of the weights that were really read: a hub commit, the start of a file's SHA-256, or None for a
    local folder.
    """

    model: nn.Module
    processor: transformers.ProcessorMixin | None = None
    device: torch.device = CPU
    dtype: torch.dtype = torch.float32
    checkpoint: Checkpoint | None = None
    commit: str | None = None


class Clip(Loaded):
    """CLIP, both towers."""


@dataclass
class Detector(Loaded):
    """OWLv2, which is asked in words, or an object detector with classes of its own.

    labels: as `ModelSet.detector_labels`.
    """

    labels: Mapping[str, str | None] = field(default_factory=dict)


@dataclass
class Gligen:
    """The parts of a grounded Stable Diffusion. CROP_PARTS and SAFETY_PARTS may be None."""

    unet: diffusers.UNet2DConditionModel
    vae: diffusers.AutoencoderKL
    text_encoder: transformers.CLIPTextModel
    tokenizer: transformers.CLIPTokenizer
    scheduler: diffusers.SchedulerMixin
    image_encoder: transformers.CLIPVisionModelWithProjection | None = None
    image_project: CLIPImageProjection | None = None
    processor: transformers.CLIPProcessor | None = None
    safety_checker: StableDiffusionSafetyChecker | None = None
    feature_extractor: transformers.CLIPImageProcessor | None = None
    device: torch.device = CPU
    dtype: torch.dtype = torch.float32
    checkpoint: Checkpoint | None = None
    commit: str | None = None


def load_captioner(
    checkpoint: Checkpoint, device: Device = None, dtype: Dtype = None, half: str | None = None
) -> Loaded:
    """BLIP-2 with an OPT or a T5 language half. Raises CheckpointMissing.

    half: "vision" (with the Q-Former) or "language" reads only that half's weights; None reads both.
    """
    folder, commit = locate(checkpoint)
    config = read(transformers.Blip2Config, checkpoint, folder)
    device, dtype = placed(device, dtype, "opt" if config.use_decoder_only_language_model else "t5")
    processor = read(transformers.Blip2Processor, checkpoint, folder)
    # Repositories older than transformers 4.46 lack both; their tokenizer has just been given the token.
    processor.num_query_tokens = processor.num_query_tokens or config.num_query_tokens
    if config.image_token_index is None:
        config.image_token_index = processor.tokenizer.convert_tokens_to_ids("<image>")
    model = network(HALVES[half], checkpoint, folder, device, dtype, config=config)
    return Loaded(model, processor, device, dtype, checkpoint, commit)


def load_gligen(
    checkpoint: Checkpoint,
    grounding: str | None = None,
    device: Device = None,
    dtype: Dtype = None,
    safety: Checkpoint | None = None,
) -> Gligen:
    """A grounded Stable Diffusion, part by part; the pipeline named in `model_index.json` does not matter.

    grounding: that the checkpoint must be made for, "text" or "image"; safety: the checkpoint whose safety
    checker is loaded too. Small parts are read first: what they lack is said before gigabytes are read.
    Raises CheckpointMissing, and, before any weights are read, ValueError for a UNet that cannot ground so.
    """
    config = diffusers.UNet2DConditionModel.load_config(locate(checkpoint)[0] / "unet")
    # GLIGEN repositories from before diffusers 0.20 say it with a flag.
    attention = "gated" if config.get("use_gated_attention") else config.get("attention_type", "default")
    named = f"checkpoint {checkpoint.name!r} ({checkpoint.source}), attention_type={attention!r}:"
    if attention not in ATTENTION.values():
        raise ValueError(f"{named} its UNet has no grounding layers; give a GLIGEN checkpoint")
    if grounding == "image" and attention != ATTENTION["image"]:
        other = "for image grounding give one with crops, such as anhnct/Gligen_Text_Image"
        raise ValueError(f"{named} it grounds by text only; {other}")
    return load_stable_diffusion(checkpoint, attention, device, dtype, safety)


def load_stable_diffusion(
    checkpoint: Checkpoint,
    attention: str = "default",
    device: Device = None,
    dtype: Dtype = None,
    safety: Checkpoint | None = None,
) -> Gligen:
    """The parts of a Stable Diffusion.

    attention: the kind of its UNet's grounding layers, "default" for none. safety: as for `load_gligen`.
    Raises CheckpointMissing.
    """
    folder, commit = locate(checkpoint)
    checker = safety and locate(safety)[0]
    device, dtype = placed(device, dtype, "gligen")
    wanted = PARTS | (CROP_PARTS if attention == ATTENTION["image"] else {})
    kinds = {part: (kind, checkpoint, folder) for part, kind in wanted.items()}
    kinds |= {part: (kind, safety, checker) for part, kind in SAFETY_PARTS.items() if safety}
    small = {part: kind for part, kind in kinds.items() if not issubclass(kind[0], nn.Module)}
    parts = {part: read(*kind, part) for part, kind in small.items()}
    for part in (part for part in kinds if part not in small):
        parts[part] = network(*kinds[part], device, dtype, part)
    unet = diffusers.UNet2DConditionModel, checkpoint, folder, device, dtype, "unet"
    parts["unet"] = network(*unet, attention_type=attention)
    return Gligen(**parts, device=device, dtype=dtype, checkpoint=checkpoint, commit=commit)


def load_clip(checkpoint: Checkpoint, device: Device = None) -> Clip:
    """CLIP with its processor, in float32. Raises CheckpointMissing."""
    return Clip(*_pair(checkpoint, transformers.CLIPModel, transformers.CLIPProcessor, device))


def load_detector(
    checkpoint: Checkpoint, device: Device = None, labels: Mapping[str, str | None] | None = None
) -> Detector:
    """OWLv2, or any checkpoint of AutoModelForObjectDetection, with its processor, in float32. labels: as
    `Detector`.

    Raises CheckpointMissing, and ParameterError for a checkpoint that is no detector.
    """
    folder, kinds = locate(checkpoint)[0], (transformers.Owlv2ForObjectDetection, transformers.Owlv2Processor)
    if classes_of(folder) is not None:
        config = read(transformers.AutoConfig, checkpoint, folder)
        kinds = MODEL_FOR_OBJECT_DETECTION_MAPPING[type(config)], transformers.AutoImageProcessor
    return Detector(*_pair(checkpoint, *kinds, device), labels=labels or {})


def _pair(checkpoint: Checkpoint, kind: type, processor_kind: type, device: Device) -> tuple:
    """A model that measures, its processor, and where they are from: the fields of `Loaded`."""
    (folder, commit), (device, dtype) = locate(checkpoint), placed(device, None, "clip")
    processor = read(processor_kind, checkpoint, folder)
    return network(kind, checkpoint, folder, device, dtype), processor, device, dtype, checkpoint, commit


def release(*models: Loaded | Gligen) -> None:
    """Free the memory of models, whoever still refers to them; they cannot be used again."""
    for loaded in models:
        for module in vars(loaded).values():
            if isinstance(module, nn.Module):
                module.to("meta")
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
