"""Small detectors and classifiers, trained from nothing on photos, on pictures, or on both in a given share.

Everything is drawn from the seed alone: two trainings that differ by the share have the same first weights.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn
from torchvision.ops import batched_nms, box_area, generalized_box_iou_loss, sigmoid_focal_loss

from helpers.scenes import boxes, images
from helpers.scoring.adherence import Detections

SIDE, CELL, MOST = 128, 8, 100  # pixels of a picture and of a cell that proposes one box; boxes kept
CROP = 32  # pixels of a classifier's crop
LOWEST, OVERLAP = 0.02, 0.6  # score of a box that is kept; IoU from which the better of two boxes stays


@dataclass(frozen=True, eq=False)
class Example:
    """A picture with what stands in it: boxes (n, 4) in fractions, labels n of them."""

    image: Image.Image
    boxes: np.ndarray
    labels: tuple[str, ...]


Detect = Callable[[Sequence[Image.Image]], list[Detections]]


def mixed_batches(
    photos: Sequence[Example], pictures: Sequence[Example], share: float, size: int, steps: int, seed: int
) -> Iterator[list[Example]]:
    """Batches for each of the steps; each example is one of the pictures with probability `share`."""
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        sources = [pictures if made else photos for made in rng.random(size) < share]
        places = zip(sources, rng.random(size), strict=True)
        yield [source[int(place * len(source))] for source, place in places]


class SmallDetector(nn.Module):
    """Anchor-free and one-stage, as FCOS (Tian et al. 2019) with a single scale: every cell of CELL pixels
    proposes a box by its distances to the four sides. 0.4 million parameters."""

    def __init__(self, classes: int, width: int = 64) -> None:
        super().__init__()
        stem = [_conv(3, 24, 2), _conv(24, 48, 2), _conv(48, width, 2)]
        self.body = nn.Sequential(*stem, *(_Residual(width, dilation) for dilation in (1, 2, 4)))
        self.head = nn.Conv2d(width, classes + 4, 1)
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)
        nn.init.constant_(self.head.bias[:classes], -4.0)  # nothing is found at first
        places = (torch.arange(SIDE // CELL) + 0.5) * CELL / SIDE
        self.register_buffer("centres", torch.cartesian_prod(places, places).flip(1), persistent=False)

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """pixels: (n, 3, SIDE, SIDE) in [-1, 1]. Logits (n, cells, classes) and boxes (n, cells, 4)."""
        rows = self.head(self.body(pixels)).flatten(2).transpose(1, 2)
        sides = F.softplus(rows[..., -4:]) / 4
        return rows[..., :-4], torch.cat([self.centres - sides[..., :2], self.centres + sides[..., 2:]], -1)


def train_detector(batches: Iterator[list[Example]], labels: Sequence[str], steps: int, seed: int) -> Detect:
    """A SmallDetector after those batches, as a function of pictures of any size."""
    torch.manual_seed(seed)
    model = SmallDetector(len(labels))
    augmented = (augment(batch, labels) for batch in batches)
    _fit(model, (detection_loss(*model(pixels), truth, model.centres) for pixels, truth in augmented), steps)

    @torch.inference_mode()
    def detect(pictures: Sequence[Image.Image]) -> list[Detections]:
        logits, corners = model(_pixels(pictures))
        return [_found(*one, labels) for one in zip(logits.sigmoid(), corners.clamp(0, 1), strict=True)]

    return detect


def detection_loss(
    logits: torch.Tensor,
    proposed: torch.Tensor,
    truth: Sequence[tuple[torch.Tensor, torch.Tensor]],
    centres: torch.Tensor,
) -> torch.Tensor:
    """Focal loss of the classes and generalised IoU of the boxes. A cell has to find the smallest box in
    whose middle half, or within half a cell of whose centre, it lies. truth: boxes, classes by picture."""
    targets, losses = torch.zeros_like(logits), []
    for row, (corners, classes) in enumerate(truth):
        if not len(corners):
            continue
        middle, size = (corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]
        near = (centres[:, None] - middle).abs() <= (size / 4).clamp(min=CELL / SIDE / 2)
        area = torch.where(near.all(-1), size.prod(-1), torch.inf)
        smallest, which = area.min(1)
        cells = smallest.isfinite().nonzero()[:, 0]
        targets[row, cells, classes[which[cells]]] = 1
        losses.append(generalized_box_iou_loss(proposed[row, cells], corners[which[cells]]))
    found = sigmoid_focal_loss(logits, targets, reduction="sum") / targets.sum().clamp(min=1)
    return found + (torch.cat(losses).mean() if losses and sum(map(len, losses)) else 0)


def augment(
    batch: Sequence[Example], labels: Sequence[str]
) -> tuple[torch.Tensor, list[tuple[torch.Tensor, torch.Tensor]]]:
    """Pixels (n, 3, SIDE, SIDE) and per picture boxes and class indices: mirrored, moved, scaled and tinted
    at random. Boxes of which less than 40 % is left in the picture go."""
    pixels, n = _pixels([one.image for one in batch]), len(batch)
    scale = torch.exp(torch.empty(n).uniform_(-0.2, 0.2))
    mirror = torch.randint(0, 2, (n,)) * 2.0 - 1
    move = torch.empty(n, 2).uniform_(-0.2, 0.2)
    theta = torch.zeros(n, 2, 3)  # from places in the new picture, in [-1, 1], to places in the old one
    theta[:, 0, 0], theta[:, 1, 1], theta[:, :, 2] = scale * mirror, scale, move
    grid = F.affine_grid(theta, list(pixels.shape), align_corners=False)
    pixels = F.grid_sample(pixels, grid, padding_mode="reflection", align_corners=False)
    pixels = pixels * torch.empty(n, 3, 1, 1).uniform_(0.8, 1.2) + torch.empty(n, 1, 1, 1).uniform_(-0.2, 0.2)
    truth = []
    for row, one in enumerate(batch):
        old = torch.as_tensor(np.asarray(one.boxes, np.float32).reshape(-1, 2, 2)) * 2 - 1
        new = (old - move[row]) / torch.stack([scale[row] * mirror[row], scale[row]])
        whole = torch.cat([new.amin(1), new.amax(1)], 1) / 2 + 0.5
        left = whole.clamp(0, 1)
        kept = box_area(left) >= 0.4 * box_area(whole)
        classes = torch.tensor([labels.index(label) for label in one.labels], dtype=torch.long)
        truth.append((left[kept], classes[kept]))
    return pixels.clamp(-1, 1), truth


def train_classifier(
    batches: Iterator[list[Example]], labels: Sequence[str], steps: int, seed: int
) -> Callable[[Sequence[Example]], list[np.ndarray]]:
    """A classifier of the crops of those batches: the classification accuracy score of Ravuri and Vinyals
    (2019). Gives, per example, which of its boxes it names rightly, (n,) bool."""
    torch.manual_seed(seed)
    layers = [_conv(3, 32, 2), _conv(32, 64, 2), _conv(64, 64, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    model = nn.Sequential(*layers, nn.Linear(64, len(labels)))

    def losses() -> Iterator[torch.Tensor]:
        for batch in batches:
            crops, classes = _crops(batch, labels)
            if len(crops) > 1:
                mirrored = torch.where(torch.rand(len(crops), 1, 1, 1) < 0.5, crops, crops.flip(3))
                yield F.cross_entropy(model(mirrored), classes)

    _fit(model, losses(), steps)

    @torch.inference_mode()
    def judge(examples: Sequence[Example]) -> list[np.ndarray]:
        crops, classes = _crops(examples, labels)
        right = (model(crops).argmax(1) == classes).numpy() if len(crops) else np.zeros(0, bool)
        return np.split(right, np.cumsum([len(one.labels) for one in examples])[:-1])

    return judge


def _crops(batch: Sequence[Example], labels: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
    crops = [images.crop(one.image, box) for one in batch for box in one.boxes]
    classes = torch.tensor([labels.index(label) for one in batch for label in one.labels], dtype=torch.long)
    return (_pixels(crops, CROP) if crops else torch.empty(0, 3, CROP, CROP)), classes


def _pixels(pictures: Sequence[Image.Image], side: int = SIDE) -> torch.Tensor:
    small = [one.resize((side, side), Image.Resampling.BILINEAR) for one in pictures]
    return images.to_tensor(images.to_array(small))


def _found(scores: torch.Tensor, corners: torch.Tensor, labels: Sequence[str]) -> Detections:
    best, which = scores.max(1)
    likely = torch.nonzero(best > LOWEST)[:, 0]
    likely = likely[box_area(corners[likely]) > 0]
    kept = likely[batched_nms(corners[likely], best[likely], which[likely], OVERLAP)][:MOST]
    named = tuple(labels[index] for index in which[kept].tolist())
    return Detections(boxes.clip(corners[kept].numpy()), named, best[kept].numpy())


def _conv(before: int, after: int, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(before, after, 3, stride, dilation, dilation, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(after), nn.ReLU())


class _Residual(nn.Module):
    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(_conv(width, width, 1, dilation), _conv(width, width, 1, dilation))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.inner(x)


def _fit(model: nn.Module, losses: Iterator[torch.Tensor], steps: int) -> None:
    """One step of AdamW per loss, of so many at most; the model is in evaluation mode after them."""
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps + 1)
    for loss in losses:
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    model.eval()
