"""What the scores of a run support: paired differences between arms, and one sentence per question."""

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np
import pandas as pd

from helpers import intervals
from helpers.distances import swapped_differences
from helpers.evidence import Evidence, collect
from helpers.intervals import Estimate
from helpers.metrics import Measured, Metric, measure
from helpers.runs import Run
from helpers.scores import metrics_of
from helpers.settings import nearest

COLUMNS = ["arm", "other", "metric", "difference", "standard_error", "low", "high", "n", "p"]


def difference(run: Run, metric: str, arm: str, other: str, strict: bool = False) -> dict:
    """`metric` of arm minus that of other, paired scene by scene, from the files of the run alone (no model).

    Only scenes that both arms have are compared; with strict, different scenes are a ValueError naming them.
    Returns COLUMNS; n: scenes in common; p: sign-flip permutation for metrics that are means, Student's t of
    the jackknife for the others. Raises ValueError for an unknown metric (the nearest is named) and for a
    metric that the arms do not have, TooFew for fewer than 3 common scenes.
    """
    a, b = _paired(run, _metric(run, metric), metric, arm, other, strict)
    estimate = intervals.paired(a.value, a.left_out, b.value, b.left_out)
    p = (
        estimate.p
        if a.sums is None or not np.array_equal(a.counts, b.counts)
        else intervals.sign_flip(a.sums - b.sums)
    )
    parts = vars(estimate) | {
        "difference": estimate.value,
        "p": p,
        "arm": arm,
        "other": other,
        "metric": metric,
    }
    return {name: parts[name] for name in COLUMNS}


def compare(run: Run, metric: str, arms: Sequence[str], baseline: str | None = None) -> pd.DataFrame:
    """Every other arm against one: against `baseline`, or, where that is None, against the best arm.

    One row an arm, in the order given: `arm` is the other arm, `other` the one it is held against, so a
    positive difference says that the other arm's value is higher. Columns: COLUMNS, p_holm, different (p_holm
    < 0.05). p_holm is p corrected (Holm) for the comparisons made; picking the best arm from the data is one
    of all pairs of arms, so all pairs count then.
    """
    held = baseline or best(run, metric, arms)
    pairs = [(arm, held) for arm in arms if arm != held]
    if baseline is None:
        pairs += [pair for pair in combinations(arms, 2) if held not in pair]
    table = pd.DataFrame([difference(run, metric, *pair) for pair in pairs], columns=COLUMNS)
    table["p_holm"] = intervals.holm(table.p)
    table["different"] = table.p_holm < 1 - intervals.LEVEL
    return table[table.other == held].head(len([arm for arm in arms if arm != held])).reset_index(drop=True)


def best(run: Run, metric: str, arms: Sequence[str]) -> str:
    """The arm with the best value of the metric (the lowest distance, else the highest); ties go to the
    earlier one.

    Values are those of scores/<arm>.json. Raises ValueError where an arm has none.
    """
    lower = _metric(run, metric).lower_is_better
    scores = run.scores()
    values = scores[scores.metric == metric].dropna(subset="value").set_index("arm")["value"]
    if lacking := [arm for arm in arms if arm not in values.index]:
        raise ValueError(f"no {metric!r} of {', '.join(map(repr, lacking))}: score them first")
    return (min if lower else max)(arms, key=lambda arm: values[arm])


def verdict(run: Run, metric: str, arms: Sequence[str], baseline: str | None = None) -> str:
    """What these photos say about the arms in one metric, as a sentence or two: see `sentence`."""
    chosen = _metric(run, metric)
    table = compare(run, metric, arms, baseline)
    return " ".join(sentence(row, chosen.lower_is_better, chosen.digits) for row in table.to_dict("records"))


def sentence(row: dict, lower_is_better: bool, digits: int = 3) -> str:
    """One row of `compare` in words: which arm is better, by how much, interval, p, N; or that these photos
    cannot tell the two apart, and about how many would be needed to be sure of a difference of this size."""
    arm, other, metric, n = row["arm"], row["other"], row["metric"], row["n"]
    estimate = Estimate(row["difference"], row["standard_error"], row["low"], row["high"], n)
    if estimate.value < 0:
        arm, other = other, arm
        estimate = replace(estimate, value=-estimate.value, low=-estimate.high, high=-estimate.low)
    number = f"{{:.{digits}f}}".format
    p = "p < 0.001" if row["p_holm"] < 0.001 else f"p = {row['p_holm']:.3f}"
    by = f"{number(estimate.value)} ({number(estimate.low)} to {number(estimate.high)}, {p})"
    if not row["different"]:
        told = f"These {n} photos cannot tell {arm} and {other} apart in {metric}"
        return f"{told}: {arm} minus {other} is {by}{_needed(estimate)}."
    winner, loser = (other, arm) if lower_is_better else (arm, other)
    direction = "lower" if lower_is_better else "higher"
    return f"{winner} is better than {loser} in {metric}: {direction} by {by}, N = {n} photos."


def _needed(estimate: Estimate) -> str:
    needed = intervals.photos_needed(estimate)
    if math.isinf(needed):
        return ""
    if needed <= estimate.n:
        return "; the difference would count on its own, but not among this many comparisons"
    about = f"{float(f'{needed:.2g}'):,.0f}" if needed < 1e6 else "more than a million"
    return f"; about {about} would be needed to be sure of a difference of this size"


def equal_arms(run: Run, arm: str, other: str, gap: float, draws: int = 500, seed: int = 0) -> dict:
    """How often the realism distances of two arms that do NOT differ lie `gap` or further apart.

    The two arms' pictures are swapped at random scene by scene, which makes both arms draws from one mixture.
    gap: in the metric's own unit. Returns metric, gap, share (of draws), median (the typical gap), n, draws.
    """
    name, metric = next(iter(metrics_of(run).items()))
    first, second = _common(run, arm, other, strict=False)
    pictures, photos = metric.needs
    gaps = np.abs(
        swapped_differences(
            metric.distance,
            getattr(first, pictures),
            getattr(second, pictures),
            getattr(first, photos),
            draws,
            seed,
        )
    )
    shown = {
        "metric": name,
        "gap": gap,
        "share": float((gaps >= gap).mean()),
        "median": float(np.median(gaps)),
    }
    return shown | {"n": len(first.scenes), "draws": draws}


def _metric(run: Run, name: str) -> Metric:
    known = metrics_of(run)
    if name not in known:
        raise ValueError(f"metric {name!r} is unknown; {nearest(name, known)}")
    return known[name]


def _common(run: Run, arm: str, other: str, strict: bool) -> tuple[Evidence, Evidence]:
    first, second = (collect(run, run.scenes, name) for name in (arm, other))
    if first.scenes == second.scenes:
        return first, second
    only = sorted(set(first.scenes) ^ set(second.scenes))
    if strict:
        raise ValueError(f"{arm} and {other} have different scenes; only one of them has {', '.join(only)}")
    shared = set(first.scenes) & set(second.scenes)
    scenes = [scene for scene in run.scenes if scene.name in shared]
    return tuple(collect(run, scenes, name) for name in (arm, other))


def _paired(
    run: Run, metric: Metric, name: str, arm: str, other: str, strict: bool
) -> tuple[Measured, Measured]:
    both = _common(run, arm, other, strict)
    for of, evidence in zip((arm, other), both, strict=True):
        if any(getattr(evidence, field) is None for field in metric.needs):
            raise ValueError(f"arm {of!r} has no {name!r}")
    return tuple(measure(metric, evidence) for evidence in both)
