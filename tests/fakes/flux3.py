"""FLUX 3 Image Klein in the layout of its repository, tiny and random: plumbing, nothing about layouts."""

from pathlib import Path

import torch
from diffusers import AutoencoderKLFlux2, Flux3Transformer2DModel
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    Qwen2TokenizerFast,
    Qwen2VLImageProcessor,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
)

LAYERS = (1, 2, 3, 4)  # of the text encoder
CHANNELS = 16  # of its latents
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>")
SPECIAL += ("<|image_pad|>", "<|video_pad|>")
CHAT = (
    "{% for one in messages %}<|im_start|>{{ one.role }}\n{{ one.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def write_flux3(folder: Path, seed: int = 0) -> Path:
    """All parts of the repository that are read, in its folders."""
    torch.manual_seed(seed)
    transformer().save_pretrained(folder / "transformer")
    autoencoder().save_pretrained(folder / "vae")
    text_encoder().save_pretrained(folder / "text_encoder")
    processor().save_pretrained(folder / "tokenizer")
    return folder


def transformer() -> Flux3Transformer2DModel:
    sizes = {"in_channels": CHANNELS, "cond_in_channels": CHANNELS, "num_layers": 1, "num_single_layers": 2}
    sizes |= {"attention_head_dim": 16, "num_attention_heads": 2, "joint_attention_dim": 16 * len(LAYERS)}
    sizes |= {"timestep_channels": 16, "mlp_ratio": 2.0, "axes_dims_rope": (4, 4, 4, 4)}
    return Flux3Transformer2DModel(**sizes, flow_map=True)


def autoencoder() -> AutoencoderKLFlux2:
    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4}
    sizes = {"block_out_channels": (8,) * 4, "layers_per_block": 1, "latent_channels": CHANNELS // 4}
    return AutoencoderKLFlux2(**blocks, **sizes, norm_num_groups=4, mid_block_add_attention=False)


def text_encoder() -> Qwen3VLForConditionalGeneration:
    text = {"vocab_size": 300, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": len(LAYERS)}
    text |= {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8}
    text["rope_scaling"] = {"rope_type": "default", "mrope_section": [2, 1, 1], "mrope_interleaved": True}
    vision = {"depth": 1, "hidden_size": 16, "intermediate_size": 32, "num_heads": 2, "out_hidden_size": 16}
    vision |= {"deepstack_visual_indexes": [0], "patch_size": 4, "num_position_embeddings": 16}
    return Qwen3VLForConditionalGeneration(Qwen3VLConfig(text_config=text, vision_config=vision))


def processor() -> Qwen3VLProcessor:
    """With a tokenizer that makes a token of every byte."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    whole = Tokenizer(models.BPE({letter: n for n, letter in enumerate(letters)}, []))
    whole.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    whole.decoder = decoders.ByteLevel()
    made = Qwen2TokenizerFast(tokenizer_object=whole, pad_token=SPECIAL[0], eos_token=SPECIAL[2])
    made.add_special_tokens({"additional_special_tokens": list(SPECIAL)})
    parts = Qwen2VLImageProcessor(), made, Qwen3VLVideoProcessor()
    return Qwen3VLProcessor(*parts, chat_template=CHAT)
