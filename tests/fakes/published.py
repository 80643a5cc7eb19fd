"""Small repositories turned into the form of the published ones: formats, old names, old configurations."""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import CLIPConfig, CLIPModel, CLIPVisionModelWithProjection

# Since transformers 5 both towers are saved without a prefix that the published repositories have.
PREFIX = {
    "text_encoder": ("", "text_model."),
    "safety_checker": ("vision_model.", "vision_model.vision_model."),
}
# diffusers 0.2, which wrote the autoencoder of the text repository
OLD_ATTENTION = {".to_q.": ".query.", ".to_k.": ".key.", ".to_v.": ".value.", ".to_out.0.": ".proj_attn."}


def edit(file: Path, **changes) -> None:
    """Change keys of a JSON file."""
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def half(weight: torch.Tensor) -> torch.Tensor:
    return weight.half() if weight.is_floating_point() else weight


def to_bin(folder: Path, half_precision: bool = False, old: bool = False) -> Path:
    """Replace the safetensors of a repository by `.bin` files with the names of then and position numbers.

    half_precision: `.fp16.bin`, with the position numbers as halves too. old: diffusers 0.2's autoencoder.
    """
    for file in [*folder.rglob("*.safetensors")]:
        here, there = PREFIX.get(file.parent.name, ("", ""))
        state = {there + name.removeprefix(here) if name.startswith(here) else name: weight
                 for name, weight in load_file(file).items()}  # fmt: skip
        if file.parent.name == "text_encoder":
            state["text_model.embeddings.position_ids"] = torch.arange(77)[None]
        for new, then in OLD_ATTENTION.items() if old and file.parent.name == "vae" else ():
            state = {name.replace(new, then): weight for name, weight in state.items()}
        stem = "pytorch_model" if file.stem == "model" else file.stem
        if half_precision:
            state = {name: weight.half() for name, weight in state.items()}
        torch.save(state, file.with_name(f"{stem}{'.fp16' if half_precision else ''}.bin"))
        file.unlink()
    return folder


def as_text_repository(folder: Path) -> Path:
    """A GLIGEN repository as masterful/gligen-1-4-generation-text-box: fp16, old autoencoder, stray files."""
    stray = folder / "scheduler" / ".ipynb_checkpoints"
    stray.mkdir()
    (stray / "scheduler_config-checkpoint.json").write_text("{}")
    return to_bin(folder, half_precision=True, old=True)


def as_text_image_repository(folder: Path) -> Path:
    """A GLIGEN repository as anhnct/Gligen_Text_Image: no safetensors, twins in half precision that nothing
    reads, the whole of CLIP as image encoder, a null safety checker."""
    place = folder / "image_encoder"
    part = CLIPVisionModelWithProjection.from_pretrained(place)
    text = {"vocab_size": 600, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1}
    text |= {"num_attention_heads": 2, "eos_token_id": 2}
    vision = part.config.to_dict()
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=part.config.projection_dim)
    whole = CLIPModel(config)
    whole.load_state_dict(part.state_dict(), strict=False)
    save_file(whole.state_dict(), place / "model.safetensors", {"format": "pt"})
    (place / "config.json").write_text(json.dumps(config.to_dict() | {"text_config_dict": text}))
    side = json.loads((folder / "processor" / "preprocessor_config.json").read_text())["crop_size"]["height"]
    edit(folder / "processor" / "preprocessor_config.json", size=side, crop_size=side)
    edit(folder / "model_index.json", safety_checker=[None, None], feature_extractor=[None, None])
    to_bin(folder)
    for name in ("unet/diffusion_pytorch_model", "vae/diffusion_pytorch_model", "text_encoder/pytorch_model"):
        (folder / f"{name}.fp16.bin").write_bytes(b"never read")
    (folder / "projection_matrix").write_bytes(b"never read")
    return folder


def untie_t5(folder: Path, seed: int = 9) -> Path:
    """A BLIP-2 T5 whose head is not the embedding, as in Salesforce/blip2-flan-t5-xl."""
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["tie_word_embeddings"] = False
    (folder / "config.json").write_text(json.dumps(config))
    state = load_file(folder / "model.safetensors")
    shape = state["language_model.shared.weight"].shape
    made = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    save_file(state | {"language_model.lm_head.weight": made}, folder / "model.safetensors", {"format": "pt"})
    return folder
