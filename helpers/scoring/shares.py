"""Intervals for shares of boxes, and for their differences, that hold near 0 and 1 as well. Pure.

Leaving one photo out says "known exactly" where all is found: 48 of 48 is not known exactly. In simulations
(12 to 200 photos of 1 to 4 boxes, correlated 0 to 0.3 in a photo, shares 0.5 to 0.99) these hold the true
share in 91 to 99 %.
"""

import math

import numpy as np
from scipy import special

from helpers.scoring.intervals import LEVEL, Estimate, TooFew, quantile

USUAL_CORRELATION = 0.15  # of boxes of one photo, where the photos do not tell
_WEIGHT = 4  # photos that this assumption counts for


def share_interval(sums: np.ndarray, counts: np.ndarray) -> Estimate:
    """Interval of a share of boxes that are drawn by photo, sum(sums) / sum(counts): Jeffreys' (Brown et al.
    2001) with the effective number of boxes, in [0, 1] and never of width 0.

    sums, counts: (n,) what holds and what could, per photo, 0 <= sums <= counts; photos that count nothing
    are left out. The standard error is the interval's half width in Student's unit. The effective number is
    the number of boxes by the design effect (how much boxes of a photo resemble each other), which near 0 and
    1 rests on few photos and is drawn towards USUAL_CORRELATION with the weight of four. Raises TooFew for
    fewer than 2 photos that count anything, ValueError for sums outside of [0, counts].
    """
    sums, counts = _shares(sums, counts)
    there = counts > 0
    share, low, high, reach = _limits(sums[there], counts[there], LEVEL)
    return Estimate(share, (high - low) / (2 * reach), low, high, int(there.sum()))


def share_difference(
    sums: np.ndarray,
    counts: np.ndarray,
    other_sums: np.ndarray,
    other_counts: np.ndarray,
    level: float = LEVEL,
) -> Estimate:
    """Interval of the difference of two such shares on the same photos (Newcombe 1998, method 10), never of
    width 0: two arms that find everything need not be equal.

    (n,) each, photo i in row i of all. Raises as `share_interval`.
    """
    sets = _shares(sums, counts), _shares(other_sums, other_counts)
    (p, p_low, p_high, reach), (q, q_low, q_high, _) = (_limits(x, c, level) for x, c in sets)
    e, f = ((x - share * c) for (x, c), share in zip(sets, (p, q), strict=True))
    scale = math.sqrt(np.square(e).sum() * np.square(f).sum())
    telling = min(_telling(*one) for one in sets)
    together = float(e @ f) / scale * telling / (telling + _WEIGHT) if scale > 0 else 0.0

    def gap(a: float, b: float) -> float:
        return math.sqrt(max(0.0, a * a + b * b - 2 * together * a * b))

    low, high = p - q - gap(p - p_low, q_high - q), p - q + gap(p_high - p, q - q_low)
    return Estimate(p - q, (high - low) / (2 * reach), max(-1.0, low), min(1.0, high), len(sums))


def _shares(sums: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    sums, counts = np.asarray(sums, np.float64), np.asarray(counts, np.float64)
    if bad := np.flatnonzero(~((sums >= -1e-9) & (sums <= counts + 1e-9))).tolist():
        raise ValueError(f"photo {bad[0]}: {sums[bad[0]]} of {counts[bad[0]]} is no share")
    if (there := int((counts > 0).sum())) < 2:
        raise TooFew(f"an interval needs at least 2 photos that count anything, got {there}")
    return sums, counts


def _telling(sums: np.ndarray, counts: np.ndarray) -> int:
    """Photos that tell how boxes go together: with a miss, or with a find, whichever are fewer."""
    return int(min((counts - sums > 1e-9).sum(), (sums > 1e-9).sum()))


def _limits(sums: np.ndarray, counts: np.ndarray, level: float) -> tuple[float, float, float, float]:
    """Share, its two limits, and Student's quantile of the effective number of photos less one."""
    total, n = counts.sum(), int((counts > 0).sum())
    p = min(1.0, max(0.0, float(sums.sum() / total)))
    by_chance = p * (1 - p) / total
    seen = n / (n - 1) * np.square(sums - p * counts).sum() / total**2
    effect = seen / by_chance if by_chance > 0 else 0.0
    a_photo = np.square(counts).sum() / total  # boxes of the photo that a box is in, on average
    telling, usual = _telling(sums, counts), 1 + (a_photo - 1) * USUAL_CORRELATION
    effect = max(0.3, (telling * effect + _WEIGHT * usual) / (telling + _WEIGHT))
    reach = quantile((1 + level) / 2, max(1.0, total / a_photo - 1))
    boxes = total / effect * (special.ndtri((1 + level) / 2) / reach) ** 2
    beta = p * boxes + 0.5, (1 - p) * boxes + 0.5
    low, high = (float(special.betaincinv(*beta, q)) for q in ((1 - level) / 2, (1 + level) / 2))
    return p, low if p > 0 else 0.0, high if p < 1 else 1.0, reach
