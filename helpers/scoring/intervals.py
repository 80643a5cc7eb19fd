"""How sure a number is: standard errors by leaving one photo out, paired differences, and tests. Pure.

Photos are the unit that was drawn by chance: every standard error here says how the number would move with
other photos of the same kind, not with other boxes, pixels or seeds.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import special

LEVEL = 0.95
EXACT_LIMIT = 40  # differences up to which all 2^n sign flips are counted
DRAWS = 100_000  # sign flips drawn beyond that


class TooFew(ValueError):
    """There are too few photos for an interval; the message says how many there are and how many it takes."""


@dataclass(frozen=True)
class Estimate:
    """A number with its standard error and its interval [low, high] at 95 % from n photos."""

    value: float
    standard_error: float
    low: float
    high: float
    n: int

    @property
    def p(self) -> float:
        """Two-sided p of value 0 by Student's t with n - 1 degrees of freedom; 1 where the value is 0.

        At least 2 / 2^n, what n photos that all agree can show: a standard error of 0 proves no more.
        """
        if self.value == 0:
            return 1.0
        ratio = abs(self.value) / self.standard_error if self.standard_error else math.inf
        return max(2.0 ** (1 - self.n), float(2 * special.stdtr(self.n - 1, -ratio)))

    def within(self, least: float, most: float) -> "Estimate":
        """The same, its interval ending where the true value cannot lie: it covers as often as before."""
        return replace(self, low=max(self.low, least), high=min(self.high, most))


@dataclass(frozen=True, eq=False)
class Measured:
    """One metric of one arm. value: from all n scenes; left_out: (n,) without scene i.

    sums, counts: (n,) where the metric is a mean, of photos or of boxes, with value = sum(sums) /
    sum(counts). pair_variance, bias: where it is a mean over pairs of scenes, see `quadratic`.
    """

    value: float
    left_out: np.ndarray
    sums: np.ndarray | None = None
    counts: np.ndarray | None = None
    pair_variance: float | None = None
    bias: float | None = None


def estimate(value: float, standard_error: float, n: int) -> Estimate:
    """The Student interval with n - 1 degrees of freedom. Raises TooFew for n below 2, ValueError for NaN."""
    if n < 2:
        raise TooFew(f"an interval needs at least 2 photos, got {n}")
    if not (math.isfinite(value) and math.isfinite(standard_error)):
        raise ValueError(f"no interval around {value} with standard error {standard_error}")
    value, standard_error = float(value), float(standard_error)
    reach = quantile((1 + LEVEL) / 2, n - 1) * standard_error
    return Estimate(value, standard_error, value - reach, value + reach, n)


def jackknife(value: float, left_out: np.ndarray) -> Estimate:
    """The interval of a statistic from its values with photo i left out (Efron and Stein 1981).

    value: from all n photos. left_out: (n,) the same statistic without photo i.
    The interval is for what the statistic is at this n on average: a bias that depends on n, as the Fréchet
    distance has, is shared by arms of the same n and stays in the value.
    """
    left_out = np.asarray(left_out, np.float64)
    n = len(left_out)
    return estimate(value, math.sqrt((n - 1) / n * np.square(left_out - left_out.mean()).sum()), n)


def quadratic(value: float, left_out: np.ndarray, pair_variance: float, bias: float = 0) -> Estimate:
    """The interval of one `distances.paired_kid` or `paired_cmmd`: a mean over pairs of scenes; or of
    `attributes.kl_to_uniform`, which is nearly one, and on average too large by a bias.

    Its variance is that of a linear part, which is 0 where the true value is 0 and grows with it, and that of
    the pairs, 2 pair_variance / (n (n - 1)), which stays (Hoeffding 1948). Leaving one out counts the second
    one double (Efron and Stein 1981), and near 0 moves with the value itself, so a jackknife interval holds a
    true 0 in 97 to 100 %. Here, as in Wilson's interval of a share, the variance is taken at each value that
    is asked about: pairs + max(0, jackknife - pairs) * max(0, asked) / max(value, 2 sqrt(pairs)), never below
    that of the pairs. In simulations (features as networks have them, 12 to 200 scenes, correlation 0 to 0.9
    with the own photo) it
    holds a true 0 in 95 to 98 % and others in 94 to 98 %.

    A difference of two arms keeps the jackknife, for 0 does not say there that the linear part is 0: equal
    arms are called different in at most 6 %, where the variance without bias (jackknife - pairs) does so in
    up to 8 %. left_out: (n,). The standard error is half of the interval in Student's unit.
    """
    n, pairs = len(left_out), 2 * pair_variance / (len(left_out) * (len(left_out) - 1))
    given, value = value, value - bias
    least, reach = math.sqrt(pairs), quantile((1 + LEVEL) / 2, n - 1)
    linear = max(0.0, jackknife(value, left_out).standard_error ** 2 - pairs)
    slope = linear / max(value, 2 * least) if linear else 0.0
    middle = value + reach**2 * slope / 2
    half = reach * math.sqrt(max(0.0, pairs + slope * value + reach**2 * slope**2 / 4))
    low = middle - half if value > reach * least else value - reach * least
    high = middle + half if value > -reach * least else value + reach * least
    return Estimate(float(given), (high - low) / (2 * reach), float(low), float(high), n)


def mean(values: np.ndarray) -> Estimate:
    """The mean of one value a photo, (n,): the jackknife in closed form."""
    values = np.asarray(values, np.float64)
    if len(values) < 2:
        raise TooFew(f"an interval needs at least 2 photos, got {len(values)}")
    return estimate(values.mean(), values.std(ddof=1) / math.sqrt(len(values)), len(values))


def ratio_left_out(sums: np.ndarray, counts: np.ndarray) -> tuple[float, np.ndarray]:
    """sum(sums) / sum(counts), and the same without photo i, (n,): means over boxes.

    sums, counts: (n,) per photo. Raises TooFew where a single photo holds everything that is counted.
    """
    sums, counts = np.asarray(sums, np.float64), np.asarray(counts, np.float64)
    rest = counts.sum() - counts
    if not (rest > 0).all():
        raise TooFew(f"what is counted stands in {int((counts > 0).sum())} photo only: at least 2 are needed")
    return float(sums.sum() / counts.sum()), (sums.sum() - sums) / rest


def paired(value: float, left_out: np.ndarray, other: float, other_left_out: np.ndarray) -> Estimate:
    """value - other, where photo i is left out of both: what the arms share cancels.

    left_out, other_left_out: (n,) in the same order of photos. Raises ValueError for unequal n.
    """
    if len(left_out) != len(other_left_out):
        raise ValueError(
            f"paired by photo, but one arm has {len(left_out)} photos and the other {len(other_left_out)}"
        )
    return jackknife(
        float(value) - float(other), np.asarray(left_out, np.float64) - np.asarray(other_left_out, np.float64)
    )


def holm(p_values: Sequence[float]) -> np.ndarray:
    """p values corrected for their number (Holm 1979), (k,) in the same order, at most 1.

    Calling those below 0.05 different is wrong anywhere in the table in at most 5 % of tables.
    """
    p = np.asarray(p_values, np.float64)
    order = np.argsort(p, kind="stable")
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return adjusted


def sign_flip(differences: np.ndarray, seed: int = 0) -> float:
    """Two-sided permutation p of one difference a photo, were its sign as likely to be the other.

    differences: (n,). All 2^n sign flips are counted up to EXACT_LIMIT differences that are not 0; beyond
    that, DRAWS flips are drawn and the observed one is counted among them, which keeps the level exact.
    What is tested is that each difference could as well have had the other sign, as where the arms do not
    differ. It is not that the mean is 0: where few photos win by much and many lose by little, that is called
    different in 8 to 16 % instead of 5 %.
    """
    differences = np.asarray(differences, np.float64)  # all sums in one precision
    d = np.abs(differences)
    if not np.isfinite(d).all():
        raise ValueError(f"difference {int(np.argmin(np.isfinite(d)))} is not a number")
    observed = abs(float(differences.sum())) - 1e-9 * d.sum()  # equal sums, added in another order, are equal
    d = d[d > 0]
    if len(d) == 0:
        return 1.0
    if len(d) > EXACT_LIMIT:
        rng, sums = np.random.default_rng(seed), np.zeros(DRAWS)
        for start in range(0, len(d), 8):  # the signs of eight differences in one draw
            known = _all_sums(d[start : start + 8])
            sums += known[rng.integers(len(known), size=DRAWS, dtype=np.uint16)]
        return (1 + int((np.abs(sums) >= observed).sum())) / (1 + DRAWS)
    first, second = (_all_sums(half) for half in (d[::2], d[1::2]))
    second.sort()
    above = len(second) - np.searchsorted(second, observed - first, "left")
    return min(1.0, 2 * int(above.sum()) / (len(first) * len(second)))  # the sums lie symmetrically around 0


def quantile(share: float, freedom: float) -> float:
    """Student's quantile with that many degrees of freedom."""
    return float(special.stdtrit(freedom, share))


def _all_sums(values: np.ndarray) -> np.ndarray:
    """Sums of the values under all 2^n choices of signs, (2^n,)."""
    sums = np.zeros(1)
    for value in values:
        sums = np.concatenate([sums - value, sums + value])
    return sums
