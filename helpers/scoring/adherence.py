"""Whether the boxes that were asked for are found in the pictures. Pure: boxes in, numbers out."""

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import pandas as pd
import scipy
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from helpers.scenes import boxes
from helpers.scoring.accumulation import Matches, accumulated

FOUND = 0.5  # IoU from which a box counts as found
ROUNDING = 1e-5  # of the IoU of boxes in float32: a box that is half found is found at 0.5
SIZES = {"small": (0.0, 0.03), "medium": (0.03, 0.1), "large": (0.1, 1.0)}  # share of the picture's area
_UNITS = 1000.0  # COCO wants pixels: the side of a picture, whatever its shape


class Layout(Protocol):
    """Labelled boxes: a Scene, or Detections.

    Where a layout has `crowd`, (n,) bool, these boxes stand for uncounted objects, as COCO's iscrowd: average
    precision neither asks for them nor counts what is found in them as wrong.
    """

    boxes: np.ndarray
    labels: Sequence[str]


@dataclass(frozen=True, eq=False)
class Detections:
    """What a detector found in one picture: boxes (m, 4) float32, labels, and scores (m,) in [0, 1]."""

    boxes: np.ndarray
    labels: tuple[str, ...]
    scores: np.ndarray


@dataclass(frozen=True, eq=False)
class Precision:
    """Average precision over pictures.

    value: AP over IoU 0.50:0.05:0.95 and AP50, (2,). left_out: both without picture i, (n, 2).
    by_label, by_size: (AP, AP50) of each label asked for, and of each of SIZES that is asked for.
    more: "AP75" and "AR" (COCO's average recall, 100 detections), each as value and (n,) without picture i.
    """

    value: np.ndarray
    left_out: np.ndarray
    by_label: dict[str, np.ndarray]
    by_size: dict[str, np.ndarray]
    more: dict[str, tuple[float, np.ndarray]] = field(default_factory=dict)


def match(asked: Layout, found: Detections, threshold: float | None = None) -> np.ndarray:
    """IoU of each asked box with the found box of the same label that is given to it, (n,) in [0, 1].

    Found boxes are given out one to one so that the sum of IoU is largest; 0 where none is left. With a
    threshold, so that most boxes reach it, and among those the sum is largest.
    """
    overlap = boxes.iou(asked.boxes, found.boxes)
    same = np.array(asked.labels, dtype=object)[:, None] == np.array(found.labels, dtype=object)[None]
    overlap = np.where(same, overlap, 0)
    worth = overlap if threshold is None else overlap + (1 + len(overlap)) * reaches(overlap, threshold)
    rows, columns = scipy.optimize.linear_sum_assignment(worth, maximize=True)
    given = np.zeros(len(asked.boxes))
    given[rows] = overlap[rows, columns]
    return given


def reaches(ious: np.ndarray, threshold: float | np.ndarray = FOUND) -> np.ndarray:
    """Whether each IoU reaches the threshold, as boxes in float32 can tell: bool, shapes broadcast."""
    return np.asarray(ious, np.float64) >= np.asarray(threshold, np.float64) - ROUNDING


