import numpy as np
import pytest

from helpers.scoring.manifolds import manifolds


def features(n: int, d: int = 6, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


def by_definition(pictures: np.ndarray, photos: np.ndarray, k: int, own_pairs: bool) -> list[float]:
    """Both shares from distances taken one by one."""
    values = []
    for ours, theirs in ((pictures, photos), (photos, pictures)):
        own = np.linalg.norm(theirs[:, None] - theirs[None], axis=2)
        radius = np.sort(own, axis=1)[:, k]  # place 0 is the member itself
        inside = np.linalg.norm(ours[:, None] - theirs[None], axis=2) <= radius
        if not own_pairs:
            np.fill_diagonal(inside, False)
        values.append(inside.any(1).mean())
    return values


@pytest.mark.parametrize("own_pairs", [True, False])
@pytest.mark.parametrize("k", [1, 3])
def test_both_are_what_the_definition_says_with_and_without_each_scene(k, own_pairs):
    pictures, photos = features(25, 4).astype(float), features(25, 4, seed=1) * 1.3
    whole = manifolds(pictures, photos, k, own_pairs)
    assert [whole.precision, whole.recall] == pytest.approx(by_definition(pictures, photos, k, own_pairs))
    each = [
        by_definition(np.delete(pictures, i, 0), np.delete(photos, i, 0), k, own_pairs) for i in range(25)
    ]
    np.testing.assert_allclose(np.stack([whole.precision_left_out, whole.recall_left_out], axis=1), each)
    np.testing.assert_allclose(whole.inside.mean(1), [whole.precision, whole.recall])


def test_equal_sets_have_both_and_distant_sets_none():
    photos = features(30)
    equal, far = manifolds(photos, photos), manifolds(photos + 100, photos)
    assert (equal.precision, equal.recall) == (1, 1)
    assert (far.precision, far.recall) == (0, 0)
    assert (equal.precision_left_out == 1).all() and (far.recall_left_out == 0).all()


def test_a_kind_of_photo_that_is_never_drawn_costs_recall_only():
    photos = features(60)
    photos[:20] += 50
    pictures = np.concatenate([photos[20:40], photos[20:]])
    one_kind = manifolds(pictures, photos)
    assert one_kind.precision == 1
    assert one_kind.recall == pytest.approx(2 / 3)


def test_a_picture_is_not_inside_by_its_own_photo_alone():
    """In many dimensions pictures that are nearly copies lie in their own photo's ball and hardly any
    other."""
    photos = features(40, 200)
    pictures = 1.2 * photos + 0.1 * features(40, 200, seed=1)
    with_own, without = manifolds(pictures, photos), manifolds(pictures, photos, own_pairs=False)
    assert with_own.precision == 1
    assert without.precision < 0.5


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_neither_the_dtype_nor_the_order_of_scenes_matters(dtype):
    pictures, photos = (features(20, 5, seed=s).astype("float16") for s in (0, 1))
    whole, order = manifolds(pictures, photos), np.random.default_rng(0).permutation(20)
    again = manifolds(pictures[order].astype(dtype), photos[order].astype(dtype))
    assert (again.precision, again.recall) == pytest.approx((whole.precision, whole.recall))
    np.testing.assert_allclose(again.precision_left_out, whole.precision_left_out[order])


def test_what_has_no_manifold_is_said():
    with pytest.raises(ValueError, match="at least 6 scenes, got 5"):
        manifolds(features(5), features(5))
    with pytest.raises(ValueError, match=r"\(8, 6\) and \(9, 6\)"):
        manifolds(features(8), features(9))
    bad = features(8)
    bad[3] = np.nan
    with pytest.raises(ValueError, match="photos have NaN or infinite features in row 3"):
        manifolds(features(8), bad)
