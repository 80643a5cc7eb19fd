"""The demo CLIP: learns which phrase belongs to which crop and which caption to which photo.

Radford et al. 2021, "Learning Transferable Visual Models From Natural Language Supervision", section 2.3. It
is trained first and frozen: its text half is GLIGEN's text encoder, its image half encodes GLIGEN's crops.
"""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torchvision.ops import roi_align
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPProcessor,
    CLIPTextConfig,
    CLIPTokenizer,
    CLIPVisionConfig,
)

from data.training.drawn_scenes import Scenes
from data.training.training_loop import Recipe, train
from data.training.world import ALL_PHRASES, COLOURS, KINDS

RECIPE = Recipe(steps=800, batch_size=64, learning_rate=1.5e-3, warmup=100, decay=0.05)
PIXELS = 96  # a photo or crop is squashed to this square
WIDTH = 128
MEAN, DEVIATION = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
BARE = tuple(f"a {kind}" for kind in KINDS)


def build(tokenizer: CLIPTokenizer) -> CLIPModel:
    """An untrained CLIP of 2.1 million parameters: two towers of width 128."""
    shared = {
        "hidden_size": WIDTH,
        "intermediate_size": 4 * WIDTH,
        "num_attention_heads": 4,
        "projection_dim": WIDTH,
    }
    special = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    text = CLIPTextConfig(
        **shared, **special, vocab_size=len(tokenizer), num_hidden_layers=3, max_position_embeddings=77
    )
    vision = CLIPVisionConfig(**shared, num_hidden_layers=4, image_size=PIXELS, patch_size=16)
    return CLIPModel(
        CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=WIDTH)
    )


def processor(tokenizer: CLIPTokenizer) -> CLIPProcessor:
    """Squashes to PIXELS x PIXELS, so that nothing of a tall box is cut off."""
    square = {"height": PIXELS, "width": PIXELS}
    image = CLIPImageProcessor(
        size=square, do_center_crop=False, crop_size=square, image_mean=MEAN, image_std=DEVIATION
    )
    return CLIPProcessor(image_processor=image, tokenizer=tokenizer)


def normalised(photos: torch.Tensor) -> torch.Tensor:
    """Photos (n, 3, h, w) in 0..255, normalised for the vision tower."""
    mean, deviation = (torch.tensor(v, device=photos.device).view(1, 3, 1, 1) for v in (MEAN, DEVIATION))
    return (photos / 255 - mean) / deviation


def photo_tensor(scenes: Scenes, rows: np.ndarray, device: torch.device | str = "cpu") -> torch.Tensor:
    """Photos of the given rows, in their order, (n, 3, SIZE, SIZE) float32 in 0..255."""
    return (
        torch.from_numpy(scenes.photos[np.sort(rows)][np.argsort(np.argsort(rows))])
        .to(device)
        .permute(0, 3, 1, 2)
        .float()
    )


