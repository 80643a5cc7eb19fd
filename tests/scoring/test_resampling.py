from collections.abc import Callable

import numpy as np
import pytest

from helpers.scoring import resampling
from helpers.scoring.distances import frechet_distance, kid_halves, kid_swaps, paired_kid
from tests.scoring.test_distances import kid


def swapped_differences(
    distance: Callable[[np.ndarray, np.ndarray], float],
    a: np.ndarray,
    b: np.ndarray,
    photos: np.ndarray,
    draws: int = 500,
    seed: int = 0,
) -> np.ndarray:
    """The same as `resampling.swapped_sums`, two distances per draw, for any distance."""
    rng, differences = np.random.default_rng(seed), np.empty(draws)
    for draw in range(draws):
        swap = rng.random(len(photos))[:, None] < 0.5
        differences[draw] = distance(np.where(swap, b, a), photos) - distance(np.where(swap, a, b), photos)
    return differences


def test_halves_of_the_photos_are_closer_than_other_photos():
    rng = np.random.default_rng(0)
    photos, others = rng.normal(size=(61, 8)), rng.normal(size=(30, 8))
    halves = kid_halves(photos, splits=20, seed=4)
    assert halves.shape == (20,) and len(set(halves)) == 20
    assert halves.max() < kid(others + 1, photos)
    again = np.random.default_rng(4)
    orders = (again.permutation(61) for _ in range(20))
    each = [kid(photos[order[:30]], photos[order[30:60]]) for order in orders]
    np.testing.assert_allclose(halves, each, atol=1e-10)


def test_swapping_makes_different_arms_equal():
    rng = np.random.default_rng(0)
    photos, a = rng.normal(size=(2, 40, 6))
    b = a + 2
    gaps = swapped_differences(frechet_distance, a, b, photos, draws=200)
    assert abs(gaps.mean()) < 4 * gaps.std() / np.sqrt(200)
    assert frechet_distance(b, photos) - frechet_distance(a, photos) > np.abs(gaps).max()
    assert not swapped_differences(frechet_distance, a, a, photos, draws=5).any()


def test_for_kid_sums_over_scenes_are_the_swapped_differences():
    photos, a, b = np.random.default_rng(0).normal(size=(3, 20, 6))
    each = swapped_differences(lambda *sets: paired_kid(*sets)[0], a, b, photos, draws=30, seed=3)
    at_once = resampling.swapped_sums(kid_swaps(a, b, photos), draws=30, seed=3)
    np.testing.assert_allclose(at_once, each, atol=1e-12)


@pytest.mark.parametrize("n", [2, 3, 48])
def test_shuffled_boxes_come_from_another_scene(n):
    order = resampling.derangement(n)
    assert sorted(order) == list(range(n))
    assert (order != np.arange(n)).all()
    np.testing.assert_array_equal(order, resampling.derangement(n))


def test_three_photos_cannot_be_split():
    with pytest.raises(ValueError, match="3 photos"):
        kid_halves(np.ones((3, 2)))
    with pytest.raises(ValueError, match="between 1 scenes"):
        resampling.derangement(1)
