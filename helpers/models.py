"""Loading: one door for the demo checkpoints and the published ones.

Every model comes back on its device, in its dtype, in evaluation mode and without gradients. Weights are read
from safetensors, or from `.bin` files as tensors only; no code of a repository is ever run.
"""

import gc
import hashlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from unittest import mock
from urllib.error import URLError

import diffusers
import torch
import transformers
from diffusers.pipelines.stable_diffusion.clip_image_project_model import CLIPImageProjection
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
from torch import nn

from helpers.checkpoints import CheckpointMissing, locate, network, read
from helpers.halves import HALVES
from helpers.settings import Checkpoint

CPU = torch.device("cpu")
Device = torch.device | str | None  # None: the best one
Dtype = torch.dtype | None  # None: the best one for device and model
ATTENTION = {"text": "gated", "image": "gated-text-image"}
INCEPTION_URL = "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/"
INCEPTION = Checkpoint(
    "pytorch-fid Inception", INCEPTION_URL + "pt_inception-2015-12-05-6726825d.pth", "6726825d"
)


@dataclass
class Loaded:
    """A model, what prepares its inputs, where and in what it computes, and where it came from.

    commit: what was really loaded: a hub commit, the start of a file's SHA-256, or None for a local folder.
    """

    model: nn.Module
    processor: transformers.ProcessorMixin | None = None
    device: torch.device = CPU
    dtype: torch.dtype = torch.float32
    checkpoint: Checkpoint | None = None
    commit: str | None = None


class Captioner(Loaded):
    """BLIP-2, whole or one of its halves."""


class Clip(Loaded):
    """CLIP, both towers."""


class Detector(Loaded):
    """OWLv2, which finds what a text names."""


class Inception(Loaded):
    """pytorch-fid's network: (n, 3, h, w) in [0, 1] -> [(n, 2048, 1, 1)]. It has no processor."""


@dataclass
class Gligen:
    """The parts of a grounded Stable Diffusion. Those for crops and for the safety checker may be None."""

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

    @property
    def grounding(self) -> str:
        """What a box may carry: "text" (a phrase), or "image" (a phrase and a crop)."""
        return "image" if self.unet.config.attention_type == ATTENTION["image"] else "text"


def best_device() -> torch.device:
    """The first CUDA GPU, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def best_dtype(device: torch.device, family: str) -> torch.dtype:
    """bfloat16 on GPUs that compute in it, float16 on older ones, float32 on a CPU.

    family: "opt", "t5", "gligen", "clip", "detector" or "inception". The last three measure and stay in
    float32, so that scores agree between machines. T5 overflows in float16: float32 on older GPUs.
    """
    if device.type == "cpu" or family in ("clip", "detector", "inception"):
        return torch.float32
    if torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.bfloat16
    return torch.float32 if family == "t5" else torch.float16


def _placed(device: Device, dtype: Dtype, family: str) -> tuple[torch.device, torch.dtype]:
    device = torch.device(device) if device else best_device()
    return device, dtype or best_dtype(device, family)


def load_captioner(
    checkpoint: Checkpoint, device: Device = None, dtype: Dtype = None, half: str | None = None
) -> Captioner:
    """BLIP-2 with an OPT or a T5 language half. Raises CheckpointMissing.

    half: "vision" (with the Q-Former) or "language" reads only that half's weights; None reads both.
    """
    folder, commit = locate(checkpoint)
    config = read(transformers.Blip2Config, checkpoint, folder)
    device, dtype = _placed(device, dtype, "opt" if config.use_decoder_only_language_model else "t5")
    processor = read(transformers.Blip2Processor, checkpoint, folder)
    # Repositories older than transformers 4.46 lack both; their tokenizer has just been given the token.
    processor.num_query_tokens = processor.num_query_tokens or config.num_query_tokens
    if config.image_token_index is None:
        config.image_token_index = processor.tokenizer.convert_tokens_to_ids("<image>")
    model = network(HALVES[half], checkpoint, folder, device, dtype, config=config)
    return Captioner(model, processor, device, dtype, checkpoint, commit)


def load_gligen(
    checkpoint: Checkpoint,
    grounding: str | None = None,
    device: Device = None,
    dtype: Dtype = None,
    safety: bool = False,
) -> Gligen:
    """A grounded Stable Diffusion, part by part; the pipeline named in `model_index.json` does not matter.

    grounding: what the checkpoint must be able to do, "text" or "image"; safety: load the safety checker too.
    Raises CheckpointMissing, and, before any weights are read, ValueError for a UNet that cannot ground so.
    """
    folder, commit = locate(checkpoint)
    attention = _attention(checkpoint, folder, grounding)
    device, dtype = _placed(device, dtype, "gligen")
    plain = partial(read, checkpoint=checkpoint, folder=folder)
    trained = partial(network, checkpoint=checkpoint, folder=folder, device=device, dtype=dtype)
    parts = {
        "unet": trained(diffusers.UNet2DConditionModel, part="unet", attention_type=attention),
        "vae": trained(diffusers.AutoencoderKL, part="vae"),
        "text_encoder": trained(transformers.CLIPTextModel, part="text_encoder"),
        "tokenizer": plain(transformers.CLIPTokenizer, part="tokenizer"),
        "scheduler": plain(diffusers.PNDMScheduler, part="scheduler"),
    }
    if attention == ATTENTION["image"]:
        parts["image_encoder"] = trained(transformers.CLIPVisionModelWithProjection, part="image_encoder")
        parts["image_project"] = trained(CLIPImageProjection, part="image_project")
        parts["processor"] = plain(transformers.CLIPProcessor, part="processor")
    if safety:
        parts["safety_checker"] = trained(StableDiffusionSafetyChecker, part="safety_checker")
        parts["feature_extractor"] = plain(transformers.CLIPImageProcessor, part="feature_extractor")
    return Gligen(**parts, device=device, dtype=dtype, checkpoint=checkpoint, commit=commit)


def _attention(checkpoint: Checkpoint, folder: Path, grounding: str | None) -> str:
    """The kind of the UNet's grounding layers, from its configuration alone."""
    config = diffusers.UNet2DConditionModel.load_config(folder / "unet")
    # GLIGEN repositories from before diffusers 0.20 say it with a flag.
    attention = "gated" if config.get("use_gated_attention") else config.get("attention_type", "default")
    named = f"checkpoint {checkpoint.name!r} ({checkpoint.source}), attention_type={attention!r}:"
    if attention not in ATTENTION.values():
        raise ValueError(f"{named} its UNet has no grounding layers; give a GLIGEN checkpoint")
    if grounding == "image" and attention != ATTENTION["image"]:
        raise ValueError(f"{named} it grounds by text only; for image grounding give one with crops, such as "
                         "anhnct/Gligen_Text_Image")  # fmt: skip
    return attention


