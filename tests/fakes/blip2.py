"""BLIP-2 with random weights, saved as the published repositories are."""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import (
    Blip2Config,
    Blip2ForConditionalGeneration,
    Blip2QFormerConfig,
    Blip2VisionConfig,
    BlipImageProcessor,
    GPT2Tokenizer,
    OPTConfig,
    T5Config,
    T5Tokenizer,
)

WORDS = [*"abcdefghijklmnopqrstuvwxyz", "Ġa", "Ġworker", "Ġcone", "Ġtruck", "Ġin", "Ġfield", "Ġred", "Ġgreen"]
QUERIES = 4


def build(
    language: str = "opt", seed: int = 0, image_token: int | None = 40
) -> Blip2ForConditionalGeneration:
    """A BLIP-2 of two layers a part; language: "opt" or "t5". Weights far enough apart to say many things."""
    small = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2}
    vision = Blip2VisionConfig(**small, num_hidden_layers=2, image_size=32, patch_size=8)
    qformer = Blip2QFormerConfig(**small, num_hidden_layers=2, vocab_size=8, encoder_hidden_size=16)
    if language == "opt":
        text = OPTConfig(
            vocab_size=48,
            hidden_size=16,
            ffn_dim=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            word_embed_proj_dim=16,
            pad_token_id=1,
            bos_token_id=2,
            eos_token_id=3,
        )
    else:
        text = T5Config(
            vocab_size=48,
            d_model=16,
            d_kv=8,
            d_ff=32,
            num_layers=2,
            num_heads=2,
            bos_token_id=1,
            pad_token_id=0,
            eos_token_id=1,
            decoder_start_token_id=0,
            tie_word_embeddings=False,
            feed_forward_proj="gated-gelu",
        )
    config = Blip2Config(
        vision_config=vision,
        qformer_config=qformer,
        text_config=text,
        num_query_tokens=QUERIES,
        image_token_index=image_token,
    )
    torch.manual_seed(seed)
    model = Blip2ForConditionalGeneration(config).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() > 1:
                weight.normal_(std=1.0 if name == "query_tokens" else 0.35)
    return model


def tokenizer(language: str = "opt") -> GPT2Tokenizer | T5Tokenizer:
    """OPT's byte-level BPE or T5's unigram pieces, both in the classes of the published ones."""
    if language == "opt":
        words = ["<unk>", "<pad>", "</s>", "\n", *WORDS]
        return GPT2Tokenizer(
            vocab={word: n for n, word in enumerate(words)},
            merges=[],
            unk_token="<unk>",
            pad_token="<pad>",
            bos_token="</s>",
            eos_token="</s>",
        )
    pieces = [
        ("<pad>", 0.0),
        ("</s>", 0.0),
        ("<unk>", 0.0),
        *((word.replace("Ġ", "▁"), -2.0) for word in WORDS),
    ]
    return T5Tokenizer(vocab=pieces, extra_ids=0)


def write_blip2(
    folder: Path,
    language: str = "opt",
    safetensors: bool = True,
    variant: str | None = None,
    shard_size: str = "50GB",
    image_token: bool = True,
    seed: int = 0,
) -> Path:
    """Save a random BLIP-2 repository. Returns the folder.

    safetensors False: `.bin` weights only; shard_size: such as "20KB" for several files and an index;
    image_token False: as published before 2024, without image token and number of queries.
    """
    words = tokenizer(language)
    model = build(language, seed, image_token=len(words) if image_token else None)
    model.save_pretrained(folder, variant=variant, max_shard_size=shard_size)
    if not safetensors:
        to_bin(folder)
    words.save_pretrained(folder)
    BlipImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    if image_token:
        card = {"num_query_tokens": QUERIES, "processor_class": "Blip2Processor"}
        (folder / "processor_config.json").write_text(json.dumps(card))
    return folder


def to_bin(folder: Path) -> None:
    """Replace safetensors, sharded or not, by `.bin` files as repositories had them before."""
    for file in folder.glob("*.safetensors"):
        name = file.name.replace("model", "pytorch_model", 1).replace(".safetensors", ".bin")
        torch.save(load_file(file), folder / name)
        file.unlink()
    for index in folder.glob("*.safetensors.index*.json"):
        text = index.read_text().replace('"model', '"pytorch_model').replace(".safetensors", ".bin")
        index.with_name("pytorch_model.bin.index.json").write_text(text)
        index.unlink()
