"""What the scores of a run support: paired differences between arms, from the files of the run alone."""

from collections.abc import Sequence
from functools import lru_cache
from itertools import combinations

import numpy as np
import pandas as pd

from helpers.files import stamp
from helpers.parameters import nearest
from helpers.runs.arms import Arm, own_arm
from helpers.runs.methods import METHODS
from helpers.runs.run import Run
from helpers.scoring import intervals, scores, significance
from helpers.scoring.distances import kid_swaps
from helpers.scoring.extraction import cached
from helpers.scoring.intervals import Estimate, Measured
from helpers.scoring.measurements import collect
from helpers.scoring.metrics import FOUND, NOT_JUDGED, REALISM, Metric, measure
from helpers.scoring.scores import metrics_of
from helpers.scoring.shares import share_difference

BLIND = f"{NOT_JUDGED}: the detector finds none of the boxes in the photos either"
DRAWS = 500  # of arms with their pictures swapped
MARGIN = 0.1  # of the distance between the chosen arm and the control: what is little enough to be no worse
COLUMNS = ["arm", "other", "metric", "difference", "standard_error", "low", "high", "n", "p"]


class NotJudged(ValueError):
    """The metric is withheld, because what measures it does not know these photos; the message says why."""


def difference(run: Run, metric: str, arm: str, other: str) -> dict:
    """`metric` of arm minus that of other, paired scene by scene, over the scenes that both arms have.

    Returns COLUMNS; n: scenes in common; p: of no difference, at least 2 / 2^n: Student's t of the jackknife
    for distances between sets, else the sign flip of each photo's part. Raises ValueError for an unknown
    metric (the nearest is named) and for one that the arms do not have, TooFew for too few common scenes.
    """
    rule, (a, b) = _rule(run, metric), _pair(run, metric, arm, other)
    estimate = _estimate(rule, a, b)
    facts = {"arm": arm, "other": other, "metric": metric, "difference": estimate.value}
    facts |= vars(estimate) | {"p": _p(rule, a, b, estimate)}
    return {name: facts[name] for name in COLUMNS}


def compare(run: Run, metric: str, arms: Sequence[str], baseline: str | None = None) -> pd.DataFrame:
    """Every other arm against one: against `baseline`, or, where that is None, against the best arm.

    One row per arm, in the order given: `arm` is the other arm, `other` the one it is held against, so a
    positive difference says that the other arm's value is higher. Columns: COLUMNS, comparisons
    (made), p_holm, different (p_holm < 0.05). p_holm is p corrected (Holm) for the comparisons made; picking
    the best arm from the data is one of all pairs of arms, so all pairs count then: attrs["p"] has the p of
    them all. Arms of methods that are in no verdicts are left out. Raises NotJudged, TooFew for fewer photos
    than a verdict needs, ValueError for a metric that gives no verdict.
    """
    _with_verdict(run, metric)
    arms = [arm for arm in arms if not (own := own_arm(arm)) or METHODS[own.grounding].in_verdicts]
    held = best(run, metric, list(dict.fromkeys([*arms, *([baseline] if baseline else [])])))
    held = baseline or held
    pairs = [(arm, held) for arm in arms if arm != held]
    if baseline is None:
        pairs += [pair for pair in combinations(arms, 2) if held not in pair]
    table = pd.DataFrame([difference(run, metric, *pair) for pair in pairs], columns=COLUMNS)
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
    rows = run.scores(None if arms is None else [*arms, scores.PHOTOS])
    withheld = rows[rows.reason.astype(str).str.startswith(NOT_JUDGED)]
    if arms is not None:
        withheld = withheld[withheld.arm.isin(arms)]
    blind = ((rows.arm == scores.PHOTOS) & (rows.metric == FOUND) & (rows.value == 0)).any()
    known = metrics_of(run).items() if blind else ()
    reasons = {name: BLIND for name, metric in known if "detections" in metric.needs}
    return reasons | dict(zip(withheld.metric, withheld.reason, strict=True))


def best(run: Run, metric: str, arms: Sequence[str]) -> str:
    """The arm with the best value of the metric (the lowest distance, else the highest).

    Values are those of scores/<arm>.json; ties go to the earlier arm. Raises ValueError where an arm has
    none, NotJudged where it is withheld, TooFew where it has too few scenes for one.
    """
    choose = min if _rule(run, metric).lower_is_better else max
    if why := not_judged(run, arms).get(metric):
        raise NotJudged(why)
    rows = run.scores(arms).query("metric == @metric").set_index("arm")
    values = rows["value"].dropna()
    if lacking := [arm for arm in arms if arm not in values.index]:
        if lacking[0] in rows.index:
            raise intervals.TooFew(rows.reason[lacking[0]])
        raise ValueError(f"no {metric!r} of {', '.join(map(repr, lacking))}: score them first")
    return choose(arms, key=lambda arm: values[arm])


