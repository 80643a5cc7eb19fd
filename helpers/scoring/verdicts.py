"""What the scores of a run support: paired differences between arms, and one sentence per comparison."""

from collections.abc import Sequence
from functools import lru_cache
from itertools import combinations

import numpy as np
import pandas as pd

from helpers.files import stamp
from helpers.parameters import nearest
from helpers.runs.arms import Arm
from helpers.runs.run import Run
from helpers.scoring import intervals, scores, significance
from helpers.scoring.distances import kid_swaps
from helpers.scoring.extraction import cached
from helpers.scoring.intervals import Estimate
from helpers.scoring.measurements import collect
from helpers.scoring.metrics import FOUND, NOT_JUDGED, REALISM, Measured, Metric, measure
from helpers.scoring.resampling import swapped_sums
from helpers.scoring.scores import metrics_of
from helpers.scoring.shares import share_difference

BLIND = f"{NOT_JUDGED}: the detector finds none of the boxes in the photos either"
MARGIN = 0.1  # of the distance between the chosen arm and the control: what is little enough to be no worse
COLUMNS = ["arm", "other", "metric", "difference", "standard_error", "low", "high", "n", "p"]


class NotJudged(ValueError):
    """The metric is withheld, because what measures it does not know these photos; the message says why."""


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

    def pair(self, arm: str, other: str, strict: bool = False) -> tuple[Measured, Measured]:
        names = self.common(arm, other, strict)
        return self.measured(arm, names), self.measured(other, names)

    def difference(self, arm: str, other: str, strict: bool = False) -> dict:
        a, b = self.pair(arm, other, strict)
        estimate = _estimate(self.metric, a, b)
        facts = {"arm": arm, "other": other, "metric": self.name, "difference": estimate.value}
        facts |= vars(estimate) | {"p": _p(self.metric, a, b, estimate)}
        return {name: facts[name] for name in COLUMNS}


def _estimate(metric: Metric, a: Measured, b: Measured, level: float = intervals.LEVEL) -> Estimate:
    """a - b on the same scenes, with its interval; level: of the interval of shares."""
    if metric.share:
        return share_difference(a.sums, a.counts, b.sums, b.counts, level)
    return intervals.paired(a.value, a.left_out, b.value, b.left_out)


