import tracemalloc
import warnings

import numpy as np
import pytest

from helpers.scoring import distances, mmd
from helpers.scoring.distances import frechet_distance, kid_halves, paired_cmmd, paired_frechet, paired_kid


def unpaired(a: np.ndarray, b: np.ndarray) -> float:
    """Heusel et al. 2017, eq. 6, of any two sets."""
    a, b = a.astype(float), b.astype(float)
    shift, x, y = a.mean(0) - b.mean(0), a - a.mean(0), b - b.mean(0)
    overlap = np.linalg.norm(x @ y.T, "nuc") / np.sqrt((len(a) - 1) * (len(b) - 1))
    return float(shift @ shift + a.var(0, ddof=1).sum() + b.var(0, ddof=1).sum() - 2 * overlap)


def kid(a: np.ndarray, b: np.ndarray) -> float:
    """KID of independent sets by its definition, where every row of one meets every row of the other."""
    a, b = a.astype(float), b.astype(float)
    (aa, bb, ab) = ((x @ y.T / x.shape[1] + 1) ** 3 for x, y in ((a, a), (b, b), (a, b)))
    within = ((m.sum() - np.trace(m)) / (len(m) * (len(m) - 1)) for m in (aa, bb))
    return float(sum(within) - 2 * ab.mean())


PAIRED = [paired_frechet, paired_kid, paired_cmmd]
NAMES = ["frechet", "kid", "cmmd"]
SHAPES = {"more rows": (300, 300, 24), "rank deficient": (35, 35, 64), "one of each": (30, 90, 48)}


