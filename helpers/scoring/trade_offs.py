"""Trade-offs: what methods reach in one metric where they reach equally much in another."""

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from helpers.runs.run import Run
from helpers.scoring import intervals, scores, significance


def compare(run: Run, metric: str, kept: str, curves: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """Every pair of methods whose curves overlap, at the middle of what both reach in `kept`.

    curves: method -> its arms, all of the same scenes: a line through their values of kept and metric, or
    with one arm a point. One row per pair: arm and other (methods), metric, at (the value of kept),
    difference (of metric), standard_error, low, high, n, p, comparisons, p_holm, different. Intervals and p
    are paired by scene, with `at` and both lines drawn again without each scene in turn.
    """
    rows = []
    for arm, other in combinations(curves, 2):
        first, second = (_points(run, kept, metric, curves[one]) for one in (arm, other))
        at = _middle(first[:, 0], second[:, 0])
        if np.isnan(at[0]):
            continue
        a, b = (_reached(points, at) for points in (first, second))
        estimate = intervals.paired(a[0], a[1:], b[0], b[1:])
        significance.require_enough(estimate.n)
        row = {"arm": arm, "other": other, "metric": metric, "at": at[0], "difference": estimate.value}
        rows.append(row | vars(estimate) | {"p": significance.paired_p(a[0], a[1:], b[0], b[1:])})
    columns = ["arm", "other", "metric", "at", "difference", "standard_error", "low", "high", "n", "p"]
    table = pd.DataFrame(rows, columns=columns)
    table = table.assign(comparisons=len(table), p_holm=intervals.holm(table.p))
    return table.assign(different=table.p_holm < 1 - intervals.LEVEL)


def _points(run: Run, kept: str, metric: str, arms: Sequence[str]) -> np.ndarray:
    """(arms, 2, 1 + n): kept and metric of every arm, of all n scenes and without each of them."""
    found = [scores.arm_scores(run, arm).metrics for arm in arms]
    return np.array(
        [[[one[name].value, *one[name].left_out] for name in (kept, metric)] for one in found], np.float64
    )


def _middle(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(1 + n,) middle of the reach that two methods, (arms, 1 + n) each, share; NaN where they share none.

    Whether they do is decided by all scenes together, so that leaving one out never changes the question.
    """
    low = np.maximum(first.min(0), second.min(0))
    high = np.minimum(first.max(0), second.max(0))
    return (low + high) / 2 if low[0] <= high[0] else np.full_like(low, np.nan)


def _reached(points: np.ndarray, at: np.ndarray) -> np.ndarray:
    """(1 + n,) metric of a curve, (arms, 2, 1 + n), where kept is at (1 + n,): linear between its points."""
    found = []
    for place, value in enumerate(at):
        kept, metric = points[np.argsort(points[:, 0, place], kind="stable"), :, place].T
        found.append(np.interp(value, kept, metric))
    return np.array(found)
