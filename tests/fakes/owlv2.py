"""OWLv2 with random weights, saved as google/owlv2-base-patch16-ensemble is."""

from pathlib import Path

import torch
from transformers import CLIPTokenizer, Owlv2Config, Owlv2ForObjectDetection, Owlv2ImageProcessor

from tests.fakes.clip import SMALL
from tests.fakes.gligen import write_vocabulary


def write_owlv2(folder: Path, seed: int = 0) -> Path:
    """Save a random OWLv2 repository: 32 x 32 pixels, 16 candidate boxes. Returns the folder."""
    write_vocabulary(folder)
    words = CLIPTokenizer.from_pretrained(folder, model_max_length=16, pad_token="!")
    special = {"bos_token_id": words.bos_token_id, "eos_token_id": words.eos_token_id, "pad_token_id": 0}
    text = {**SMALL, **special, "vocab_size": len(words), "max_position_embeddings": 16}
    vision = {**SMALL, "image_size": 32, "patch_size": 8}
    torch.manual_seed(seed)
    Owlv2ForObjectDetection(
        Owlv2Config(text_config=text, vision_config=vision, projection_dim=16)
    ).save_pretrained(folder)
    words.save_pretrained(folder)
    Owlv2ImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder
