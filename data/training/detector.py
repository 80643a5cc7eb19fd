"""The demo detector: finds in a photo what a text names.

Minderer et al. 2023, "Scaling Open-Vocabulary Object Detection" (OWLv2): every patch of a vision transformer
proposes one box, and its class is how near its embedding lies to those of the texts. Each box is learnt by
the one patch that suits it best (Carion et al. 2020, "End-to-End Object Detection with Transformers", section
3.1), looked for only around the middle of the box, which is what makes a short training enough.
"""

from copy import deepcopy
from pathlib import Path

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import nn
from torchvision.ops import box_convert, generalized_box_iou_loss, sigmoid_focal_loss
from transformers import (
    CLIPModel,
    CLIPTokenizer,
    Owlv2Config,
    Owlv2ForObjectDetection,
    Owlv2ImageProcessor,
    Owlv2Processor,
    Owlv2TextConfig,
    Owlv2VisionConfig,
)

from data.training.clip import normalised, photo_tensor
from data.training.drawn_scenes import Scenes
from data.training.training_loop import Recipe, train
from data.training.weight_transfer import clip_to_detector
from data.training.world import ALL_PHRASES, COLOURS, KINDS, SIZE

RECIPE = Recipe(steps=2000, batch_size=32, learning_rate=8e-4, warmup=100, decay=0.02)
WIDTH, PATCH, LAYERS = 128, 16, 4
LONGEST = 16  # tokens of a text, as the published one
GRID = SIZE // PATCH
SAYINGS = ("{}", "{}", "a {}", "the {}", "a photo of a {}", "a picture of a {}")
ALL_SAYINGS = tuple(saying.format(kind) for saying in SAYINGS for kind in KINDS) + ALL_PHRASES


def build(tokenizer: CLIPTokenizer) -> Owlv2ForObjectDetection:
    """An untrained detector of 1.3 million parameters: 64 patches, so 64 boxes per photo."""
    special = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id")}
    text = Owlv2TextConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        num_hidden_layers=1,
        num_attention_heads=4,
        max_position_embeddings=LONGEST,
        **special,
    )
    vision = Owlv2VisionConfig(
        hidden_size=WIDTH,
        intermediate_size=4 * WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        image_size=SIZE,
        patch_size=PATCH,
    )
    towers = {"text_config": text.to_dict(), "vision_config": vision.to_dict()}
    model = Owlv2ForObjectDetection(Owlv2Config(**towers, projection_dim=WIDTH))
    for head in (model.class_head, model.box_head, model.objectness_head):
        for layer in (part for part in head.modules() if isinstance(part, nn.Linear)):
            nn.init.normal_(layer.weight, std=layer.out_features**0.5 / WIDTH)  # the library starts them at 1
    nn.init.constant_(model.class_head.logit_scale.bias, 9.0)  # nothing is found at first:
    nn.init.constant_(model.class_head.logit_shift.bias, -0.5)  # sigmoid(10 * (0 - 0.5)) = 0.007
    nn.init.constant_(model.objectness_head.dense2.bias, -4.0)
    return model


def processor(tokenizer: CLIPTokenizer) -> Owlv2Processor:
    """Pads to a square and scales to SIZE; reads LONGEST tokens, with CLIP's vocabulary."""
    short = deepcopy(tokenizer)
    short.model_max_length, short.pad_token = LONGEST, "!"
    return Owlv2Processor(Owlv2ImageProcessor(size={"height": SIZE, "width": SIZE}), short)


def from_clip(clip: CLIPModel, tokenizer: CLIPTokenizer) -> Owlv2ForObjectDetection:
    """An untrained detector with CLIP's vision transformer."""
    model = build(tokenizer)
    clip_to_detector(clip, model)
    return model


def fit_detector(
    scenes: Scenes,
    tokenizer: CLIPTokenizer,
    folder: Path,
    recipe: Recipe = RECIPE,
    model: Owlv2ForObjectDetection | None = None,
) -> Owlv2ForObjectDetection:
    """Train on photos, half of them mirrored, against the kinds in many wordings and the coloured phrases.

    A given `model` is trained on, in place.
    """
    torch.manual_seed(recipe.seed)
    model = model or build(tokenizer)
    said = tokenizer(list(ALL_SAYINGS), padding=True, return_tensors="pt")

    def loss_of(rng: np.random.Generator, step: int) -> dict[str, torch.Tensor]:
        rows = rng.choice(len(scenes), recipe.batch_size, replace=False)
        photos, boxes = mirrored(
            rng, photo_tensor(scenes, rows, model.device), torch.from_numpy(scenes.boxes[rows])
        )
        spoken = np.concatenate([_wordings(rng), np.arange(len(SAYINGS) * len(KINDS), len(ALL_SAYINGS))])
        texts = {name: tokens[spoken].to(model.device) for name, tokens in said.items()}
        found, logits, objectness = predict(model, normalised(photos), texts)
        return losses(found, logits, objectness, boxes.to(model.device), scenes.things[rows])

    return train("detector", model, loss_of, recipe, folder)


