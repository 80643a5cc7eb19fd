import math

import numpy as np
import pytest

from helpers.scoring import intervals, significance
from helpers.scoring.adherence import Detections, average_precision
from helpers.scoring.intervals import Estimate, TooFew
from helpers.scoring.shares import share_difference
from helpers.scoring.significance import not_worse, paired_p, photos_needed


def test_for_means_the_paired_test_is_the_sign_flip():
    a, b = np.random.default_rng(0).normal(size=(2, 14)).astype(np.float32)
    parts = [part for x in (a, b) for part in (x.mean(dtype=float), (x.sum(dtype=float) - x) / 13)]
    assert paired_p(*parts) == pytest.approx(intervals.sign_flip(a.astype(float) - b), rel=1e-6)


@pytest.mark.parametrize("n", [3, 5, 6, 12])
def test_agreeing_photos_prove_what_their_number_allows(n):
    """One arm finds all, the other nothing: without a spread, and without certainty."""
    p = paired_p(1.0, np.ones(n), 0.0, np.zeros(n))
    assert p == intervals.paired(1.0, np.ones(n), 0.0, np.zeros(n)).p == pytest.approx(2 / 2**n)
    assert (p < 0.05) == (n >= significance.FEWEST_FOR_VERDICT)


def test_arms_that_differ_by_rounding_only_are_equal():
    left_out = np.random.default_rng(0).random(30)
    assert paired_p(0.5, left_out, 0.5 + 1e-16, left_out + 1e-16) == 1


def test_the_paired_test_of_ratios_keeps_its_level():
    """Arms with unequal numbers of boxes in the same photo, which differ in nothing else."""
    rng, p = np.random.default_rng(0), []
    for _ in range(600):
        counts = rng.integers(1, 5, 12) + rng.integers(0, 2, (2, 12))
        sums = rng.binomial(counts, np.clip(rng.normal(0.8, 0.1, 12), 0, 1))
        parts = [part for one in zip(sums, counts, strict=True) for part in intervals.ratio_left_out(*one)]
        p.append(paired_p(*parts))
    assert np.mean(np.array(p) < 0.05) <= 0.05 + 0.02


def test_the_paired_test_of_average_precision_keeps_its_level():
    rng, p = np.random.default_rng(0), []
    for _ in range(100):
        low = rng.uniform(0, 0.6, (8, 2, 2))
        asked = [Detections(np.concatenate([one, one + 0.3], axis=1), ("a", "b"), None) for one in low]
        parts = []
        for _ in range(2):
            moved = [
                Detections(one.boxes + rng.normal(0, 0.04, (2, 1)), one.labels, rng.random(2))
                for one in asked
            ]
            parts += average_precision([as_layout(one) for one in asked], moved).over["AP"]
        p.append(paired_p(*parts))
    assert np.mean(np.array(p) < 0.05) <= 0.05 + 0.05


def as_layout(one: Detections):
    return type("Asked", (), {"boxes": one.boxes, "labels": one.labels})()


@pytest.mark.parametrize("shape", ["exponential", "lognormal", "normal"])
def test_where_differences_are_skewed_flipping_signs_is_no_test_of_the_mean(shape):
    """What the report's limits say: 8 to 16 % instead of 5."""
    rng, found = np.random.default_rng(1), []
    for _ in range(600):
        z = rng.normal(size=20)
        skewed = {"exponential": rng.exponential(size=20) - 1, "lognormal": np.exp(z) - math.exp(0.5)}
        found.append(intervals.sign_flip(skewed.get(shape, z)) < 0.05)
    low, high = (0.02, 0.07) if shape == "normal" else (0.06, 0.17)
    assert low <= np.mean(found) <= high


@pytest.mark.parametrize("lower_is_better", [False, True])
@pytest.mark.parametrize("n", [8, 48])
def test_an_arm_worse_by_the_margin_seldom_passes_as_not_worse(n, lower_is_better):
    rng = np.random.default_rng(n)
    worse = 0.1 if lower_is_better else -0.1
    draws = [not_worse(intervals.mean(rng.normal(worse, 0.3, n)), 0.1, lower_is_better) for _ in range(1500)]
    assert np.mean([one.holds for one in draws]) <= 0.05 + 0.012
    assert all(one.holds == (one.p <= 0.05) == (one.bound < 0.1) for one in draws)


