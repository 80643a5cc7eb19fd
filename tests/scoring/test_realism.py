"""Simulations: pictures of the photos' own distribution, true distance 0, that resemble their own photos."""

import numpy as np
import pytest

from helpers.scoring import distances, intervals
from helpers.scoring.distances import crossed_frechet, kid, kid_leave_one_out

CORRELATIONS = (0, 0.3, 0.6, 0.9)
N, DIMENSIONS, DRAWS = 32, 48, 250


def features(z: np.ndarray) -> np.ndarray:
    """Features as networks have them: not negative, a few strong directions, float32."""
    return np.maximum(0, 0.3 + z / np.sqrt(np.arange(1, DIMENSIONS + 1))).astype(np.float32)


def study(rng: np.random.Generator) -> tuple[np.ndarray, list[np.ndarray]]:
    """Photos, and pictures of the same distribution for each correlation with the own photo."""
    photos, shared = rng.normal(size=(2, N, DIMENSIONS))
    noise = (0.7 * shared + np.sqrt(0.51) * rng.normal(size=photos.shape) for _ in CORRELATIONS)
    arms = [r * photos + np.sqrt(1 - r * r) * e for r, e in zip(CORRELATIONS, noise, strict=True)]
    return features(photos), [features(arm) for arm in arms]


@pytest.fixture(scope="module")
def by_kid() -> dict[bool, list[list[tuple[float, np.ndarray]]]]:
    """Value and left-out values of each arm in each draw, with and without own pairs."""
    rng, kept = np.random.default_rng(0), {True: [], False: []}
    for _ in range(DRAWS):
        photos, arms = study(rng)
        for own, rows in kept.items():
            rows.append([(kid(arm, photos, own), kid_leave_one_out(arm, photos, own)) for arm in arms])
    return kept


def test_without_own_pairs_kid_is_unbiased_and_its_interval_holds_nought(by_kid):
    """At a true distance of 0 leaving one out counts the only part of the variance double: 93 % and more."""
    for k, _ in enumerate(CORRELATIONS):
        values = np.array([row[k][0] for row in by_kid[False]])
        assert abs(values.mean()) < 3.5 * values.std() / np.sqrt(DRAWS)
        held = [one.low <= 0 <= one.high for one in (intervals.jackknife(*row[k]) for row in by_kid[False])]
        assert np.mean(held) >= 0.93


def test_with_own_pairs_kid_rewards_resembling_the_own_photo(by_kid):
    """What the form without them mends: the whole interval below 0, which no distance can be."""
    below = [intervals.jackknife(*row[-1]).high < 0 for row in by_kid[True]]
    assert np.mean(below) > 0.5


def test_equal_arms_that_resemble_their_photos_to_different_degrees_are_seldom_told_apart(by_kid):
    for first, second in ((3, 0), (2, 1)):
        p = [intervals.paired(*row[first], *row[second]).p for row in by_kid[False]]
        assert np.mean(np.array(p) < 0.05) <= 0.06
    p = [intervals.paired(*row[3], *row[0]).p for row in by_kid[True]]
    assert np.mean(np.array(p) < 0.05) > 0.3


def test_kid_without_own_pairs_still_tells_other_arms_apart():
    rng, p = np.random.default_rng(1), []
    for _ in range(60):
        photos, arms = study(rng)
        parts = [
            (kid(arm, photos, False), kid_leave_one_out(arm, photos, False))
            for arm in (arms[2] + 0.25, arms[2])
        ]
        p.append(intervals.paired(*parts[0], *parts[1]).p)
    assert np.mean(np.array(p) < 0.05) > 0.8


def test_the_crossed_frechet_distance_is_that_of_photos_whatever_they_resemble():
    """Its interval holds what photos get among themselves, and equal arms are seldom told apart."""
    rng, rows = np.random.default_rng(2), []
    for _ in range(150):
        photos, arms = study(rng)
        rows.append([crossed_frechet(one, photos) for one in (photos, arms[0], arms[3])])
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
    own = [distances.frechet_distance(arms[3], photos) for photos, arms in (study(rng) for _ in range(20))]
    assert np.mean(own) < 0.7 * control
