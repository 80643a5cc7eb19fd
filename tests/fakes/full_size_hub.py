"""The published repositories at their true architecture, names, layout and size, in files that hold nothing.

Weights are sparse: tables of contents with true names, shapes and dtypes, and holes behind them, so that some
45 GB take little disk; or, for a rehearsal, filled with random numbers. Vocabularies are the tests' own.
"""

import json
import math
import struct
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import (
    Blip2Config,
    Blip2ForConditionalGeneration,
    CLIPConfig,
    CLIPModel,
    Owlv2Config,
    Owlv2ForObjectDetection,
)

from helpers.models.sets import Checkpoint, ModelSet
from tests.fakes.blip2 import tokenizer as blip2_tokenizer
from tests.fakes.gligen import SCHEDULER, tokenizer
from tests.fakes.published import OLD_ATTENTION

SHARD = 10_000_000_000  # bytes, as save_pretrained cut them then
Shapes = dict[str, tuple[int, ...]]
OPT = {
    "model_type": "opt",
    "hidden_size": 2560,
    "ffn_dim": 10240,
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "word_embed_proj_dim": 2560,
    "vocab_size": 50304,
    "eos_token_id": 50118,
}
T5 = {
    "model_type": "t5",
    "d_model": 2048,
    "d_ff": 5120,
    "d_kv": 64,
    "num_heads": 32,
    "num_layers": 24,
    "num_decoder_layers": 24,
    "feed_forward_proj": "gated-gelu",
    "vocab_size": 32128,
    "tie_word_embeddings": False,
    "decoder_start_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 1,
    "pad_token_id": 0,
}
CLIP_TEXT = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_attention_heads": 12,
    "num_hidden_layers": 12,
    "projection_dim": 768,
}
CLIP_VISION = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_attention_heads": 16,
    "num_hidden_layers": 24,
    "patch_size": 14,
    "projection_dim": 768,
}
CLIP = {  # the long form of 2022
    "model_type": "clip",
    "projection_dim": 768,
    "text_config": CLIP_TEXT | {"eos_token_id": 2, "model_type": "clip_text_model"},
    "text_config_dict": CLIP_TEXT,
    "vision_config": CLIP_VISION | {"model_type": "clip_vision_model"},
    "vision_config_dict": CLIP_VISION,
}
TEXT = CLIP_TEXT | {"model_type": "clip_text_model", "eos_token_id": 2, "architectures": ["CLIPTextModel"]}
OLD_PREPROCESSOR = {
    "crop_size": 224,
    "size": 224,
    "resample": 3,
    "feature_extractor_type": "CLIPFeatureExtractor",
}
VISION: dict = {}  # of BLIP-2: the library's defaults are the published ones
QFORMER: dict = {}
OWL_TEXT = {"model_type": "owlv2_text_model"}
OWL_VISION = {"image_size": 960, "model_type": "owlv2_vision_model"}
UNET = {
    "_class_name": "UNet2DConditionModel",
    "sample_size": 64,
    "cross_attention_dim": 768,
    "attention_head_dim": 8,
}
VAE = {
    "_class_name": "AutoencoderKL",
    "block_out_channels": [128, 256, 512, 512],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "layers_per_block": 2,
    "sample_size": 512,
}


LAYERS = ("num_hidden_layers", "num_layers", "num_decoder_layers")  # of a stack, as configurations say it
NARROW = {"block_out_channels": [64, 128, 128, 128], "layers_per_block": 1}
BLOCK = np.random.default_rng(0).normal(0, 0.02, 2**22).astype(np.float32)  # what filled weights repeat
filled = False


def write_hub(hub: Path, models: ModelSet, filled: bool = False, layers: int | None = None) -> None:
    """Write every repository of the published set into a hub cache.

    filled: with random weights, not holes. layers: of every stack, and narrow UNets; None: as published.
    """
    globals()["filled"] = filled
    if layers:
        for config in (
            OPT,
            T5,
            CLIP_TEXT,
            CLIP_VISION,
            TEXT,
            *(CLIP[key] for key in CLIP if "config" in key),
        ):
            config |= {key: layers for key in LAYERS if key in config}
        for config in (VISION, QFORMER, OWL_TEXT, OWL_VISION):
            config |= {"num_hidden_layers": layers}
        for config in (UNET, VAE):
            config |= NARROW
    _blip2(_snapshot(hub, models.captioners["opt"]), "opt", OPT, ["lm_head"])
    _blip2(
        _snapshot(hub, models.captioners["t5"]), "t5", T5, ["encoder.embed_tokens", "decoder.embed_tokens"]
    )
    _gligen_text(_snapshot(hub, models.gligen["text"]))
    _gligen_image(_snapshot(hub, models.gligen["image"]))
    _clip(_snapshot(hub, models.clip))
    _owlv2(_snapshot(hub, models.detector))


