"""What may be claimed from a difference between two arms: tests, margins, and how many photos it would take.
Pure.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import special

from helpers.scoring.intervals import LEVEL, Estimate, TooFew, holm, quantile, sign_flip

POWER = 0.8  # that a study of the photos needed has
FEWEST_FOR_VERDICT = 6  # photos from which 2 / 2^n, the least p there is, lies below 0.05


class NotWorse(NamedTuple):
    """Whether an arm is not worse than another by more than a margin, at one-sided 95 %.

    bound: the most by which it may be worse, in the metric's unit (negative: it is better). p: of being worse
    by the margin or more.
    """

    holds: bool
    bound: float
    p: float


class PhotosNeeded(NamedTuple):
    """How many photos would tell a difference from 0. low, high: the quartiles of what such a study would say
    of itself; high is infinite where the difference may be none.
    """

    estimate: float
    low: float
    high: float


def require_enough(n: int) -> None:
    """Raises TooFew where n photos are too few for any verdict."""
    if n < FEWEST_FOR_VERDICT:
        raise TooFew(
            f"a verdict needs at least {FEWEST_FOR_VERDICT} photos, got {n}: "
            f"photos that all agree would give p = {2.0 ** (1 - n):.2g}"
        )


def paired_p(value: float, left_out: np.ndarray, other: float, other_left_out: np.ndarray) -> float:
    """Two-sided p of value - other for any metric, by the sign flip of each photo's part in the difference.

    Arguments as `intervals.paired`. A photo's part is its pseudo-value less the bias, n times the mean for
    means: for means of one value per photo it is `intervals.sign_flip`, for ratios and AP nearly so. In [2 /
    2^n, 1].
    """
    left_out, others = np.asarray(left_out, np.float64), np.asarray(other_left_out, np.float64)
    n, gaps = len(left_out), left_out - others
    parts = float(value) - float(other) + (n - 1) * (gaps.mean() - gaps)
    scale = max(np.abs(left_out).max(), np.abs(others).max())
    parts[np.abs(parts) <= 1e-12 * n * scale] = 0  # rounding is no difference
    return sign_flip(parts)


def not_worse(
    difference: Estimate,
    margin: float,
    lower_is_better: bool = False,
    bounds: tuple[float, float] | None = None,
) -> NotWorse:
    """Non-inferiority: an arm is not worse than another by `margin` or more (one-sided 95 %, paired).

    difference: arm minus other, as `intervals.paired`. margin: above 0, in the metric's unit, declared
    before. bounds: the two one-sided 95 % limits of the difference, where they are not Student's: for shares
    `shares.share_difference(..., level=0.9)`, low and high. Never holds for fewer than FEWEST_FOR_VERDICT.
    Raises ValueError for a margin that is not above 0.
    """
    if not margin > 0:
        raise ValueError(f"the margin is {margin}; it must be above 0, in the metric's unit")
    n, worse = difference.n, difference.value if lower_is_better else -difference.value
    reach = quantile(LEVEL, n - 1)
    error = difference.standard_error
    if bounds is None:
        bound = worse + reach * error
    else:
        bound = bounds[1] if lower_is_better else -bounds[0]
        error = (bound - worse) / reach
    ratio = (margin - worse) / error if error > 0 else math.copysign(math.inf, margin - worse)
    p = max(2.0**-n, float(special.stdtr(n - 1, -ratio)))
    return NotWorse(n >= FEWEST_FOR_VERDICT and bound < margin and p <= 1 - LEVEL, float(bound), p)


def photos_needed(difference: Estimate, comparisons: int = 1) -> PhotosNeeded:
    """How many photos would tell such a difference from 0 with POWER among so many comparisons.

    By Student's t (noncentral) at 5 % divided by the comparisons, which Holm's correction is never stricter
    than. low and high are for the difference's quartiles (value -+ Student's 75 % quantile times its standard
    error): half of such studies would name a number between them. Infinite for a difference of 0.
    """
    n, spread = difference.n, difference.standard_error * math.sqrt(difference.n)
    quartile = quantile(0.75, n - 1) * difference.standard_error
    values = (abs(difference.value) + shift for shift in (0, quartile, -quartile))
    return PhotosNeeded(*(_photos(value, spread, (1 - LEVEL) / comparisons) for value in values))


def _photos(value: float, spread: float, level: float) -> float:
    if value <= 0:
        return math.inf
    least = max(FEWEST_FOR_VERDICT, math.ceil(math.log2(2 / level)))  # 2 / 2^n is below the level from here
    effect = min(value / spread, 10.0) if spread > 0 else 10.0
    by_normal = ((special.ndtri(POWER) - special.ndtri(level / 2)) / effect) ** 2
    if by_normal > 10_000:
        return float(by_normal)
    n = max(least, math.floor(by_normal))
    while special.nctdtr(n - 1, effect * math.sqrt(n), quantile(1 - level / 2, n - 1)) > 1 - POWER:
        n += 1
    return float(n)


def holm_over(families: Sequence[Sequence[float]]) -> list[np.ndarray]:
    """`intervals.holm` over all questions of a report at once, in the shape of the questions.

    families: the p values of each question. The chance of any false claim in the report is then at most 5 %;
    the number of comparisons made is the sum of the lengths.
    """
    ends = np.cumsum([len(family) for family in families])[:-1]
    return np.split(holm(np.concatenate([np.empty(0), *families])), ends) if len(families) else []