def load_clip(checkpoint: Checkpoint, device: Device = None, dtype: Dtype = None) -> Clip:
    """CLIP with its processor. Raises CheckpointMissing."""
    folder, commit = locate(checkpoint)
    device, dtype = _placed(device, dtype, "clip")
    model = network(transformers.CLIPModel, checkpoint, folder, device, dtype)
    processor = read(transformers.CLIPProcessor, checkpoint, folder)
    return Clip(model, processor, device, dtype, checkpoint, commit)


def load_detector(checkpoint: Checkpoint, device: Device = None, dtype: Dtype = None) -> Detector:
    """OWLv2 with its processor. Raises CheckpointMissing."""
    folder, commit = locate(checkpoint)
    device, dtype = _placed(device, dtype, "detector")
    model = network(transformers.Owlv2ForObjectDetection, checkpoint, folder, device, dtype)
    processor = read(transformers.Owlv2Processor, checkpoint, folder)
    return Detector(model, processor, device, dtype, checkpoint, commit)


def load_inception(weights: str | Path | None = None, device: Device = None) -> Inception:
    """pytorch-fid's Inception, in float32. Raises CheckpointMissing.

    weights: a file with its state; None takes pytorch-fid's own from torch.hub's cache, downloaded if need be
    and checked against the SHA-256 in its name.
    """
    from pytorch_fid import inception  # torchvision takes a second to import

    own = Path(torch.hub.get_dir()) / "checkpoints" / Path(INCEPTION.source).name
    file = Path(weights) if weights else own
    if not file.is_file():
        if weights:
            raise CheckpointMissing(INCEPTION, file, "no such file")
        _download_inception(file)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()[:8]
    if not weights and digest != INCEPTION.revision:
        raise CheckpointMissing(INCEPTION, file, f"damaged, its SHA-256 starts with {digest}; delete it")
    state = torch.load(file, map_location="cpu", weights_only=True)
    # pytorch-fid builds its network only together with a download: hand it the state that was just read.
    with mock.patch.object(inception, "load_state_dict_from_url", lambda *_, **__: state):
        model = inception.InceptionV3()
    device, dtype = _placed(device, None, "inception")
    return Inception(model.to(device).eval(), None, device, dtype, INCEPTION, digest)


def _download_inception(file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        torch.hub.download_url_to_file(INCEPTION.source, str(file), hash_prefix=INCEPTION.revision)
    except URLError as error:
        raise CheckpointMissing(INCEPTION, f"{file} and {INCEPTION.source}", error) from error


def release(*models: Loaded | Gligen) -> None:
    """Free the memory of models that are done with, whoever still holds them; they cannot be used again."""
    for loaded in models:
        for module in vars(loaded).values():
            if isinstance(module, nn.Module):
                module.to("meta")
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
