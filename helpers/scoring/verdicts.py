"""What the scores of a run support: paired differences between arms, and one sentence per comparison."""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import combinations

import numpy as np
import pandas as pd

from helpers.files import stamp
from helpers.parameters import nearest
from helpers.runs.run import Run
from helpers.scoring import intervals, scores
from helpers.scoring.extraction import cached
from helpers.scoring.intervals import Estimate
from helpers.scoring.measurements import collect
from helpers.scoring.metrics import Measured, measure
from helpers.scoring.resampling import swapped_differences
from helpers.scoring.scores import metrics_of

COLUMNS = ["arm", "other", "metric", "difference", "standard_error", "low", "high", "n", "p"]


class _Values:
    """One metric of a run's arms, over all their scenes or over some: what was kept when they were scored, or
    measured again from the kept features where two arms have different scenes. No model is asked."""

    def __init__(self, run: Run, name: str) -> None:
        known = metrics_of(run)
        if name not in known:
            raise ValueError(f"metric {name!r} is unknown; {nearest(name, known)}")
        self.run, self.name, self.metric = run, name, known[name]

    def common(self, arm: str, other: str, strict: bool) -> tuple[str, ...]:
        """Names of the scenes that both arms have, in the run's order."""
        first, second = (scores.arm_scores(self.run, name).scenes for name in (arm, other))
        if strict and first != second:
            only = ", ".join(sorted(set(first) ^ set(second)))
            raise ValueError(f"{arm} and {other} have different scenes; only one of them has {only}")
        return tuple(name for name in first if name in set(second))

    def measured(self, arm: str, names: tuple[str, ...]) -> Measured:
        known = scores.arm_scores(self.run, arm)
        if names == known.scenes and self.name in known.metrics:
            return known.metrics[self.name]
        return _measured(self.run, self.name, arm, names, stamp(self.run.folder / "scores" / f"{arm}.npz"))

    def difference(self, arm: str, other: str, strict: bool = False) -> dict:
        names = self.common(arm, other, strict)
        a, b = self.measured(arm, names), self.measured(other, names)
        estimate = intervals.paired(a.value, a.left_out, b.value, b.left_out)
        flips = a.sums is not None and np.array_equal(a.counts, b.counts)
        p = _sign_flip((a.sums - b.sums).tobytes()) if flips else estimate.p
        facts = {"arm": arm, "other": other, "metric": self.name, "difference": estimate.value, "p": p}
        return {name: (vars(estimate) | facts)[name] for name in COLUMNS}


@lru_cache(maxsize=256)
def _measured(run: Run, name: str, arm: str, names: tuple[str, ...], version: tuple) -> Measured:
    """version: stamp of the arm's scores, so that an arm that was scored again is measured again."""
    metric, wanted = metrics_of(run)[name], set(names)
    measurements = collect(run, [scene for scene in run.scenes if scene.name in wanted], arm)
    if any(getattr(measurements, field) is None for field in metric.needs):
        raise ValueError(f"arm {arm!r} has no {name!r}")
    return measure(metric, measurements)


@lru_cache(maxsize=1024)  # several answers of a report rest on one comparison
def _sign_flip(differences: bytes) -> float:
    return intervals.sign_flip(np.frombuffer(differences))


def difference(run: Run, metric: str, arm: str, other: str, strict: bool = False) -> dict:
    """`metric` of arm minus that of other, paired scene by scene, from the files of the run alone (no model).

    Only scenes that both arms have are compared; with strict, different scenes are a ValueError naming them.
    Returns COLUMNS; n: scenes in common; p: sign-flip permutation for metrics that are means, Student's t of
    the jackknife for the others. Raises ValueError for an unknown metric (the nearest is named) and for a
    metric that the arms do not have, TooFew for fewer than 3 common scenes.
    """
    return _Values(run, metric).difference(arm, other, strict)


def compare(run: Run, metric: str, arms: Sequence[str], baseline: str | None = None) -> pd.DataFrame:
    """Every other arm against one: against `baseline`, or, where that is None, against the best arm.

    One row per arm, in the order given: `arm` is the other arm, `other` the one it is held against, so a
    positive difference says that the other arm's value is higher. Columns: COLUMNS, p_holm, different (p_holm
    < 0.05). p_holm is p corrected (Holm) for the comparisons made; picking the best arm from the data is one
    of all pairs of arms, so all pairs count then.
    """
    held = baseline or best(run, metric, arms)
    pairs = [(arm, held) for arm in arms if arm != held]
    if baseline is None:
        pairs += [pair for pair in combinations(arms, 2) if held not in pair]
    values = _Values(run, metric)
    table = pd.DataFrame([values.difference(*pair) for pair in pairs], columns=COLUMNS)
    table["p_holm"] = intervals.holm(table.p)
    table["different"] = table.p_holm < 1 - intervals.LEVEL
    return table.head(len(set(arms) - {held}))


def best(run: Run, metric: str, arms: Sequence[str]) -> str:
    """The arm with the best value of the metric (the lowest distance, else the highest).

    Values are those of scores/<arm>.json; ties go to the earlier arm. ValueError where an arm has none.
    """
    lower = _Values(run, metric).metric.lower_is_better
    table = run.scores(arms)
    values = table[table.metric == metric].dropna(subset="value").set_index("arm")["value"]
    if lacking := [arm for arm in arms if arm not in values.index]:
        raise ValueError(f"no {metric!r} of {', '.join(map(repr, lacking))}: score them first")
    return (min if lower else max)(arms, key=lambda arm: values[arm])


def verdict(run: Run, metric: str, arms: Sequence[str], baseline: str | None = None) -> str:
    """What these photos say about the arms in one metric, as a sentence or two: see `sentence`."""
    rule = _Values(run, metric).metric
    rows = compare(run, metric, arms, baseline).to_dict("records")
    return " ".join(sentence(row, rule.lower_is_better, rule.digits) for row in rows)


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
    many = f"about {float(f'{needed:.2g}'):,.0f}" if needed < 1e6 else "more than a million"
    return f"; {many} would be needed to be sure of a difference of this size"


def equal_arms(run: Run, arm: str, other: str, gap: float, draws: int = 500, seed: int = 0) -> dict:
    """How often the realism distances of two arms that do NOT differ lie `gap` or further apart.

    The two arms' pictures are swapped at random scene by scene, which makes both arms draws from one mixture.
    gap: in the metric's own unit. Returns metric, gap, share (of draws), median (the typical gap), n, draws.
    The run folder keeps the draws.
    """
    values = _Values(run, next(iter(metrics_of(run))))
    names = values.common(arm, other, strict=False)

    def differences(_: list[int]) -> list[np.ndarray]:
        scenes = [scene for scene in run.scenes if scene.name in set(names)]
        first, second = (collect(run, scenes, name) for name in (arm, other))
        pictures, photos = values.metric.needs
        features = getattr(first, pictures), getattr(second, pictures), getattr(first, photos)
        return [swapped_differences(values.metric.distance, *features, draws, seed)[:, None]]

    versions = [stamp(run.folder / "scores" / f"{one}.npz") for one in (arm, other)]
    content = repr([values.name, draws, seed, *versions])
    file = run.folder / "features" / "swapped" / f"{arm}.npz"
    gaps = np.abs(cached(file, [other], [content], differences)[0][:, 0])
    facts = {"share": float((gaps >= gap).mean()), "median": float(np.median(gaps))}
    return {"metric": values.name, "gap": gap, **facts, "n": len(names), "draws": draws}