def found_share(ious: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Share of boxes whose IoU reaches each threshold, (t,): the accuracy curve over IoU.

    ious: (n,), n at least 1. The area under the curve from 0 to 1 is the mean IoU.
    """
    return reaches(np.asarray(ious)[:, None], np.asarray(thresholds)[None]).mean(0)


def size_of(layout: np.ndarray) -> list[str]:
    """The name in SIZES of each box (n, 4), by its share of the picture's area."""
    return [
        next(name for name, (_, high) in SIZES.items() if area < high or high == 1)
        for area in boxes.area(layout)
    ]


def by_group(rows: pd.DataFrame, column: str) -> pd.DataFrame:
    """Mean IoU, share found and number of boxes for each value of a column, most boxes first.

    rows: one per box, with columns `iou` and `found`, as `Run.boxes`; NaN where none of a value is judged.
    """
    table = (
        rows.astype({"iou": float, "found": "Float64"})
        .groupby(column, sort=True)
        .agg(
            mean_iou=("iou", "mean"),
            found=("found", "mean"),
            boxes=("iou", "size"),
            scenes=("scene", "nunique"),
        )
    )
    return table.sort_values("boxes", ascending=False, kind="stable")


def average_precision(asked: Sequence[Layout], found: Sequence[Detections]) -> Precision:
    """COCO's average precision and recall of found boxes against asked ones, 100 a picture at most.

    Matching is pycocotools'. AP is the mean over labels that are asked for anywhere. A label that is found
    but never asked for is not counted, as in COCO. asked, found: one each a picture, in the same order.
    Raises ValueError for unequal lengths and where no box is asked for.
    """
    if len(asked) != len(found):
        raise ValueError(f"{len(asked)} layouts, but detections of {len(found)} pictures")
    labels = sorted({label for layout in asked for label in layout.labels})
    if not labels:
        raise ValueError("no box is asked for: there is nothing to find")
    whole = _evaluated(asked, found, labels, {"all": (0.0, 1.0), **SIZES})
    cells = np.array(whole.evalImgs, dtype=object).reshape(len(labels), 1 + len(SIZES), len(asked))
    kept = [accumulated(_matches(row)) for row in cells[:, 0]]
    ap, recall = np.stack(kept, axis=1)  # (labels, thresholds, 1 + n) each
    if np.isnan(ap[:, 0, 0]).all():
        raise ValueError("no box is asked for but crowd regions: there is nothing to find")
    means = {"AP": ap.mean(1), "AP50": ap[:, 0], "AP75": ap[:, 5], "AR": recall.mean(1)}
    over = {name: _mean_asked(values) for name, values in means.items()}
    sizes = [[_pair(accumulated(_matches(cell, False))[0, :, 0]) for cell in row[1:]] for row in cells]
    per_size = zip(SIZES, np.array(sizes).swapaxes(0, 1), strict=True)
    return Precision(
        value=np.array([over["AP"][0], over["AP50"][0]]),
        left_out=np.stack([over["AP"][1:], over["AP50"][1:]], axis=1),
        by_label={label: _pair(values[:, 0]) for label, values in zip(labels, ap, strict=True)},
        by_size={name: _mean_asked(v) for name, v in per_size if np.isfinite(v).any()},
        more={name: (float(over[name][0]), over[name][1:]) for name in ("AP75", "AR")},
    )


def _pair(thresholds: np.ndarray) -> np.ndarray:
    """AP and AP50 of average precisions at all thresholds, (T,) -> (2,)."""
    return np.array([thresholds.mean(), thresholds[0]])


def _mean_asked(values: np.ndarray) -> np.ndarray:
    """Mean over the labels (k, m) that are asked for, (m,); NaN where none is."""
    asked = np.isfinite(values)
    count = asked.sum(0)
    return np.where(count > 0, np.where(asked, values, 0).sum(0) / np.maximum(count, 1), np.nan)


def _matches(cells: np.ndarray, each: bool = True) -> Matches:
    """One label in one range of sizes from what COCOeval says of each picture; without `each`, as one
    picture.
    """
    there = [(i * each, cell) for i, cell in enumerate(cells) if cell is not None]
    none = np.zeros((10, 0), bool)
    matched = np.concatenate([none, *(cell["dtMatches"] > 0 for _, cell in there)], axis=1)
    ignored = np.concatenate([none, *(cell["dtIgnore"] > 0 for _, cell in there)], axis=1)
    boxes_asked = np.zeros(len(cells) if each else 1, np.int64)
    for i, cell in there:
        boxes_asked[i] += int((cell["gtIgnore"] == 0).sum())
    return Matches(
        pictures=np.concatenate([[], *([i] * len(cell["dtScores"]) for i, cell in there)]).astype(np.int64),
        scores=np.concatenate([[], *(cell["dtScores"] for _, cell in there)]),
        hits=matched & ~ignored,
        misses=~matched & ~ignored,
        boxes=boxes_asked,
    )


def _evaluated(
    asked: Sequence[Layout], found: Sequence[Detections], labels: list[str], sizes: dict
) -> COCOeval:
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(_coco(asked, labels), _coco(found, labels), "bbox")
        evaluation.params.imgIds, evaluation.params.maxDets = list(range(len(asked))), [100]
        evaluation.params.areaRng = [[low * _UNITS**2, high * _UNITS**2] for low, high in sizes.values()]
        evaluation.params.areaRngLbl = list(sizes)
        evaluation.evaluate()
    return evaluation


def _coco(layouts: Sequence[Layout], labels: list[str]) -> COCO:
    """COCO's own index of labelled boxes; boxes of other labels are left out."""
    coco, annotations = COCO(), []
    for image, layout in enumerate(layouts):
        crowd = getattr(layout, "crowd", None)
        for i, (box, label) in enumerate(
            zip(np.asarray(layout.boxes, np.float64) * _UNITS, layout.labels, strict=True)
        ):
            if label not in labels:
                continue
            low, size = box[:2], box[2:] - box[:2]
            annotation = {"id": len(annotations) + 1, "image_id": image, "category_id": labels.index(label)}
            annotation |= {"bbox": [*low.tolist(), *size.tolist()], "area": float(size.prod())}
            annotation["iscrowd"] = int(crowd is not None and crowd[i])
            annotations.append(
                annotation | ({"score": float(layout.scores[i])} if hasattr(layout, "scores") else {})
            )
    images, categories = [{"id": i} for i in range(len(layouts))], [{"id": k} for k in range(len(labels))]
    coco.dataset = {"images": images, "annotations": annotations, "categories": categories}
    coco.createIndex()
    return coco
