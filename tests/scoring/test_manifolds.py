import numpy as np
import pytest

from helpers.scoring.manifolds import manifolds


def features(n: int, d: int = 6, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


def by_definition(pictures: np.ndarray, photos: np.ndarray) -> list[float]:
    """Both shares from distances taken one by one, where an own ball does not count."""
    values = []
    for ours, theirs in ((pictures, photos), (photos, pictures)):
        own = np.linalg.norm(theirs[:, None] - theirs[None], axis=2)
        radius = np.sort(own, axis=1)[:, 3]  # place 0 is the member itself
        inside = np.linalg.norm(ours[:, None] - theirs[None], axis=2) <= radius
        np.fill_diagonal(inside, False)
        values.append(inside.any(1).mean())
    return values


def test_both_are_what_the_definition_says_with_and_without_each_scene():
    pictures, photos = features(25, 4).astype(float), features(25, 4, seed=1) * 1.3
    whole = manifolds(pictures, photos)
    assert [one.value for one in whole] == pytest.approx(by_definition(pictures, photos))
    each = [by_definition(np.delete(pictures, i, 0), np.delete(photos, i, 0)) for i in range(25)]
    np.testing.assert_allclose(np.stack([one.left_out for one in whole], axis=1), each)
    assert all(one.sums.mean() == one.value and (one.counts == 1).all() for one in whole)


def test_near_sets_have_both_and_distant_sets_none():
    photos = features(30, 2)
    near, far = manifolds(photos[::-1], photos), manifolds(photos + 100, photos)
    assert [one.value for one in (*near, *far)] == [1, 1, 0, 0]
    assert (far[1].left_out == 0).all()


def test_a_kind_of_photo_that_is_never_drawn_costs_recall_only():
    photos = features(60)
    photos[:20] += 50
    precision, recall = manifolds(np.concatenate([photos[20:40], photos[20:]])[::-1], photos)
    assert precision.value == 1 and recall.value == pytest.approx(2 / 3)


def test_a_picture_is_not_inside_by_its_own_photo_alone():
    """In many dimensions pictures that are nearly copies lie in their own photo's ball and hardly any
    other."""
    photos = features(40, 200)
    precision, _ = manifolds(1.2 * photos + 0.1 * features(40, 200, seed=1), photos)
    assert precision.value < 0.5


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_neither_the_dtype_nor_the_order_of_scenes_matters(dtype):
    pictures, photos = (features(20, 5, seed=s).astype("float16") for s in (0, 1))
    whole, order = manifolds(pictures, photos), np.random.default_rng(0).permutation(20)
    again = manifolds(pictures[order].astype(dtype), photos[order].astype(dtype))
    assert [one.value for one in again] == pytest.approx([one.value for one in whole])
    np.testing.assert_allclose(again[0].left_out, whole[0].left_out[order])


def test_what_has_no_manifold_is_said():
    with pytest.raises(ValueError, match="too few pictures: 5, at least 6"):
        manifolds(features(5), features(5))
