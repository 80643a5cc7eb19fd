import numpy as np
import pytest
import scipy.stats

from helpers.scoring import distances, intervals
from helpers.scoring.intervals import Estimate, TooFew

SPECTRUM = 1 / np.sqrt(
    np.arange(1.0, 9)
)  # standard deviations of features: a few strong directions, as networks have


def draw(rng: np.random.Generator, n: int, shifts: tuple[float, ...]) -> tuple[np.ndarray, list[np.ndarray]]:
    """Photos (n, 8) and one arm for each shift; arms share noise and photos, as pictures of one scene do."""
    photos, noise = rng.normal(size=(2, n, 8)) * SPECTRUM
    own = (rng.normal(size=(n, 8)) * SPECTRUM for _ in shifts)
    return photos, [
        1.2 * (0.6 * photos + 0.6 * noise + 0.5 * one) + shift * SPECTRUM
        for shift, one in zip(shifts, own, strict=True)
    ]


def frechet_difference(photos: np.ndarray, a: np.ndarray, b: np.ndarray) -> Estimate:
    return intervals.paired(*distances.paired_frechet(a, photos), *distances.paired_frechet(b, photos))


def covered(estimates: list[Estimate], truth: float) -> float:
    return float(np.mean([one.low <= truth <= one.high for one in estimates]))


def test_the_jackknife_of_a_mean_is_its_standard_error():
    values = np.random.default_rng(0).normal(size=17)
    left_out = (values.sum() - values) / 16
    by_jackknife, closed = intervals.jackknife(values.mean(), left_out), intervals.mean(values)
    assert by_jackknife.standard_error == pytest.approx(scipy.stats.sem(values))
    np.testing.assert_allclose(list(vars(by_jackknife).values()), list(vars(closed).values()))
    low, high = scipy.stats.t.interval(0.95, 16, values.mean(), scipy.stats.sem(values))
    assert (closed.low, closed.high) == (pytest.approx(low), pytest.approx(high))
    assert closed.p == pytest.approx(scipy.stats.ttest_1samp(values, 0).pvalue)


def test_an_interval_ends_where_the_true_value_cannot_lie():
    whole = intervals.mean([1, 1, 1, 1, 0.9])
    assert whole.high > 1 > whole.low
    share = whole.within(0, 1)
    assert (share.high, share.low) == (1, whole.low)
    assert (share.value, share.p, share.n) == (whole.value, whole.p, whole.n)
    low = intervals.mean([0, 0, 0, 0.1]).within(0, np.inf)
    assert low.low == 0 < low.high


def test_a_ratio_leaves_a_photo_out_with_all_its_boxes():
    sums, counts = np.array([1.0, 0, 2.5]), np.array([2, 1, 3])
    value, left_out = intervals.ratio_left_out(sums, counts)
    assert value == pytest.approx(3.5 / 6)
    np.testing.assert_allclose(left_out, [2.5 / 4, 3.5 / 5, 1 / 3])


def test_what_two_arms_share_cancels_in_a_paired_difference():
    rng = np.random.default_rng(0)
    photo, a, b = rng.normal(size=(3, 50))
    a, b = 10 * photo + a, 10 * photo + b
    left_out = [(x.sum() - x) / 49 for x in (a, b)]
    paired = intervals.paired(a.mean(), left_out[0], b.mean(), left_out[1])
    assert paired.standard_error == pytest.approx(scipy.stats.sem(a - b))
    assert paired.standard_error < intervals.mean(a).standard_error / 5
    assert paired.p == pytest.approx(scipy.stats.ttest_rel(a, b).pvalue)


@pytest.mark.parametrize("distance", ["frechet", "kid"])
def test_intervals_of_a_difference_between_arms_cover(distance):
    """300 and 900 draws: 93 to 97 % of intervals hold the true difference, which is measured with all draws
    together."""
    measure = getattr(distances, f"paired_{distance}")
    rng, estimates = np.random.default_rng(4), []
    for _ in range({"frechet": 300, "kid": 900}[distance]):
        photos, arms = draw(rng, 30, (0.5, 0.8))
        parts = [part for arm in arms for part in measure(arm, photos)[:2]]
        estimates.append(intervals.paired(*parts))
    assert 0.93 <= covered(estimates, float(np.mean([one.value for one in estimates]))) <= 0.97


def test_intervals_of_one_distance_cover():
    rng, estimates = np.random.default_rng(7), []
    for _ in range(300):
        photos, (arm,) = draw(rng, 30, (0.5,))
        estimates.append(intervals.jackknife(*distances.paired_frechet(arm, photos)))
    assert 0.93 <= covered(estimates, float(np.mean([one.value for one in estimates]))) <= 0.97


