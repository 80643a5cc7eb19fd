import numpy as np
import pytest

from helpers.scoring.intervals import TooFew
from helpers.scoring.shares import share_difference, share_interval


def boxes(rng: np.random.Generator, n: int, per_photo: str, share: float, correlation: float) -> tuple:
    """Found boxes and boxes per photo, (n,) each: boxes of one photo are correlated."""
    counts = rng.integers(1, 5, n) if per_photo == "1 to 4" else np.full(n, int(per_photo))
    odds = (1 - correlation) / max(correlation, 1e-9)
    chance = rng.beta(share * odds, (1 - share) * odds, n) if correlation else share
    return rng.binomial(counts, chance), counts


@pytest.mark.parametrize("correlation", [0, 0.3])
@pytest.mark.parametrize("per_photo", ["1", "4", "1 to 4"])
@pytest.mark.parametrize("n", [12, 48, 200])
def test_intervals_of_shares_cover_up_to_the_ceiling(n, per_photo, correlation):
    """91 to 99 % of intervals hold the true share, 300 draws each: 3.5 % are left to chance."""
    rng = np.random.default_rng(n)
    for share in (0.5, 0.8, 0.95, 0.976, 0.99):
        found = [share_interval(*boxes(rng, n, per_photo, share, correlation)) for _ in range(300)]
        held = np.mean([one.low <= share <= one.high for one in found])
        assert 0.91 - 0.035 <= held <= 0.99 + 0.01
        assert all(0 <= one.low < one.high <= 1 for one in found)


def test_all_found_is_not_known_exactly():
    all_found = share_interval(np.full(48, 2), np.full(48, 2))
    assert all_found.value == all_found.high == 1
    assert 0.93 < all_found.low < 0.98 and all_found.standard_error > 0
    none = share_interval(np.zeros(48), np.full(48, 2))
    assert (none.low, none.high) == (0, pytest.approx(1 - all_found.low))


def test_boxes_that_go_together_count_less():
    counts, half = np.full(40, 4), np.arange(40) % 2 == 0
    together, apart = share_interval(half * 4, counts), share_interval(np.full(40, 2), counts)
    assert together.value == apart.value == 0.5
    assert together.high - together.low > 2 * (apart.high - apart.low)


@pytest.mark.parametrize(("p", "q"), [(0.99, 0.99), (0.95, 0.9), (0.7, 0.6)])
def test_differences_of_shares_cover_and_have_a_width(p, q):
    rng, differences = np.random.default_rng(3), []
    for _ in range(400):
        ease, counts = rng.normal(size=48), rng.integers(1, 5, 48)
        sets = []
        for share in (p, q):
            own = rng.normal(size=(48, 4)) * 0.8 + 0.6 * ease[:, None]
            hit = own < np.quantile(rng.normal(size=20_000), share)
            sets += [(hit & (np.arange(4) < counts[:, None])).sum(1), counts]
        differences.append(share_difference(*sets))
    assert np.mean([one.low <= p - q <= one.high for one in differences]) >= 0.92
    assert all(one.high > one.low for one in differences)


def test_two_arms_that_find_everything_need_not_be_equal():
    counts = np.full(48, 2)
    same = share_difference(counts, counts, counts, counts)
    assert same.value == 0 and same.low == pytest.approx(-same.high) and same.high > 0.02
    small, large = (share_difference(*[np.full(n, 2)] * 4) for n in (12, 200))
    assert small.high > same.high > large.high


def test_no_share_is_said():
    with pytest.raises(ValueError, match=r"photo 1: 3.0 of 2.0"):
        share_interval([1, 3], [2, 2])
    with pytest.raises(TooFew, match="at least 2 photos that count anything, got 1"):
        share_interval([1, 0], [2, 0])