def test_a_share_worse_by_the_margin_at_the_ceiling_seldom_passes():
    rng, held = np.random.default_rng(0), []
    counts = np.full(48, 2)
    for _ in range(500):
        a, b = rng.binomial(2, 0.94, 48), rng.binomial(2, 0.99, 48)
        difference = share_difference(a, counts, b, counts, level=0.9)
        held.append(not_worse(difference, 0.05, bounds=(difference.low, difference.high)).holds)
    assert np.mean(held) <= 0.05 + 0.02


def test_not_worse_by_hand():
    difference = Estimate(-0.02, 0.01, -0.04, 0.0, 31)
    one = not_worse(difference, 0.05)
    assert one.bound == pytest.approx(0.02 + 1.697 * 0.01, abs=1e-4) and one.holds
    assert not not_worse(difference, 0.03).holds
    assert not_worse(difference, 0.001, lower_is_better=True).holds
    assert not not_worse(intervals.mean(np.zeros(5)), 1).holds  # too few, whatever they show
    counts = np.full(12, 2)
    both_full = share_difference(counts, counts, counts, counts, level=0.9)
    assert not not_worse(both_full, 0.01, bounds=(both_full.low, both_full.high)).holds
    with pytest.raises(ValueError, match="margin is 0"):
        not_worse(difference, 0)


@pytest.mark.parametrize("arms", [2, 3, 7])
def test_the_photos_needed_give_the_promised_power_among_all_comparisons(arms):
    """One arm differs from the baseline: found in 80 % of studies after Holm's correction."""
    needed = photos_needed(Estimate(0.5, 0.1, 0, 0, 100), comparisons=arms - 1)
    rng, n, found = np.random.default_rng(0), round(needed.estimate), []
    for _ in range(800):
        x = rng.normal(size=(arms, n)) / math.sqrt(2)
        x[1] += 0.5
        found.append(intervals.holm([intervals.mean(one - x[0]).p for one in x[1:]])[0] < 0.05)
    assert 0.76 <= np.mean(found) <= 0.86
    assert needed.low < needed.estimate < needed.high


def test_the_photos_needed_say_how_sure_they_are():
    rng, said = np.random.default_rng(0), []
    for _ in range(400):
        pilot = intervals.mean(rng.normal(0.35, 1, 48))
        needed = photos_needed(pilot)
        said.append(
            needed.low <= photos_needed(Estimate(0.35, 1 / math.sqrt(48), 0, 0, 48)).estimate <= needed.high
        )
    assert 0.43 <= np.mean(said) <= 0.57  # quartiles
    unsure = photos_needed(Estimate(0.1, 1, 0, 0, 48))
    assert math.isinf(unsure.high) and unsure.low < unsure.estimate < math.inf
    assert photos_needed(Estimate(0, 1, -2, 2, 48)).estimate == math.inf
    assert photos_needed(Estimate(1, 0, 1, 1, 3)).estimate == significance.FEWEST_FOR_VERDICT
    assert photos_needed(Estimate(1, 0, 1, 1, 3), comparisons=190).estimate == 13


def test_a_verdict_takes_six_photos():
    with pytest.raises(TooFew, match=r"at least 6 photos, got 3: .* p = 0.25"):
        significance.require_enough(3)
    significance.require_enough(6)


def test_holm_over_a_report_is_holm_over_all_of_its_questions():
    families = [[0.01, 0.04], [], [0.03, 0.005]]
    corrected = significance.holm_over(families)
    assert [len(one) for one in corrected] == [2, 0, 2]
    np.testing.assert_allclose(np.concatenate(corrected), intervals.holm([0.01, 0.04, 0.03, 0.005]))
    assert significance.holm_over([]) == []