def test_two_equal_arms_are_called_different_in_at_most_six_percent():
    rng, p = np.random.default_rng(2), []
    for _ in range(300):
        photos, arms = draw(rng, 30, (0.5, 0.5))
        p.append(frechet_difference(photos, *arms).p)
    assert np.mean(np.array(p) < 0.05) <= 0.06


def test_at_a_perfect_generator_the_interval_is_too_wide_and_never_too_narrow():
    """There the distance has no linear part and the jackknife counts the quadratic one double."""
    rng, estimates = np.random.default_rng(3), []
    for _ in range(150):
        photos, a, b = rng.normal(size=(3, 30, 8)) * SPECTRUM
        estimates.append(frechet_difference(photos, a, b))
    spread = np.std([one.value for one in estimates])
    assert 1 <= np.mean([one.standard_error for one in estimates]) / spread <= 1.6
    assert covered(estimates, 0) >= 0.95


def test_several_equal_arms_are_seldom_called_different_after_holm():
    rng, wrong = np.random.default_rng(0), []
    for _ in range(400):
        arms = rng.normal(size=(4, 25)) + rng.normal(size=25)
        pairs = [(i, j) for i in range(4) for j in range(i)]
        p = [intervals.mean(arms[i] - arms[j]).p for i, j in pairs]
        wrong.append((min(p) < 0.05, intervals.holm(p).min() < 0.05))
    uncorrected, corrected = np.mean(wrong, axis=0)
    assert corrected <= 0.06 < uncorrected


def test_a_percentile_bootstrap_of_the_frechet_distance_fails():
    """Photos drawn twice shrink the covariance: the interval lies above the value it should hold."""
    rng, held = np.random.default_rng(0), []
    draws = [draw(rng, 30, (0.1,)) for _ in range(60)]
    truth = np.mean([distances.frechet_distance(arms[0], photos) for photos, arms in draws])
    for photos, (arm,) in draws[:30]:
        again = (rng.integers(30, size=30) for _ in range(100))
        values = [distances.frechet_distance(arm[pick], photos[pick]) for pick in again]
        low, high = np.quantile(values, [0.025, 0.975])
        held.append(low <= truth <= high)
    assert np.mean(held) < 0.8


def test_holm_by_hand():
    np.testing.assert_allclose(intervals.holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(intervals.holm([0.9, 0.6]), [1, 1])
    assert intervals.holm([]).shape == (0,)


@pytest.mark.parametrize("differences", [np.arange(-3.0, 8), np.array([1.0, 1, 1, -1, 0, 2, 0.5])])
def test_sign_flip_agrees_with_scipy(differences):
    reference = scipy.stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=np.inf, alternative="two-sided"
    )
    assert intervals.sign_flip(differences) == pytest.approx(reference.pvalue)


def test_sign_flip_counts_all_flips_where_it_can_and_draws_them_elsewhere(monkeypatch):
    d = np.random.default_rng(1).normal(0.4, 1, 22)
    exact = intervals.sign_flip(d)
    monkeypatch.setattr(intervals, "EXACT_LIMIT", 10)
    drawn = intervals.sign_flip(d)
    assert drawn != exact and drawn == pytest.approx(exact, abs=4 * np.sqrt(exact / intervals.DRAWS))


def test_sign_flip_of_nothing_and_of_one_sign():
    assert intervals.sign_flip(np.zeros(5)) == 1
    assert intervals.sign_flip(np.ones(40)) == pytest.approx(2 / 2**40)
    assert intervals.sign_flip(np.array([1.0, -1, 1, -1])) == 1
    with pytest.raises(ValueError, match="difference 1"):
        intervals.sign_flip(np.array([1.0, np.nan]))


def test_sign_flip_keeps_its_level():
    rng = np.random.default_rng(0)
    p = np.array(
        [intervals.sign_flip(rng.exponential(size=12) * rng.choice([-1, 1], 12)) for _ in range(600)]
    )
    assert 0.03 <= np.mean(p <= 0.05) <= 0.065


def test_too_few_photos_are_said():
    with pytest.raises(TooFew, match="at least 2 photos, got 1"):
        intervals.mean(np.ones(1))
    with pytest.raises(TooFew, match="got 1"):
        intervals.jackknife(3.0, np.ones(1))
    with pytest.raises(TooFew, match="1 photo only"):
        intervals.ratio_left_out(np.array([1.0, 0]), np.array([2, 0]))
    with pytest.raises(ValueError, match="nan"):
        intervals.estimate(float("nan"), 1, 5)
    with pytest.raises(ValueError, match="2 photos and the other 3"):
        intervals.paired(0, np.ones(2), 0, np.ones(3))
