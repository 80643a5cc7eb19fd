"""CLIP with random weights, saved as openai/clip-vit-large-patch14 is."""

from pathlib import Path

import torch
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPTokenizer

from tests.fakes.gligen import write_vocabulary

SMALL = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2, "num_hidden_layers": 2}


def write_clip(folder: Path, safetensors: bool = True, seed: int = 0) -> Path:
    """Save a random CLIP repository, its text half with room for 77 tokens. Returns the folder.

    safetensors False: one `.bin` file that also holds the position numbers which old versions saved.
    """
    write_vocabulary(folder)
    words = CLIPTokenizer.from_pretrained(folder)
    special = {
        "bos_token_id": words.bos_token_id,
        "eos_token_id": words.eos_token_id,
        "pad_token_id": words.eos_token_id,
    }
    text = {**SMALL, **special, "vocab_size": len(words), "projection_dim": 16}
    vision = {**SMALL, "image_size": 32, "patch_size": 8, "projection_dim": 16}
    torch.manual_seed(seed)
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)).eval()
    model.save_pretrained(folder)
    if not safetensors:
        positions = {"text_model.embeddings.position_ids": torch.arange(77)[None]}
        torch.save(model.state_dict() | positions, folder / "pytorch_model.bin")
        (folder / "model.safetensors").unlink()
    size = {"height": 32, "width": 32}
    CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=size).save_pretrained(folder)
    return folder
