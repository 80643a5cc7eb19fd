"""Simulations: pictures of the photos' own distribution, true distance 0, that resemble their own photos; and
pictures whose features are shifted, at a true distance above 0."""

import numpy as np
import pytest

from helpers.scoring import intervals
from helpers.scoring.distances import crossed_frechet, paired_frechet, paired_kid

CORRELATIONS = (0, 0.5, 0.9)
N, DIMENSIONS = 32, 48
STUDIES = {12: 500, 48: 400, 200: 120}  # scenes -> studies drawn
SHIFTS = (0, 0.06, 0.2)  # of all features, in their largest standard deviation


def features(z: np.ndarray, shift: float = 0) -> np.ndarray:
    """Features as networks have them: not negative, a few strong directions, float32."""
    return np.maximum(0, 0.3 + shift + z / np.sqrt(np.arange(1, DIMENSIONS + 1))).astype(np.float32)


def study(rng: np.random.Generator, n: int = N, shift: float = 0) -> tuple[np.ndarray, list[np.ndarray]]:
    """Photos, and pictures for each correlation with the own photo; arms share noise, as seeds do."""
    photos, shared = rng.normal(size=(2, n, DIMENSIONS))
    noise = (0.7 * shared + np.sqrt(0.51) * rng.normal(size=photos.shape) for _ in CORRELATIONS)
    arms = [r * photos + np.sqrt(1 - r * r) * e for r, e in zip(CORRELATIONS, noise, strict=True)]
    return features(photos), [features(arm, shift) for arm in arms]


@pytest.fixture(scope="module")
def true() -> dict[float, float]:
    """The distance of each shift, from many more pictures."""
    rng, values = np.random.default_rng(0), {}
    for shift in SHIFTS[1:]:
        drawn = (study(rng, 2000, shift) for _ in range(3))
        values[shift] = np.mean([paired_kid(arms[2], photos)[0] for photos, arms in drawn])
    return {0: 0.0} | values


@pytest.fixture(scope="module", params=STUDIES)
def by_kid(request) -> dict[float, list[list[tuple[float, np.ndarray, float]]]]:
    """`paired_kid` of each arm in each study with so many scenes, by shift."""
    n, rng, rows = request.param, np.random.default_rng(request.param), {}
    for shift in SHIFTS:
        drawn = (study(rng, n, shift) for _ in range(STUDIES[n]))
        rows[shift] = [[paired_kid(arm, photos) for arm in arms] for photos, arms in drawn]
    return rows


@pytest.mark.parametrize("shift", SHIFTS)
def test_the_interval_of_kid_holds_the_true_distance_at_nought_and_above(by_kid, true, shift):
    """93 to 97 % at 0, whatever the resemblance; above it up to 98 %. Three standard errors are chance."""
    for k, _ in enumerate(CORRELATIONS):
        estimates = [intervals.quadratic(*row[k]) for row in by_kid[shift]]
        held = np.mean([one.low <= true[shift] <= one.high for one in estimates])
        chance = 3 * np.sqrt(0.05 * 0.95 / len(estimates))
        assert 0.93 - chance <= held <= (0.98 if shift else 0.97) + chance, held
        values = np.array([one.value for one in estimates])
        assert abs(values.mean() - true[shift]) < 4 * values.std() / np.sqrt(len(values))


def test_leaving_one_out_alone_holds_a_true_nought_too_often(by_kid):
    """What the interval mends: the linear part is 0 there, and the jackknife moves with the value itself."""
    for k, _ in enumerate(CORRELATIONS):
        plain = [intervals.jackknife(*row[k][:2]) for row in by_kid[0]]
        assert np.mean([one.low <= 0 <= one.high for one in plain]) >= 0.96
        assert np.mean([one.standard_error for one in plain]) > 1.15 * np.std([one.value for one in plain])


@pytest.mark.parametrize("shift", SHIFTS)
def test_equal_arms_that_resemble_their_photos_differently_are_seldom_told_apart(by_kid, shift):
    for first, second in ((2, 0), (1, 0)):
        p = [intervals.paired(*row[first][:2], *row[second][:2]).p for row in by_kid[shift]]
        assert np.mean(np.array(p) < 0.05) <= 0.06 + 2 * np.sqrt(0.06 * 0.94 / len(p))


def test_kid_without_own_pairs_still_tells_other_arms_apart():
    rng, p = np.random.default_rng(1), []
    for _ in range(60):
        photos, arms = study(rng)
        parts = [paired_kid(arm, photos)[:2] for arm in (arms[1] + 0.25, arms[1])]
        p.append(intervals.paired(*parts[0], *parts[1]).p)
    assert np.mean(np.array(p) < 0.05) > 0.8


def test_the_crossed_frechet_distance_is_that_of_photos_whatever_they_resemble():
    """Its interval holds what photos get among themselves, and equal arms are seldom told apart."""
    rng, rows = np.random.default_rng(2), []
    for _ in range(150):
        photos, arms = study(rng)
        rows.append([crossed_frechet(one, photos) for one in (photos, arms[0], arms[2])])
    values = np.array([[value for value, _ in row] for row in rows])
    control = values[:, 0].mean()
    for k in (1, 2):
        assert abs(values[:, k].mean() - control) < 4 * values[:, k].std() / np.sqrt(150)
        held = [
            abs(control - one.value) <= one.high - one.value
            for one in (intervals.jackknife(*r[k]) for r in rows)
        ]
        assert np.mean(held) >= 0.92
    p = [intervals.paired(*row[2], *row[1]).p for row in rows]
    assert np.mean(np.array(p) < 0.05) <= 0.06
    own = [paired_frechet(arms[2], photos)[0] for photos, arms in (study(rng) for _ in range(20))]
    assert np.mean(own) < 0.7 * control