def not_worse(run: Run, metric: str, arm: str, other: str, margin: float | None = None) -> dict:
    """Whether `arm` is not worse than `other` by the margin or more: non-inferiority, one-sided 95 %, paired.

    margin: in the metric's unit, declared before; None: a tenth of the distance between the chosen arm and
    the same without grounding. Returns arm, other, metric, margin, n, holds, bound (by how much it may be
    worse), p. Raises as `compare`, and ValueError for a margin that is not above 0.
    """
    rule = _with_verdict(run, metric)
    best(run, metric, [arm, other])  # has both, and is judged
    pair = _pair(run, metric, arm, other)
    estimate, one_sided = (_estimate(rule, *pair, x) for x in (intervals.LEVEL, 2 * intervals.LEVEL - 1))
    significance.require_enough(estimate.n)
    if margin is None:
        choice = run.read_json("choices/template.json")
        arms = [Arm(choice["template"], kind, choice["guidance_scale"]).name for kind in ("text", "none")]
        margin = MARGIN * abs(difference(run, metric, *arms)["difference"])
    bounds = (one_sided.low, one_sided.high) if rule.share else None
    found = significance.not_worse(estimate, margin, rule.lower_is_better, bounds)
    facts = {"arm": arm, "other": other, "metric": metric, "margin": margin, "n": estimate.n}
    return facts | found._asdict()


def equal_arms(run: Run, arm: str, other: str, gap: float) -> dict:
    """How often the realism distances of two arms that do NOT differ lie `gap` or further apart.

    In each of DRAWS draws the pictures of a scene are swapped between the arms with probability 1/2, which
    makes both arms draws from one mixture: what is left is the noise of the measure at this n. gap: in the
    unit of KID × 1000. Returns metric, gap, share (of draws), median (the typical gap), n, draws. The run
    folder keeps the draws.
    """
    names = set(_common(run, arm, other))

    def differences(_: list[int]) -> list[np.ndarray]:
        scenes = [scene for scene in run.scenes if scene.name in names]
        first, second = (collect(run, scenes, name) for name in (arm, other))
        parts = 1000 * kid_swaps(first.pictures, second.pictures, first.photos)
        swapped = np.random.default_rng(0).random((DRAWS, len(parts))) < 0.5
        return [(parts.sum() - 2 * swapped @ parts)[:, None]]

    versions = [stamp(run.folder / "scores" / f"{one}.npz") for one in (arm, other)]
    file = run.folder / "features" / "swapped" / f"{arm}.npz"
    gaps = np.abs(cached(file, [other], [repr([DRAWS, *versions])], differences)[0][:, 0])
    facts = {"metric": next(iter(metrics_of(run))), "gap": gap, "share": float((gaps >= gap).mean())}
    return facts | {"median": float(np.median(gaps)), "n": len(names), "draws": DRAWS}


def _rule(run: Run, metric: str) -> Metric:
    if metric not in (known := metrics_of(run)):
        raise ValueError(f"metric {metric!r} is unknown; {nearest(metric, known)}")
    return known[metric]


def _with_verdict(run: Run, metric: str) -> Metric:
    if why := (rule := _rule(run, metric)).no_verdict:
        raise ValueError(f"no verdict by {metric}: {why}")
    return rule


def _common(run: Run, arm: str, other: str) -> tuple[str, ...]:
    """Names of the scenes that both arms have, in the run's order."""
    first, second = (scores.arm_scores(run, name).scenes for name in (arm, other))
    return first if first == second else tuple(name for name in first if name in set(second))


def _pair(run: Run, metric: str, arm: str, other: str) -> list[Measured]:
    """A metric of both arms over their common scenes: as it was kept when they were scored, or where their
    scenes differ, measured again from the kept features. No model is asked."""
    names, pair = _common(run, arm, other), []
    for one in (arm, other):
        known = scores.arm_scores(run, one)
        kept = known.metrics.get(metric) if names == known.scenes else None
        pair.append(kept or _measured(run, metric, one, names, stamp(run.folder / "scores" / f"{one}.npz")))
    return pair


@lru_cache(maxsize=256)
def _measured(run: Run, name: str, arm: str, names: tuple[str, ...], version: tuple) -> Measured:
    """version: stamp of the arm's scores, so that an arm that was scored again is measured again."""
    metric, kept = metrics_of(run)[name], set(names)
    measurements = collect(run, [scene for scene in run.scenes if scene.name in kept], arm)
    if any(getattr(measurements, field) is None for field in metric.needs):
        raise ValueError(f"arm {arm!r} has no {name!r}")
    return measure(metric, measurements)


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


@lru_cache(maxsize=1024)  # several answers of a report rest on one comparison
def _sign_flip(differences: bytes) -> float:
    return intervals.sign_flip(np.frombuffer(differences))