def mirrored(
    rng: np.random.Generator, photos: torch.Tensor, boxes: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Half of the photos (n, 3, h, w) and of their boxes (n, k, 4) mirrored: no text says left or right."""
    turned = torch.from_numpy(rng.random(len(photos)) < 0.5)
    photos = torch.where(turned.to(photos.device)[:, None, None, None], photos.flip(-1), photos)
    flipped = torch.stack([1 - boxes[..., 2], boxes[..., 1], 1 - boxes[..., 0], boxes[..., 3]], -1)
    return photos, torch.where(turned[:, None, None], flipped, boxes)


def predict(
    model: Owlv2ForObjectDetection, pixels: torch.Tensor, texts: dict[str, torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The model's own forward pass, but with the texts encoded once for all photos.

    Returns boxes (n, patches, 4) as (x_min, y_min, x_max, y_max), class logits (n, patches, texts) and
    objectness logits (n, patches).
    """
    grid = model.image_embedder(pixels)[0]
    patches = grid.flatten(1, 2)
    named = model.owlv2.get_text_features(**texts).pooler_output[None]
    boxes = box_convert(model.box_predictor(patches, grid), "cxcywh", "xyxy")
    return boxes, model.class_predictor(patches, named)[0], model.objectness_predictor(patches)


def losses(
    found: torch.Tensor,
    logits: torch.Tensor,
    objectness: torch.Tensor,
    boxes: torch.Tensor,
    things: np.ndarray,
) -> dict[str, torch.Tensor]:
    """Losses of class, box and objectness.

    found, logits, objectness: as `predict` gives them; boxes, things: as in Scenes.
    One patch per box answers for its class; all patches that lie in a box learn where it ends.
    """
    owner, answers = assign(found.detach(), logits.detach().sigmoid(), boxes, things)
    n, patch = np.nonzero(answers)
    thing = things[n, owner[n, patch]]
    wanted = torch.zeros_like(logits)
    wanted[n, patch, thing // len(COLOURS)] = 1
    wanted[n, patch, len(KINDS) + thing] = 1
    inside, place = np.nonzero(owner >= 0)
    guess, truth = found[inside, place], boxes[inside, owner[inside, place]]
    weight = torch.from_numpy(np.where(answers, 1.0, 0.3)[inside, place]).to(guess)
    per_box = 5 * (guess - truth).abs().mean(-1) + generalized_box_iou_loss(guess, truth)
    return {
        "class": sigmoid_focal_loss(logits, wanted, alpha=0.4, reduction="sum") / len(thing),
        "box": 2 * (weight * per_box).sum() / weight.sum(),
        "object": sigmoid_focal_loss(objectness, wanted.amax(-1), alpha=0.4, reduction="sum") / len(thing),
    }


def assign(
    found: torch.Tensor, chances: torch.Tensor, boxes: torch.Tensor, things: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The box that each patch learns, (n, patches) int64 or -1, and whether it answers for it, bool.

    A box is answered for by one of the (at most four) patches nearest to its middle: the one that already
    says it best, all boxes of a photo together.
    """
    centres = (torch.arange(GRID, device=boxes.device) + 0.5) / GRID
    centres = torch.cartesian_prod(centres, centres).flip(-1)  # (patches, 2) as (x, y), row by row
    middle, size = (boxes[..., :2] + boxes[..., 2:]) / 2, boxes[..., 2:] - boxes[..., :2]
    off = (centres[None, None] - middle[:, :, None]).abs()  # (n, boxes, patches, 2)
    far = (off > 1 / GRID).any(-1)
    column = torch.from_numpy(len(KINDS) + things.clip(0)).to(boxes.device)
    said = torch.take_along_dim(chances, column[:, None], 2).transpose(1, 2)
    cost = 5 * (found[:, None] - boxes[:, :, None]).abs().mean(-1) - said + 100 * far
    area = size.prod(-1)[..., None].where((off <= size[:, :, None] / 2).all(-1), torch.inf)
    area = area.masked_fill(torch.from_numpy(things < 0).to(boxes.device)[..., None], torch.inf)
    smallest, owner = (values.cpu().numpy() for values in area.min(1))
    owner, answers = np.where(np.isfinite(smallest), owner, -1), np.zeros(owner.shape, bool)
    for i, row in enumerate(cost.cpu().numpy()):
        which, patch = linear_sum_assignment(row[things[i] >= 0])
        owner[i, patch], answers[i, patch] = np.flatnonzero(things[i] >= 0)[which], True
    return owner, answers


def _wordings(rng: np.random.Generator) -> np.ndarray:
    """For each kind the index in ALL_SAYINGS of one of its wordings, by chance."""
    return rng.integers(len(SAYINGS), size=len(KINDS)) * len(KINDS) + np.arange(len(KINDS))