def _snapshot(hub: Path, checkpoint: Checkpoint) -> Path:
    folder = hub / f"models--{checkpoint.source.replace('/', '--')}" / "snapshots" / checkpoint.revision
    folder.mkdir(parents=True)
    return folder


def _put(file: Path, content: Mapping) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))


def _shapes(build: Callable[[], torch.nn.Module]) -> Shapes:
    with torch.device("meta"):
        return {name: tuple(weight.shape) for name, weight in build().state_dict().items()}


def _safetensors(file: Path, shapes: Shapes) -> None:
    header, end = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in shapes.items():
        kind, width = ("I64", 8) if name.endswith("position_ids") else ("F32", 4)
        start, end = end, end + width * math.prod(shape)
        header[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [start, end]}
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)
    with file.open("wb") as stream:
        stream.write(struct.pack("<Q", len(head)) + head)
        for name, shape in shapes.items() if filled else ():
            stream.write(_values(name, shape).tobytes())
        stream.truncate(8 + len(head) + end)


def _values(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Weights with which activations stay finite: norms of 1, biases of 0, open gates, else BLOCK again."""
    if name.endswith("position_ids"):
        return np.arange(math.prod(shape)).reshape(shape)
    if not shape:
        return np.float32(2.0 if name == "logit_scale" else 0.8)  # of CLIP; of GLIGEN's gates
    if len(shape) == 1:
        return np.full(shape, not name.endswith("bias"), np.float32)
    return np.resize(BLOCK, shape)


def _bin(file: Path, shapes: Shapes, dtype: torch.dtype = torch.float32) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    if filled:
        values = {name: torch.from_numpy(np.asarray(_values(name, shape))) for name, shape in shapes.items()}
        torch.save({name: value.to(dtype) for name, value in values.items()}, file)
        return
    with torch.serialization.skip_data():
        torch.save({name: torch.empty(shape, dtype=dtype) for name, shape in shapes.items()}, file)


def _blip2(folder: Path, language: str, text: dict, tied: list[str]) -> None:
    words = blip2_tokenizer(language)
    config = {"model_type": "blip-2", "num_query_tokens": 32, "image_token_index": len(words)}
    config |= {"text_config": text, "qformer_config": QFORMER, "vision_config": VISION}
    config |= {"use_decoder_only_language_model": language == "opt"}
    _put(folder / "config.json", config)
    shapes = _shapes(lambda: Blip2ForConditionalGeneration(Blip2Config.from_dict(config)))
    shards, size = [{}], 0
    for name, shape in shapes.items():
        if name.removeprefix("language_model.").removesuffix(".weight") in tied:
            continue
        if size + 4 * math.prod(shape) > SHARD:
            shards, size = [*shards, {}], 0
        shards[-1][name], size = shape, size + 4 * math.prod(shape)
    files = [f"model-{n:05d}-of-{len(shards):05d}.safetensors" for n in range(1, len(shards) + 1)]
    for file, part in zip(files, shards, strict=True):
        _safetensors(folder / file, part)
    where = {name: file for file, part in zip(files, shards, strict=True) for name in part}
    _put(folder / "model.safetensors.index.json", {"metadata": {}, "weight_map": where})
    old = dict.fromkeys(where, "pytorch_model-00001-of-00002.bin")  # which is not downloaded
    _put(folder / "pytorch_model.bin.index.json", {"metadata": {}, "weight_map": old})
    words.save_pretrained(folder)
    _put(folder / "processor_config.json", {"num_query_tokens": 32, "processor_class": "Blip2Processor"})
    image = {"image_processor_type": "BlipImageProcessor", "size": {"height": 224, "width": 224}}
    _put(folder / "preprocessor_config.json", image)


def _clip_shapes(prefix: str = "") -> Shapes:
    shapes = _shapes(lambda: CLIPModel(CLIPConfig.from_dict(CLIP)))
    shapes |= {
        "text_model.embeddings.position_ids": (1, 77),
        "vision_model.embeddings.position_ids": (1, 257),
    }
    return {name: shape for name, shape in shapes.items() if name.startswith(prefix)}


def _clip(folder: Path) -> None:
    tokenizer(folder).save_pretrained(folder)
    _put(folder / "config.json", CLIP)
    _put(folder / "preprocessor_config.json", OLD_PREPROCESSOR)
    _safetensors(folder / "model.safetensors", _clip_shapes())


def _owlv2(folder: Path) -> None:
    tokenizer(folder).save_pretrained(folder)
    config = {"model_type": "owlv2", "projection_dim": 512, "text_config": OWL_TEXT}
    config |= {"vision_config": OWL_VISION}
    _put(folder / "config.json", config)
    image = {"image_processor_type": "Owlv2ImageProcessor", "size": {"height": 960, "width": 960}}
    _put(folder / "preprocessor_config.json", image)
    shapes = _shapes(lambda: Owlv2ForObjectDetection(Owlv2Config.from_dict(config)))
    _safetensors(folder / "model.safetensors", shapes)


def _pipeline(folder: Path, parts: dict[str, str | None]) -> None:
    listed = {part: [kind and "diffusers", kind] for part, kind in parts.items()}
    _put(folder / "model_index.json", {"_class_name": "StableDiffusionPipeline"} | listed)
    _put(folder / "scheduler" / "scheduler_config.json", SCHEDULER | {"_class_name": "PNDMScheduler"})
    _put(folder / "vae" / "config.json", VAE)
    _put(folder / "text_encoder" / "config.json", TEXT)
    tokenizer(folder / "tokenizer").save_pretrained(folder / "tokenizer")


COMMON = {
    "scheduler": "PNDMScheduler",
    "text_encoder": "CLIPTextModel",
    "tokenizer": "CLIPTokenizer",
    "unet": "UNet2DConditionModel",
    "vae": "AutoencoderKL",
}


def _gligen_text(folder: Path) -> None:
    """fp16 `.bin` alone, the autoencoder with the names of diffusers 0.2, and a safety checker."""
    checker = {"safety_checker": "StableDiffusionSafetyChecker", "feature_extractor": "CLIPFeatureExtractor"}
    _pipeline(folder, COMMON | checker)
    config = UNET | {"attention_type": "gated", "_diffusers_version": "0.2.2"}
    _put(folder / "unet" / "config.json", config)
    weights = {"unet/diffusion_pytorch_model": _shapes(lambda: UNet2DConditionModel.from_config(config))}
    vae = {}
    for name, shape in _shapes(lambda: AutoencoderKL.from_config(VAE)).items():
        for new, then in OLD_ATTENTION.items():
            name = name.replace(new, then)
        vae[name] = shape
    weights |= {"vae/diffusion_pytorch_model": vae, "text_encoder/pytorch_model": _clip_shapes("text_model")}
    safe = {f"vision_model.{name}": shape for name, shape in _clip_shapes("vision_model").items()}
    safe |= {
        "visual_projection.weight": (768, 1024),
        "concept_embeds": (17, 768),
        "special_care_embeds": (3, 768),
    }
    safe |= {"concept_embeds_weights": (17,), "special_care_embeds_weights": (3,)}
    for name, shapes in (weights | {"safety_checker/pytorch_model": safe}).items():
        _bin(folder / f"{name}.fp16.bin", shapes, torch.float16)
    _put(folder / "safety_checker" / "config.json", CLIP)
    _put(folder / "feature_extractor" / "preprocessor_config.json", OLD_PREPROCESSOR)
    _put(folder / "scheduler" / ".ipynb_checkpoints" / "scheduler_config-checkpoint.json", {})


def _gligen_image(folder: Path) -> None:
    """float32 `.bin` alone, no safety checker, and the whole of CLIP as image encoder."""
    more = {"image_encoder": "CLIPVisionModelWithProjection", "image_project": "CLIPImageProjection"}
    more |= {"processor": "CLIPProcessor", "safety_checker": None, "feature_extractor": None}
    _pipeline(folder, COMMON | more)
    config = UNET | {"attention_type": "gated-text-image", "_diffusers_version": "0.20.0.dev0"}
    _put(folder / "unet" / "config.json", config)
    _put(folder / "image_encoder" / "config.json", CLIP)
    _put(folder / "image_project" / "config.json", {"_class_name": "CLIPImageProjection", "hidden_size": 768})
    tokenizer(folder / "processor").save_pretrained(folder / "processor")
    _put(folder / "processor" / "preprocessor_config.json", OLD_PREPROCESSOR)
    weights = {
        "unet/diffusion_pytorch_model": _shapes(lambda: UNet2DConditionModel.from_config(config)),
        "vae/diffusion_pytorch_model": _shapes(lambda: AutoencoderKL.from_config(VAE)),
        "text_encoder/pytorch_model": _clip_shapes("text_model"),
        "image_encoder/pytorch_model": _clip_shapes(),
        "image_project/diffusion_pytorch_model": {"project.weight": (768, 768)},
    }
    for name, shapes in weights.items():
        _bin(folder / f"{name}.bin", shapes)
