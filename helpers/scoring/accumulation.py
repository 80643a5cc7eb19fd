"""COCO's average precision and recall of one label from matched detections, with and without each picture.
Pure.

The numbers are those of COCOeval.accumulate. Its precision at a recall is the highest that is reached at that
recall or a higher one, and between two hits precision only falls: so hits alone need to be looked at. A
picture that leaves takes its hits and misses out of the counts before every later hit.
"""

import numpy as np

RECALLS = np.linspace(0.0, 1.0, 101)  # as in COCO
_BLOCK = 1 << 20  # entries of a (pictures, hits) matrix held at a time


def accumulated(
    pictures: np.ndarray, scores: np.ndarray, hits: np.ndarray, misses: np.ndarray, boxes: np.ndarray
) -> np.ndarray:
    """Average precision and recall at T thresholds of IoU: (2, T, 1 + n), NaN where no box is asked for.

    The first column is over all n pictures, column 1 + i over all but picture i. pictures, scores: (d,) of
    each detection, by picture and falling score. hits, misses: (T, d) bool; a detection that is ignored is
    neither. boxes: (n,) number of boxes asked for in each picture.
    """
    n = len(boxes)
    order = np.argsort(-scores, kind="stable")
    rest = boxes.sum() - np.concatenate([[0], boxes])
    columns = np.concatenate([[0], 1 + np.union1d(pictures, np.flatnonzero(boxes))]).astype(np.int64)
    place = np.searchsorted(columns, pictures + 1)  # of each detection's picture among those that matter
    values = np.empty((2, len(hits), 1 + n))
    for k, (hit, miss) in enumerate(zip(hits, misses, strict=True)):
        part = _precision(place[order], hit[order], miss[order], rest[columns])
        values[0, k] = part[0]
        values[0, k, columns] = part
        lost = np.bincount(pictures[hit] + 1, minlength=1 + n)
        values[1, k] = (hit.sum() - lost) / np.maximum(rest, 1)
    values[:, :, rest == 0] = np.nan
    return values


def _precision(place: np.ndarray, hits: np.ndarray, misses: np.ndarray, rest: np.ndarray) -> np.ndarray:
    """Average precision without the picture at each place, (places,). place, hits, misses: (d,) by falling
    score.
    """
    own, count = place[hits], int(hits.sum())
    if not count:
        return np.zeros(len(rest))
    slot, missed = np.cumsum(hits)[misses], place[misses]  # slot: hits before each miss
    missed, slot = missed[slot < count], slot[slot < count]
    before = np.cumsum(np.bincount(slot, minlength=count))  # misses before each hit
    needed, values = _hits_needed(rest), np.empty(len(rest))
    step = max(1, _BLOCK // count)
    for start in range(0, len(rest), step):
        block = slice(start, min(start + step, len(rest)))
        mine, theirs = (np.flatnonzero((x >= block.start) & (x < block.stop)) for x in (own, missed))
        row, column = own[mine] - start, mine
        lost = np.zeros((2, block.stop - start, count), np.int32)
        lost[0, row, column] = 1
        np.add.at(lost[1], (missed[theirs] - start, slot[theirs]), 1)
        np.cumsum(lost, axis=2, out=lost)
        tp, fp = np.arange(1, count + 1) - lost[0], before - lost[1]
        precision = tp / (fp + tp + np.spacing(1))
        precision[row, column] = 0  # a hit that left
        highest = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        at = _places(row, column, needed[block])
        reached = np.take_along_axis(highest, np.minimum(at, count - 1), axis=1)
        values[block] = np.where(at < count, reached, 0).mean(1)
    return values


def _hits_needed(rest: np.ndarray) -> np.ndarray:
    """How many hits reach each of RECALLS where `rest` boxes are asked for, at least 1: (places, 101)."""
    sizes, which = np.unique(rest, return_inverse=True)
    needed = [np.searchsorted(np.arange(size + 1) / max(size, 1), RECALLS) for size in sizes]
    return np.maximum(1, needed)[which]


def _places(row: np.ndarray, column: np.ndarray, needed: np.ndarray) -> np.ndarray:
    """Where among all hits the needed one stands, when those of its own row are passed over: as `needed`."""
    order = np.argsort(row, kind="stable")
    row, column = row[order], column[order]
    nth = np.arange(len(row)) - np.searchsorted(row, row)
    left_before = np.full((len(needed), nth.max(initial=-1) + 1), np.iinfo(np.int64).max)
    left_before[row, nth] = column - nth
    at = needed - 1
    return at + sum((passed[:, None] <= at for passed in left_before.T), np.zeros_like(at))