def fit_clip(
    scenes: Scenes,
    tokenizer: CLIPTokenizer,
    folder: Path,
    recipe: Recipe = RECIPE,
    model: CLIPModel | None = None,
) -> CLIPModel:
    """Train on crops against phrases and photos against captions; a given `model` is trained on, in place."""
    torch.manual_seed(recipe.seed)
    model = model or build(tokenizer)
    phrases = tokenizer([*ALL_PHRASES, *BARE], padding=True, return_tensors="pt")

    def loss_of(rng: np.random.Generator, step: int) -> dict[str, torch.Tensor]:
        rows = rng.choice(len(scenes), recipe.batch_size, replace=False)
        photos = photo_tensor(scenes, rows, model.device)
        picked, slots = _one_box_each(rng, scenes.things[rows])
        things = torch.from_numpy(scenes.things[rows][picked, slots]).to(model.device)
        boxes = torch.from_numpy(_shaken(rng, scenes.boxes[rows][picked, slots])).to(photos)
        crops = cut(photos, torch.from_numpy(picked), boxes)
        whole = F.interpolate(photos, (PIXELS, PIXELS), mode="bilinear", antialias=True)
        seen = _unit(model.get_image_features(normalised(torch.cat([whole, crops]))).pooler_output)
        captions = tokenizer([scenes.training_captions[i] for i in rows], padding=True, return_tensors="pt")
        said = _unit(model.get_text_features(**captions.to(model.device)).pooler_output)
        named = _unit(model.get_text_features(**phrases.to(model.device)).pooler_output)
        scale = model.logit_scale.exp().clamp(max=100)
        pairs, order = scale * seen[: len(rows)] @ said.T, torch.arange(len(rows), device=model.device)
        crop_logits = scale * seen[len(rows) :] @ named.T
        return {
            "photo": (F.cross_entropy(pairs, order) + F.cross_entropy(pairs.T, order)) / 2,
            "crop": F.cross_entropy(crop_logits[:, : len(ALL_PHRASES)], things),
            "kind": 0.3 * F.cross_entropy(crop_logits[:, len(ALL_PHRASES) :], things // len(COLOURS)),
        }

    return train("clip", model, loss_of, recipe, folder)


def cut(photos: torch.Tensor, rows: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
    """Crops (n, 3, PIXELS, PIXELS): of `photos[rows[i]]` under `boxes[i]`, (n, 4) fractions."""
    rois = torch.cat([rows[:, None].to(boxes), boxes * photos.shape[-1]], 1)
    return roi_align(photos, rois, PIXELS, sampling_ratio=1, aligned=True)


def crop_embeddings(
    model: CLIPModel, photos: torch.Tensor, rows: torch.Tensor, boxes: torch.Tensor
) -> torch.Tensor:
    """(n, WIDTH) image embeddings of crops, as CLIPVisionModelWithProjection gives them: not normalised."""
    return model.get_image_features(normalised(cut(photos, rows, boxes))).pooler_output


def fit_projection(
    model: CLIPModel, scenes: Scenes, phrases: torch.Tensor, photos: int = 1500
) -> torch.Tensor:
    """Weight (WIDTH, WIDTH) of the map from a crop's image embedding to its phrase's pooled text state.

    phrases: (len(ALL_PHRASES), WIDTH) pooled text states. GLIGEN inverts CLIP's text projection for this (its
    appendix, "image grounding"); ridge regression on pairs gives the same map with fewer assumptions.
    """
    rows = np.arange(min(photos, len(scenes)))
    picture, slot = np.nonzero(scenes.things[rows] >= 0)
    boxes = torch.from_numpy(scenes.boxes[rows][picture, slot])
    with torch.no_grad():
        tensor = photo_tensor(scenes, rows)
        pairs = zip(torch.from_numpy(picture).split(512), boxes.split(512), strict=True)
        seen = torch.cat([crop_embeddings(model, tensor, *pair) for pair in pairs]).double()
    said = phrases[torch.from_numpy(scenes.things[rows][picture, slot])].double()
    penalty = 1e-2 * torch.eye(seen.shape[1], dtype=torch.float64) * len(seen) * seen.var()
    return torch.linalg.solve(seen.T @ seen + penalty, seen.T @ said).T.float()


def _one_box_each(rng: np.random.Generator, things: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One of every photo's boxes by chance: the photo's row and the box's slot."""
    counts = (things >= 0).sum(1)
    return np.arange(len(things)), (rng.random(len(things)) * counts).astype(int)


def _shaken(rng: np.random.Generator, boxes: np.ndarray) -> np.ndarray:
    """Boxes moved by up to 6 % of their size: the boxes of generated pictures are not exact either."""
    size = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
    return np.clip(boxes + size * rng.uniform(-0.06, 0.06, boxes.shape), 0, 1).astype(np.float32)


def _unit(features: torch.Tensor) -> torch.Tensor:
    return F.normalize(features.float(), dim=-1)
