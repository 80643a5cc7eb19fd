"""What a study of detectors found: whether made pictures help, how sure that is, and what would tell."""

import math

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy import special

from helpers.runs.run import Run
from helpers.scoring import intervals
from helpers.scoring.intervals import LEVEL, Estimate

FILE = "training.json"  # of the run folder; written by notebook 10_training
METRICS = {"AP": "AP", "AP50": "AP at IoU 0.5", "CAS": "crops named by a classifier (CAS)"}
SOURCES = {0.0: "photos alone", 0.5: "half photos, half pictures", 1.0: "pictures alone"}
HOW = (
    "Whether they help a detector, make study-detector tells: it trains some on photos, on pictures, on both."
)


def effect(values: np.ndarray, left_out: np.ndarray) -> tuple[Estimate, Estimate]:
    """The mean over seeds with an interval over photos and seeds, and the same over photos alone.

    values: (s,) a number per seed, s at least 2; left_out: (s, n) the same without test photo i. Variances of
    photos (jackknife) and of seeds add up; the degrees of freedom are Satterthwaite's (1946).
    """
    values, left_out = np.asarray(values, np.float64), np.asarray(left_out, np.float64)
    photos = intervals.jackknife(values.mean(), left_out.mean(0))
    parts = np.array([photos.standard_error**2, values.var(ddof=1) / len(values)])
    total, freedom = parts.sum(), np.array([photos.n - 1, len(values) - 1])
    degrees = total**2 / (parts**2 / freedom).sum() if total else freedom.sum()
    reach = float(special.stdtrit(degrees, (1 + LEVEL) / 2)) * math.sqrt(total)
    both = Estimate(photos.value, math.sqrt(total), photos.value - reach, photos.value + reach, photos.n)
    return both, photos


def table(run: Run) -> pd.DataFrame:
    """One row per share of made pictures: each metric of METRICS with its interval at 95 % over photos and
    seeds, and `difference`, of AP to photos alone, seed by seed and photo by photo."""
    rows = []
    for share in _trainings(run):
        row = {"trained on": _source(share)}
        row |= {title: _shown(score(run, share, name)) for name, title in METRICS.items()}
        rows.append(row | {"difference in AP": _shown(difference(run, share)[0], "+") if share else ""})
    return pd.DataFrame(rows)


def score(run: Run, share: float, metric: str) -> Estimate:
    """One of METRICS, all of them shares, with its interval over photos and seeds."""
    return effect(*_arrays(run, share, metric))[0].within(0, 1)


def difference(run: Run, share: float) -> tuple[Estimate, Estimate]:
    """AP of a share of pictures less that of photos alone, as `effect`."""
    (ours, ours_left_out), (base, base_left_out) = (_arrays(run, one, "AP") for one in (share, 0.0))
    return effect(ours - base, ours_left_out - base_left_out)


def sentences(run: Run) -> list[str]:
    """The verdict on both and on pictures alone against photos alone, or how to get it."""
    if not run.has(FILE):
        return [HOW]
    shares, lines = [share for share in _trainings(run) if share], []
    for share in [one for one in shares if one in SOURCES] or shares:
        (whole, photos), seeds = difference(run, share), len(_trainings(run)[share])
        apart = not whole.low <= 0 <= whole.high
        verdict = ("worse" if whole.value < 0 else "better") if apart else "not shown to differ"
        verdict += " than" if apart else " from"
        line = f"A detector trained on {_source(share)} is {verdict} one trained on photos alone: AP "
        line += f"{_shown(whole, '+')}, {photos.n} test photos, {seeds} seeds."
        lines.append(line if apart else f"{line} {needed(run, whole.value, share)}")
    return lines


def needed(run: Run, gap: float, share: float = 1.0) -> str:
    """How many test photos and seeds it takes to tell a gap in AP from none, as this study varies.

    Half of the variance that may stay for photos, half for seeds, at a power of 80 %.
    """
    if not gap:
        return "No number of photos tells a difference of 0."
    (whole, photos), seeds = difference(run, share), len(_trainings(run)[share])
    allowed = (abs(gap) / (special.ndtri((1 + LEVEL) / 2) + special.ndtri(0.8))) ** 2 / 2
    of_photos = photos.standard_error**2
    of_seeds = max(whole.standard_error**2 - of_photos, 0)
    more = max(photos.n * of_photos / allowed, 2), max(seeds * of_seeds / allowed, 2)
    needed_photos, needed_seeds = map(math.ceil, more)
    counts = f"{needed_photos:,} test photos and {needed_seeds:,} seeds"
    return f"To tell a gap of {abs(gap):.4f} it takes about {counts}."


def curve(run: Run) -> Figure:
    """AP over the share of made pictures, with intervals at 95 % over photos and seeds."""
    shares = [*_trainings(run)]
    found = [score(run, share, "AP") for share in shares]
    page = Figure(figsize=(6, 3.2), layout="constrained")
    axes = page.subplots()
    value, low, high = np.array([(one.value, one.low, one.high) for one in found]).T
    axes.errorbar(shares, value, [value - low, high - value], marker="o", capsize=3)
    axes.set(xlabel="share of made pictures in training", ylabel="AP on photos")
    return page


def _source(share: float) -> str:
    return SOURCES.get(share, f"{share:.0%} pictures, the rest photos")


def _trainings(run: Run) -> dict[float, list[dict]]:
    rows: dict[float, list[dict]] = {}
    for row in sorted(run.read_json(FILE)["trainings"], key=lambda row: (row["share"], row["seed"])):
        rows.setdefault(row["share"], []).append(row)
    return rows


def _arrays(run: Run, share: float, metric: str) -> tuple[np.ndarray, np.ndarray]:
    """Values (s,) and leave-one-out values (s, n) of a share, by seed."""
    rows = _trainings(run)[share]
    return np.array([row[metric] for row in rows]), np.array([row["left_out"][metric] for row in rows])


def _shown(estimate: Estimate, sign: str = "") -> str:
    return f"{estimate.value:{sign}.3f} ({estimate.low:{sign}.3f} to {estimate.high:{sign}.3f})"
