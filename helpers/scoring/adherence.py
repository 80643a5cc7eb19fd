"""Whether the boxes that were asked for are found in the pictures. Pure: boxes in, numbers out."""

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pandas as pd
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from scipy.optimize import linear_sum_assignment

from helpers.scenes import boxes

FOUND = 0.5  # IoU from which a box counts as found
SIZES = {"small": (0.0, 0.03), "medium": (0.03, 0.1), "large": (0.1, 1.0)}  # share of the picture's area
_UNITS = 1000.0  # COCO wants pixels: the side of a picture, whatever its shape


class Layout(Protocol):
    """Labelled boxes: a Scene, or Detections."""

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
    """

    value: np.ndarray
    left_out: np.ndarray
    by_label: dict[str, np.ndarray]
    by_size: dict[str, np.ndarray]


def match(asked: Layout, found: Detections) -> np.ndarray:
    """IoU of each asked box with the found box of the same label that is given to it, (n,) in [0, 1].

    Found boxes are given out one to one so that the sum of IoU is largest; 0 where none is left.
    """
    overlap = boxes.iou(asked.boxes, found.boxes)
    overlap = np.where(
        np.array(asked.labels)[:, None] == np.array(found.labels, dtype=object)[None], overlap, 0
    )
    rows, columns = linear_sum_assignment(overlap, maximize=True)
    given = np.zeros(len(asked.boxes))
    given[rows] = overlap[rows, columns]
    return given


def found_share(ious: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Share of boxes whose IoU reaches each threshold, (t,): the accuracy curve over IoU.

    ious: (n,), n at least 1. The area under the curve from 0 to 1 is the mean IoU.
    """
    return (np.asarray(ious)[:, None] >= np.asarray(thresholds)[None] - 1e-12).mean(0)


def size_of(layout: np.ndarray) -> list[str]:
    """The name in SIZES of each box (n, 4), by its share of the picture's area."""
    return [
        next(name for name, (_, high) in SIZES.items() if area < high or high == 1)
        for area in boxes.area(layout)
    ]


def by_group(rows: pd.DataFrame, column: str) -> pd.DataFrame:
    """Mean IoU, share found and number of boxes for each value of a column, most boxes first.

    rows: one a box, with columns `iou` and `found`, as `Run.boxes`.
    """
    table = rows.groupby(column, sort=True).agg(
        mean_iou=("iou", "mean"), found=("found", "mean"), boxes=("iou", "size"), scenes=("scene", "nunique")
    )
    return table.sort_values("boxes", ascending=False, kind="stable")


def average_precision(asked: Sequence[Layout], found: Sequence[Detections]) -> Precision:
    """COCO's average precision of found boxes against asked ones, by pycocotools, 100 a picture at most.

    AP is the mean over labels that are asked for anywhere. A label that is found but never asked for is not
    counted, as in COCO. asked, found: one each a picture, in the same order. Raises ValueError for unequal
    lengths and where no box is asked for.
    """
    if len(asked) != len(found):
        raise ValueError(f"{len(asked)} layouts, but detections of {len(found)} pictures")
    labels = sorted({label for layout in asked for label in layout.labels})
    if not labels:
        raise ValueError("no box is asked for: there is nothing to find")
    whole = _evaluated(asked, found, labels, {"all": (0.0, 1.0), **SIZES})
    cells = np.array(whole.evalImgs, dtype=object).reshape(len(labels), 1 + len(SIZES), len(asked))
    every, sizes = cells[:, 0], cells[:, 1:]
    per_label = np.array([_precision(whole, row) for row in every])
    left_out = np.repeat(per_label[:, None], len(asked), axis=1)
    for k, row in enumerate(every):
        for i in np.flatnonzero(row != np.array(None)):
            left_out[k, i] = _precision(whole, np.delete(row, i))
    per_size = np.array([[_precision(whole, row) for row in sizes[:, s]] for s in range(len(SIZES))])
    return Precision(
        value=per_label.mean(0),
        left_out=np.array([_mean_asked(values) for values in left_out.swapaxes(0, 1)]),
        by_label=dict(zip(labels, per_label, strict=True)),
        by_size={
            name: _mean_asked(v) for name, v in zip(SIZES, per_size, strict=True) if np.isfinite(v).any()
        },
    )


def _mean_asked(values: np.ndarray) -> np.ndarray:
    """Mean over the labels (k, 2) that are asked for; NaN where none is."""
    asked = values[np.isfinite(values[:, 0])]
    return asked.mean(0) if len(asked) else np.full(2, np.nan)


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
        for i, (box, label) in enumerate(
            zip(np.asarray(layout.boxes, np.float64) * _UNITS, layout.labels, strict=True)
        ):
            if label not in labels:
                continue
            low, size = box[:2], box[2:] - box[:2]
            annotation = {"id": len(annotations) + 1, "image_id": image, "category_id": labels.index(label)}
            annotation |= {"bbox": [*low.tolist(), *size.tolist()], "area": float(size.prod()), "iscrowd": 0}
            annotations.append(
                annotation | ({"score": float(layout.scores[i])} if hasattr(layout, "scores") else {})
            )
    images, categories = [{"id": i} for i in range(len(layouts))], [{"id": k} for k in range(len(labels))]
    coco.dataset = {"images": images, "annotations": annotations, "categories": categories}
    coco.createIndex()
    return coco


def _precision(evaluation: COCOeval, row: np.ndarray) -> np.ndarray:
    """(AP, AP50) of one label in one range of sizes over the pictures of `row`, NaN without a box.

    COCOeval can only accumulate all that it evaluated, so it is shown one label and the wanted pictures.
    """
    part, params = COCOeval(), evaluation.params
    part.params = params
    part.evalImgs, part._paramsEval = list(row), _One(params, len(row))
    with contextlib.redirect_stdout(io.StringIO()):
        part.accumulate(_One(params, len(row)))
    precision = part.eval["precision"][:, :, 0, 0, 0]  # threshold, recall
    return np.array([precision.mean(), precision[0].mean()]) if (precision > -1).all() else np.full(2, np.nan)


class _One:
    """COCOeval's parameters for one label, one range of sizes and n pictures."""

    useCats = 1

    def __init__(self, params: object, n: int) -> None:
        self.iouThrs, self.recThrs, self.maxDets = params.iouThrs, params.recThrs, params.maxDets
        self.catIds, self.imgIds, self.areaRng = [0], list(range(n)), [[0.0, 1.0]]