def _p(metric: Metric, a: Measured, b: Measured, estimate: Estimate) -> float:
    if metric.group == REALISM:
        return estimate.p
    if a.sums is not None and np.array_equal(a.counts, b.counts):
        return _sign_flip((a.sums - b.sums).tobytes())
    return significance.paired_p(a.value, a.left_out, b.value, b.left_out)


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
    Returns COLUMNS; n: scenes in common; p: of no difference, at least 2 / 2^n: Student's t of the jackknife
    for distances between sets, else the sign flip of each photo's part. Raises ValueError for an unknown
    metric (the nearest is named) and for one that the arms do not have, TooFew for too few common scenes.
    """
    return _Values(run, metric).difference(arm, other, strict)


def compare(run: Run, metric: str, arms: Sequence[str], baseline: str | None = None) -> pd.DataFrame:
    """Every other arm against one: against `baseline`, or, where that is None, against the best arm.

    One row per arm, in the order given: `arm` is the other arm, `other` the one it is held against, so a
    positive difference says that the other arm's value is higher. Columns: COLUMNS, comparisons
    (made), p_holm, different (p_holm < 0.05). p_holm is p corrected (Holm) for the comparisons made; picking
    the best arm from the data is one of all pairs of arms, so all pairs count then: attrs["p"] has the p of
    them all. Raises NotJudged, TooFew for fewer photos than a verdict needs, ValueError for a metric that
    gives no verdict.
    """
    values = _Values(run, metric)
    if values.metric.no_verdict:
        raise ValueError(f"no verdict by {metric}: {values.metric.no_verdict}")
    first = best(run, metric, list(dict.fromkeys([*arms, *([baseline] if baseline else [])])))
    held = baseline or first
    pairs = [(arm, held) for arm in arms if arm != held]
    if baseline is None:
        pairs += [pair for pair in combinations(arms, 2) if held not in pair]
    table = pd.DataFrame([values.difference(*pair) for pair in pairs], columns=COLUMNS)
    if len(table):
        significance.require_enough(int(table.n.min()))
    table = table.assign(comparisons=len(table), p_holm=intervals.holm(table.p))
    table["different"] = table.p_holm < 1 - intervals.LEVEL
    shown = table.head(len(set(arms) - {held}))
    shown.attrs["p"] = table.p.tolist()
    return shown


def not_judged(run: Run, arms: Sequence[str] | None = None) -> dict[str, str]:
    """Metrics that are withheld for an arm of those, or for any, and why: "not judged: ...". A detector that
    finds nothing in the photos judges nothing."""
    rows = run.scores(arms)
    rows = rows[rows.reason.astype(str).str.startswith(NOT_JUDGED)]
    reasons = dict(zip(rows.metric, rows.reason, strict=True))
    photos = run.scores([scores.PHOTOS]).set_index("metric").value
    if photos.get(FOUND) == 0:
        known = metrics_of(run).items()
        reasons |= {name: BLIND for name, metric in known if "detections" in metric.needs}
    return reasons


def best(run: Run, metric: str, arms: Sequence[str]) -> str:
    """The arm with the best value of the metric (the lowest distance, else the highest).

    Values are those of scores/<arm>.json; ties go to the earlier arm. Raises ValueError where an arm has
    none, NotJudged where it is withheld, TooFew where it has too few scenes for one.
    """
    lower = _Values(run, metric).metric.lower_is_better
    if why := not_judged(run, arms).get(metric):
        raise NotJudged(why)
    table = run.scores(arms)
    rows = table[table.metric == metric].set_index("arm")
    values = rows["value"].dropna()
    if lacking := [arm for arm in arms if arm not in values.index]:
        for why in rows.reason[lacking[:1]].dropna() if lacking[0] in rows.index else ():
            raise intervals.TooFew(why)
        raise ValueError(f"no {metric!r} of {', '.join(map(repr, lacking))}: score them first")
    return (min if lower else max)(arms, key=lambda arm: values[arm])


def not_worse(run: Run, metric: str, arm: str, other: str, margin: float | None = None) -> dict:
    """Whether `arm` is not worse than `other` by the margin or more: non-inferiority, one-sided 95 %, paired.

    margin: in the metric's unit, declared before; None: `default_margin`. Returns arm, other, metric, margin,
    n, holds, bound (by how much it may be worse), p. Raises as `compare`, and ValueError for a margin that is
    not above 0.
    """
    values = _Values(run, metric)
    if values.metric.no_verdict:
        raise ValueError(f"no verdict by {metric}: {values.metric.no_verdict}")
    best(run, metric, [arm, other])  # has both, and is judged
    pair = values.pair(arm, other)
    estimate = _estimate(values.metric, *pair)
    significance.require_enough(estimate.n)
    margin = default_margin(run, metric) if margin is None else margin
    one_sided = _estimate(values.metric, *pair, 2 * intervals.LEVEL - 1)
    bounds = (one_sided.low, one_sided.high) if values.metric.share else None
    found = significance.not_worse(estimate, margin, values.metric.lower_is_better, bounds)
    return {
        "arm": arm,
        "other": other,
        "metric": metric,
        "margin": margin,
        "n": estimate.n,
        **found._asdict(),
    }


def default_margin(run: Run, metric: str) -> float:
    """A tenth of the distance between the chosen arm and the same without grounding, in the metric's unit."""
    choice = run.read_json("choices/template.json")
    arms = [Arm(choice["template"], kind, choice["guidance_scale"]).name for kind in ("text", "none")]
    return MARGIN * abs(difference(run, metric, *arms)["difference"])


def equal_arms(run: Run, arm: str, other: str, gap: float, draws: int = 500, seed: int = 0) -> dict:
    """How often the realism distances of two arms that do NOT differ lie `gap` or further apart.

    The two arms' pictures are swapped at random scene by scene, which makes both arms draws from one mixture.
    gap: in the unit of KID × 1000. Returns metric, gap, share (of draws), median (the typical gap), n, draws.
    The run folder keeps the draws.
    """
    values = _Values(run, next(iter(metrics_of(run))))
    names = values.common(arm, other, strict=False)

    def differences(_: list[int]) -> list[np.ndarray]:
        scenes = [scene for scene in run.scenes if scene.name in set(names)]
        first, second = (collect(run, scenes, name) for name in (arm, other))
        parts = 1000 * kid_swaps(first.pictures, second.pictures, first.photos)
        return [swapped_sums(parts, draws, seed)[:, None]]

    versions = [stamp(run.folder / "scores" / f"{one}.npz") for one in (arm, other)]
    content = repr([values.name, draws, seed, *versions])
    file = run.folder / "features" / "swapped" / f"{arm}.npz"
    gaps = np.abs(cached(file, [other], [content], differences)[0][:, 0])
    facts = {"share": float((gaps >= gap).mean()), "median": float(np.median(gaps))}
    return {"metric": values.name, "gap": gap, **facts, "n": len(names), "draws": draws}
