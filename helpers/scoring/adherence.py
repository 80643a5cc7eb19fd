"""Whether the boxes that were asked for are found in the pictures. Pure: boxes in, numbers out."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from helpers.scenes import boxes
from helpers.scoring.accumulation import accumulated

FOUND = 0.5  # IoU from which a box counts as found
ROUNDING = 1e-5  # of the IoU of boxes in float32: a box that is half found is found at 0.5
SIZES = {"small": (0.0, 0.03), "medium": (0.03, 0.1), "large": (0.1, 1.0)}  # share of the picture's area
PRECISIONS = ("AP", "AP50", "AP75", "AR")  # over IoU 0.50:0.05:0.95, at 0.5, at 0.75, and average recall
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

    over: each of PRECISIONS, as its value and (n,) without picture i. by: (AP, AP50) of each "label" asked
    for, and of each "size", of SIZES, that is asked for.
    """

    over: dict[str, tuple[float, np.ndarray]]
    by: dict[str, dict[str, np.ndarray]]


def match(asked: Layout, found: Detections) -> np.ndarray:
    """IoU of each asked box with the found box of the same label that is given to it, (n,) in [0, 1].

    Found boxes are given out one to one so that most asked boxes are FOUND, and of the ways to do so the one
    whose sum of IoU is largest; 0 where none is left.
    """
    from scipy.optimize import linear_sum_assignment  # here, for it takes half a second

    overlap = boxes.iou(asked.boxes, found.boxes)
    same = np.array(asked.labels, dtype=object)[:, None] == np.array(found.labels, dtype=object)[None]
    overlap = np.where(same, overlap, 0)
    worth = overlap + (1 + len(overlap)) * reaches(overlap)
    rows, columns = linear_sum_assignment(worth, maximize=True)
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
    places = np.searchsorted([high for _, high in SIZES.values()][:-1], boxes.area(layout), side="right")
    return [[*SIZES][place] for place in places]


def average_precision(
    asked: Sequence[Layout], found: Sequence[Detections], unknown: frozenset[str] = frozenset()
) -> Precision:
    """COCO's average precision and recall of found boxes against asked ones, 100 per picture at most.

    Matching is pycocotools'. AP is the mean over labels that are asked for anywhere. A label that is found
    but never asked for is not counted, as in COCO. asked, found: one each per picture, in the same order;
    unknown: labels that the detector does not know, which are passed over.
    Raises ValueError for unequal lengths and where no box is asked for.
    """
    if len(asked) != len(found):
        raise ValueError(f"{len(asked)} layouts, but detections of {len(found)} pictures")
    labels = sorted({label for layout in asked for label in layout.labels} - unknown)
    if not labels:
        raise ValueError("no box is asked for: there is nothing to find")
    cells, n = _cells(asked, found, labels), len(asked)
    kept = [accumulated(*_matches(cells[label, "all"], n)) for label in labels]
    ap, recall = np.stack(kept, axis=1)  # (labels, thresholds, 1 + n) each
    means = (_mean_asked(x) for x in (ap.mean(1), ap[:, 0], ap[:, 5], recall.mean(1)))
    sizes = {
        name: np.array([_pair(accumulated(*_matches(cells[label, name], 1))[0, :, 0]) for label in labels])
        for name in SIZES
    }
    by_label = {label: _pair(values[:, 0]) for label, values in zip(labels, ap, strict=True)}
    by_size = {name: _mean_asked(rows) for name, rows in sizes.items() if np.isfinite(rows).any()}
    return Precision(
        {name: (float(mean[0]), mean[1:]) for name, mean in zip(PRECISIONS, means, strict=True)},
        by={"label": by_label, "size": by_size},
    )


def _pair(thresholds: np.ndarray) -> np.ndarray:
    """AP and AP50 of average precisions at all thresholds, (T,) -> (2,)."""
    return np.array([thresholds.mean(), thresholds[0]])


def _mean_asked(values: np.ndarray) -> np.ndarray:
    """Mean over the labels (k, m) that are asked for, (m,); NaN where none is."""
    asked = np.isfinite(values)
    count = asked.sum(0)
    return np.where(count > 0, np.where(asked, values, 0).sum(0) / np.maximum(count, 1), np.nan)


def _matches(cells: Sequence[tuple[int, dict]], n: int) -> tuple[np.ndarray, ...]:
    """One label in one range of sizes over n pictures, from `_cells`, as `accumulated` takes it; n = 1 takes
    all pictures as one."""
    none = np.zeros((10, 0), bool)
    matched = np.concatenate([none, *(cell["dtMatches"] > 0 for _, cell in cells)], axis=1)
    counted = ~np.concatenate([none, *(cell["dtIgnore"] > 0 for _, cell in cells)], axis=1)
    places = np.array([i if n > 1 else 0 for i, _ in cells], np.int64)
    pictures = np.repeat(places, [len(cell["dtScores"]) for _, cell in cells])
    scores = np.concatenate([[], *(cell["dtScores"] for _, cell in cells)])
    boxes = np.bincount(places, [(cell["gtIgnore"] == 0).sum() for _, cell in cells], n).astype(np.int64)
    return pictures, scores, matched & counted, ~matched & counted, boxes


def _cells(asked: Sequence[Layout], found: Sequence[Detections], labels: list[str]) -> dict:
    """What pycocotools matches: (label, "all" or size) -> pictures with such boxes, as index and cell."""
    from pycocotools.cocoeval import COCOeval  # here, for whoever reads scores needs none of it

    evaluation, cells = COCOeval(iouType="bbox"), defaultdict(list)
    evaluation.params.maxDets = [100]
    for store, layouts in ((evaluation._gts, asked), (evaluation._dts, found)):
        for i, layout in enumerate(layouts):
            for label, annotation in zip(layout.labels, _annotations(layout), strict=True):
                if label in labels:
                    store[i, label].append(annotation)
    for key in sorted({*evaluation._gts, *evaluation._dts}):
        areas = [one["area"] for store in (evaluation._gts, evaluation._dts) for one in store.get(key, ())]
        evaluation.ious[key] = evaluation.computeIoU(*key)
        whole = None  # the cell of every range that leaves out none of the boxes
        for name, bounds in {"all": (0.0, 1.0), **SIZES}.items():
            low, high = (bound * _UNITS**2 for bound in bounds)
            inside = [low <= area <= high for area in areas]
            if all(inside):
                cell = whole = whole or evaluation.evaluateImg(*key, (low, high), 100)
            elif any(inside):
                cell = evaluation.evaluateImg(*key, (low, high), 100)
            else:
                continue
            cells[key[1], name].append((key[0], cell))
    return cells


def _annotations(layout: Layout) -> list[dict]:
    """The boxes as COCO has them."""
    corners = np.asarray(layout.boxes, np.float64).reshape(-1, 4) * _UNITS
    sides = corners[:, 2:] - corners[:, :2]
    bboxes, areas = np.concatenate([corners[:, :2], sides], 1).tolist(), sides.prod(1).tolist()
    scores = np.asarray(getattr(layout, "scores", np.zeros(len(areas))), float).tolist()
    return [
        {"id": k, "bbox": bbox, "area": area, "iscrowd": 0, "ignore": 0, "score": score}
        for k, (bbox, area, score) in enumerate(zip(bboxes, areas, scores, strict=True), 1)
    ]