def two_sets(n_a: int, n_b: int, d: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Features as networks give them: positive, correlated, of unequal scale."""
    rng = np.random.default_rng(seed)
    mix = rng.normal(size=(d, d)) / np.sqrt(d) * np.linspace(0.2, 2, d)
    a, b = (np.abs(rng.normal(size=(n, d)) @ mix + shift) for n, shift in ((n_a, 0.5), (n_b, 0.8)))
    return a.astype(np.float32), b.astype(np.float32)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_frechet_distance_agrees_with_pytorch_fid(shape):
    from pytorch_fid.fid_score import calculate_frechet_distance

    a, b = two_sets(*shape)
    moments = [x for s in (a.astype(float), b.astype(float)) for x in (s.mean(0), np.cov(s, rowvar=False))]
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", DeprecationWarning
        )  # scipy will drop an argument that pytorch-fid gives
        reference = calculate_frechet_distance(*moments)
    assert unpaired(a, b) == pytest.approx(reference, rel=1e-6)
    if len(a) == len(b):
        assert frechet_distance(a, b) == pytest.approx(reference, rel=1e-6)


def test_equal_covariances_leave_the_squared_distance_of_means():
    a, _ = two_sets(50, 1, 12)
    shift = np.linspace(-1, 2, 12)
    assert frechet_distance(a, a.astype(float) + shift) == pytest.approx(shift @ shift, rel=1e-9)


def test_scaled_features_leave_the_difference_of_the_deviations():
    a = two_sets(20, 1, 40)[0].astype(float)
    a -= a.mean(0)
    assert frechet_distance(a, 3 * a) == pytest.approx(4 * np.trace(np.cov(a, rowvar=False)), rel=1e-9)


@pytest.mark.parametrize("shape", [(40, 8), (8, 40)])
def test_equal_sets_are_exactly_at_zero_in_any_order(shape):
    a = np.random.default_rng(0).normal(size=shape)
    for distance in (frechet_distance, lambda *sets: paired_frechet(*sets)[0]):
        assert distance(a, a) == 0.0
        assert distance(a, a[::-1]) == 0.0


def test_kid_agrees_with_torchmetrics():
    import torch
    from torchmetrics.image.kid import KernelInceptionDistance

    class Features(torch.nn.Module):
        num_features = 24

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

    a, b = two_sets(60, 60, 24)
    with pytest.warns(UserWarning, match="will save all extracted features"):
        reference = KernelInceptionDistance(feature=Features(), subsets=1, subset_size=60)
    reference.update(torch.from_numpy(a), real=False)
    reference.update(torch.from_numpy(b), real=True)
    assert kid(a, b) == pytest.approx(float(reference.compute()[0]), rel=1e-4)


def test_cmmd_is_the_papers_without_its_bias():
    a, b = two_sets(20, 20, 16)
    x, y = (s.astype(float) / np.linalg.norm(s.astype(float), axis=1, keepdims=True) for s in (a, b))

    def mean_kernel(p, q):
        kernel = np.exp(-np.square(p[:, None] - q[None]).sum(-1) / 200)
        return kernel[~np.eye(len(p), dtype=bool)].mean()  # what belongs to one scene never meets

    paper = 1000 * (mean_kernel(x, x) + mean_kernel(y, y) - 2 * mean_kernel(x, y))
    assert paired_cmmd(a, b)[0] == pytest.approx(paper, rel=1e-6)


def test_cmmd_looks_at_directions_only():
    a, b = two_sets(20, 20, 16)
    assert paired_cmmd(7 * a, b)[0] == pytest.approx(paired_cmmd(a, b)[0], rel=1e-5)
    halves = [distances.cmmd_halves(x, 3) for x in (a, 7 * a)]
    np.testing.assert_allclose(halves[0], halves[1], rtol=1e-5)


def test_a_kernel_in_blocks_is_the_kernel(monkeypatch):
    a, b = two_sets(30, 30, 16)

    def all_of() -> list:
        pair, halves = paired_kid(a, b), kid_halves(a, 3)
        return [pair[0], pair[2], *pair[1], *halves, *distances.kid_swaps(a, b, b[::-1])]

    whole = all_of()
    monkeypatch.setattr(mmd, "BLOCK", 7)
    np.testing.assert_allclose(all_of(), whole, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("pair", PAIRED, ids=NAMES)
@pytest.mark.parametrize("shape", [(12, 30), (30, 5), (9, 8), (9, 9), (4, 6)])
def test_leaving_one_out_is_what_is_computed_without_it(pair, shape):
    a, b = two_sets(shape[0], shape[0], shape[1])
    alone = frechet_distance if pair is paired_frechet else lambda *sets: pair(*sets)[0]
    each = [alone(np.delete(a, i, 0), np.delete(b, i, 0)) for i in range(len(a))]
    np.testing.assert_allclose(pair(a, b)[1], each, rtol=1e-7, atol=1e-10)


def test_leaving_one_out_survives_repeated_pictures_and_a_constant_feature():
    a, b = (x.astype(float) for x in two_sets(10, 10, 12))
    a[3] = a[4]
    b[:, 2] = 1
    b[8] = b[1]
    each = [frechet_distance(np.delete(a, i, 0), np.delete(b, i, 0)) for i in range(10)]
    np.testing.assert_allclose(paired_frechet(a, b)[1], each, rtol=1e-6)


def test_pictures_that_are_all_the_same():
    a, b = np.ones((6, 4)), np.random.default_rng(0).normal(size=(6, 4))
    each = [frechet_distance(np.delete(a, i, 0), np.delete(b, i, 0)) for i in range(6)]
    np.testing.assert_allclose(paired_frechet(a, b)[1], each, rtol=1e-9)


def test_memory_grows_with_n_times_d_and_not_with_d_squared():
    n, d = 24, 3000
    a, b = np.random.default_rng(0).normal(size=(2, n, d))
    tracemalloc.start()
    frechet_distance(a, b), paired_frechet(a, b)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 12 * n * d * 8 < d * d * 8


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (np.zeros((1, 3)), np.zeros((5, 3)), "first set has too few pictures: 1, at least 3"),
        (np.zeros((5, 3)), np.zeros((0, 3)), "second set has too few pictures: 0"),
        (np.zeros((5, 3)), np.zeros((5, 4)), "different extractors: 3 and 4"),
        (
            np.zeros((5, 3)),
            np.array([[0.0, 1, 2], [0, np.nan, 1], [1, 1, 0]]),
            "second set has NaN .* in row 1",
        ),
        (np.zeros(5), np.zeros((5, 4)), r"first set has shape \(5,\)"),
    ],
)
def test_bad_features_are_named(a, b, message):
    with pytest.raises(ValueError, match=message):
        paired_kid(a, b)


@pytest.mark.parametrize("pair", PAIRED, ids=NAMES)
def test_leaving_one_out_needs_three_scenes_and_pairs(pair):
    a = np.random.default_rng(0).normal(size=(4, 3))
    with pytest.raises(ValueError, match="at least 3"):
        pair(a[:2], a[:2])
    with pytest.raises(ValueError, match="4 and 3 rows"):
        pair(a, a[:3])


def test_a_direction_is_needed():
    with pytest.raises(ValueError, match="row 1 is all zeros and has no direction"):
        paired_cmmd(np.ones((3, 2)), np.array([[1.0, 0], [0, 0], [0, 1]]))


def test_without_own_pairs_the_cross_sum_has_all_other_pairs():
    a, b = two_sets(9, 9, 5)
    kernel = [[(x @ y / 5 + 1) ** 3 for y in (*a, *b)] for x in (*a.astype(float), *b.astype(float))]
    off = np.array(kernel)
    means = [off[:9, :9], off[9:, 9:], off[:9, 9:]]
    within_a, within_b, across = ((m.sum() - np.trace(m)) / 72 for m in means)
    value, _, variance = paired_kid(a, b)
    assert value == pytest.approx(within_a + within_b - 2 * across)
    pairs = off[:9, :9] + off[9:, 9:] - off[:9, 9:] - off[9:, :9]
    assert variance == pytest.approx(pairs[~np.eye(9, dtype=bool)].var())


@pytest.mark.parametrize("shape", [(13, 30), (30, 5), (12, 8), (6, 3), (7, 1)])
def test_the_crossed_distance_is_between_halves_and_leaves_scenes_out(shape):
    """By its definition: a half's pictures against the other half's photos, one row less in one of them."""
    pictures, photos = (x.astype(float) for x in two_sets(shape[0], *shape))
    n, rng, values, left_out = len(photos), np.random.default_rng(0), [], np.zeros(len(photos))
    for _ in range(4):
        order = rng.permutation(n)
        for a, b in ((order[: n // 2], order[n // 2 :]), (order[n // 2 :], order[: n // 2])):
            values.append(unpaired(pictures[a], photos[b]))
            for i in range(n):
                rows = [half[half != i] for half in (a, b)]
                left_out[i] += unpaired(pictures[rows[0]], photos[rows[1]]) / 8
    value, each = distances.crossed_frechet(pictures, photos)
    assert value == pytest.approx(np.mean(values), rel=1e-9)
    np.testing.assert_allclose(each, left_out, rtol=1e-7, atol=1e-10)


def test_the_crossed_distance_survives_pictures_that_are_all_the_same():
    same, photos = np.ones((8, 4)), np.random.default_rng(0).normal(size=(8, 4))
    value, left_out = distances.crossed_frechet(same, photos)
    assert np.isfinite(left_out).all() and value > 0
    assert distances.crossed_frechet(same, same)[0] == pytest.approx(0, abs=1e-12)


def test_what_scenes_add_to_a_kid_difference_changes_sign_with_a_swap():
    photos, a, b = np.random.default_rng(0).normal(size=(3, 12, 6))
    parts = distances.kid_swaps(a, b, photos)
    swap = np.arange(12) % 3 == 0
    a_swapped, b_swapped = (np.where(swap[:, None], *pair) for pair in ((b, a), (a, b)))
    for first, second, signs in ((a, b, 1), (a_swapped, b_swapped, np.where(swap, -1, 1))):
        gap = paired_kid(first, photos)[0] - paired_kid(second, photos)[0]
        assert (signs * parts).sum() == pytest.approx(gap, abs=1e-12)


def test_halves_of_the_photos_are_closer_than_other_photos():
    rng = np.random.default_rng(0)
    photos, others = rng.normal(size=(61, 8)), rng.normal(size=(30, 8))
    halves = kid_halves(photos, splits=20)
    assert halves.shape == (20,) and len(set(halves)) == 20
    assert halves.max() < kid(others + 1, photos)
    again = np.random.default_rng(0)
    orders = (again.permutation(61) for _ in range(20))
    each = [kid(photos[order[:30]], photos[order[30:60]]) for order in orders]
    np.testing.assert_allclose(halves, each, atol=1e-10)
    with pytest.raises(ValueError, match="too few pictures: 3, at least 4"):
        kid_halves(photos[:3], splits=20)
