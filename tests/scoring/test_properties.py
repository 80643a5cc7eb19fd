"""What holds for every measure whatever the numbers: dtypes, few photos, ties, zeros, scales, order, arms."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.scoring import adherence, alignment, distances, intervals, shares, significance
from helpers.scoring.adherence import Detections

DTYPES = ["float16", "float32", "float64", "int8", "int64"]
many = settings(max_examples=60, deadline=None)


@st.composite
def arms(draw: st.DrawFn, least: int = 3, most: int = 9, d: int | None = None) -> list[np.ndarray]:
    """Three sets of n rows of one dtype, with ties and zeros, at any scale; and an order of their rows."""
    n, dtype = draw(st.integers(least, most)), draw(st.sampled_from(DTYPES))
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    shape = (3, n) if d is None else (3, n, d)
    values = rng.integers(-3, 4, shape) if draw(st.booleans()) else rng.normal(size=shape) * 3
    scale = draw(st.sampled_from([0.01, 1, 10])) if dtype.startswith("float") else 1
    return [*(values * scale).astype(dtype), rng.permutation(n)]


def same(first: object, second: object, **tolerance: float) -> None:
    np.testing.assert_allclose(first, second, **({"rtol": 1e-6, "atol": 1e-9} | tolerance))


def numbers(estimate: intervals.Estimate) -> list[float]:
    return [*vars(estimate).values(), estimate.p]


@many
@given(arms(1))
def test_sign_flips(sets):
    a, b, _, order = sets
    d = a.astype(float) - b
    p = intervals.sign_flip(d)
    assert 2 / 2 ** len(d) <= p <= 1
    same([intervals.sign_flip(x) for x in (d[order], -d, d * 1e6)], p)
    if a.dtype.kind == "f":
        same(intervals.sign_flip(a), intervals.sign_flip(a.astype(float)))


@many
@given(arms(3))
def test_jackknife_differences_and_their_tests(sets):
    a, b, _, order = sets
    whole = intervals.paired(a[0], a, b[0], b)
    assert 2 / 2 ** len(a) <= whole.p <= 1 and whole.low <= whole.value <= whole.high
    same(numbers(intervals.paired(a[0], a[order], b[0], b[order])), numbers(whole))
    same(
        numbers(intervals.paired(float(a[0]), a.astype(float), float(b[0]), b.astype(float))), numbers(whole)
    )
    swapped = intervals.paired(b[0], b, a[0], a)
    same(
        [-swapped.value, -swapped.high, -swapped.low, swapped.p],
        [whole.value, whole.low, whole.high, whole.p],
    )
    p = significance.paired_p(a[0], a, b[0], b)
    assert 2 / 2 ** len(a) <= p <= 1
    same(significance.paired_p(b[0], b, a[0], a), p)
    same(significance.paired_p(a[0], a[order], b[0], b[order]), p)
    same(significance.paired_p(float(a[0]), a.astype(float), float(b[0]), b.astype(float)), p)


@many
@given(arms(2))
def test_means_and_estimates(sets):
    a, _, _, order = sets
    whole = intervals.mean(a)
    assert 2 / 2 ** len(a) <= whole.p <= 1
    same(numbers(intervals.mean(a[order])), numbers(whole))
    same(numbers(intervals.mean(a.astype(float))), numbers(whole))
    same(
        numbers(intervals.estimate(a[0], abs(a[1]), len(a))),
        numbers(intervals.estimate(float(a[0]), abs(float(a[1])), len(a))),
    )
    there = significance.not_worse(whole, 0.5)
    back = significance.not_worse(intervals.mean(-a.astype(float)), 0.5, lower_is_better=True)
    same([there.bound, there.p], [back.bound, back.p])
    assert there.holds == back.holds and 2.0 ** -len(a) <= there.p <= 1
    needed = significance.photos_needed(whole, comparisons=3)
    assert 6 <= needed.low <= needed.estimate <= needed.high
    same(needed, significance.photos_needed(intervals.mean(-a.astype(float)), comparisons=3))


@many
@given(arms(2))
def test_ratios_and_shares(sets):
    a, b, order = (*(np.abs(x) for x in sets[:2]), sets[3])
    counts, sums = np.maximum(a, b).astype(float) + 1, a.astype(float)
    kept = counts.astype(np.float32)
    value, left_out = intervals.ratio_left_out(a, kept)
    same(value, intervals.ratio_left_out(sums, kept.astype(float))[0])
    same(intervals.ratio_left_out(a[order], kept[order])[1], left_out[order])
    whole = shares.share_interval(a, counts)
    assert 0 <= whole.low <= whole.value <= whole.high <= 1 and whole.low < whole.high
    same(numbers(shares.share_interval(a[order], counts[order])), numbers(whole))
    there = shares.share_difference(a, counts, b, counts)
    back = shares.share_difference(b, counts, a, counts)
    same([there.value, there.low, there.high], [-back.value, -back.high, -back.low])
    assert -1 <= there.low <= there.value <= there.high <= 1 and there.low < there.high
    same(numbers(shares.share_difference(*(x[order] for x in (a, counts, b, counts)))), numbers(there))


@many
@given(st.lists(st.floats(0, 1, width=16), max_size=9), st.randoms(use_true_random=False))
def test_holm(p_values, random):
    corrected, order = intervals.holm(np.array(p_values, np.float16)), list(range(len(p_values)))
    random.shuffle(order)
    assert ((corrected >= p_values) & (corrected <= 1)).all()
    same(intervals.holm([p_values[i] for i in order]), corrected[order])


DISTANCES = {
    "frechet": distances.paired_frechet,
    "kid": distances.paired_kid,
    "cmmd": distances.paired_cmmd,
}


@pytest.mark.parametrize("name", DISTANCES)
@many
@given(arms(3, d=4))
def test_distances(name, sets):
    a, b, _, order = sets
    if name == "cmmd":
        a, b = np.abs(a) + 1, np.abs(b) + 1
    measure = DISTANCES[name]
    scale = max(1e-6, float(np.square(np.concatenate([a, b]).astype(float)).max()))
    close = {"rtol": 1e-6, "atol": 1e-7 * max(scale, scale**3)}
    value, left_out, *spread = measure(a, b)
    assert all(one >= 0 for one in spread)
    for places, pair in (
        (slice(None), (b, a)),
        (order, (a[order], b[order])),
        (slice(None), (a.astype(float), b.astype(float))),
    ):
        again, without, *more = measure(*pair)
        same(again, value, **close)
        same(without, left_out[places], **close)
        same(np.sqrt(more), np.sqrt(spread), rtol=1e-4, atol=1e-4 * max(scale, scale**3))


@many
@given(arms(6, d=4))
def test_the_crossed_distance_and_what_scenes_add(sets):
    a, b, photos, order = sets
    scale = max(1e-6, float(np.square(np.concatenate([a, b, photos]).astype(float)).max()))
    close = {"rtol": 1e-6, "atol": 1e-7 * max(scale, scale**3)}
    parts = distances.kid_swaps(a, b, photos)
    same(distances.kid_swaps(b, a, photos), -parts, **close)
    same(distances.kid_swaps(a[order], b[order], photos[order]), parts[order], **close)
    same(distances.kid_swaps(*(x.astype(float) for x in (a, b, photos))), parts, **close)
    value, left_out = distances.crossed_frechet(a, photos)
    assert value >= 0 and (left_out >= 0).all()
    wide = distances.crossed_frechet(a.astype(float), photos.astype(float))
    same(wide[0], value, **close)
    same(wide[1], left_out, **close)


@many
@given(arms(2, d=4))
def test_alignment(sets):
    images, texts, _, order = sets
    images, texts = (x + (np.abs(x).max(1, keepdims=True) == 0) for x in (images, texts))
    wide = images.astype(float), texts.astype(float)
    for measure in (alignment.clip_score, alignment.similarity, alignment.r_precision):
        values = measure(images, texts)
        same(measure(*wide), values)
        same(measure(images[order], texts[order]), values[order])
    assert (np.abs(alignment.similarity(images, texts)) <= 1 + 1e-12).all()
    chances = alignment.r_precision(images, texts)
    assert ((chances >= 0) & (chances <= 1 + 1e-12)).all()
    own = np.arange(len(texts))
    correct = alignment.crop_correct(images, texts, own)
    np.testing.assert_array_equal(alignment.crop_correct(*wide, own), correct)
    np.testing.assert_array_equal(alignment.crop_correct(images[order], texts[order], own), correct[order])


@many
@given(st.integers(0, 10**6), st.sampled_from(["float16", "float32", "float64"]))
def test_adherence(seed, dtype):
    rng = np.random.default_rng(seed)

    def some(n: int) -> np.ndarray:
        low = rng.integers(0, 6, (n, 2)) / 8
        return np.concatenate([low, low + rng.integers(1, 4, (n, 2)) / 8], axis=1).astype(dtype)

    def study(kind: str, order: list[int] | np.ndarray) -> tuple[list, list]:
        layouts = [SimpleNamespace(boxes=some_boxes[i].astype(kind), labels=names[i]) for i in order]
        answers = [Detections(found[i].astype(kind), said[i], scores[i].astype(kind)) for i in order]
        return layouts, answers

    n = int(rng.integers(2, 6))
    some_boxes, found = (
        [some(rng.integers(1, 4)) for _ in range(n)],
        [some(rng.integers(0, 5)) for _ in range(n)],
    )
    names, said = ([tuple(rng.choice(["a", "b"], len(one))) for one in rows] for rows in (some_boxes, found))
    scores = [(rng.permutation(n * 5)[: len(one)] / 32).astype(dtype) for one in found]
    whole = adherence.average_precision(*study(dtype, range(n)))
    wide = adherence.average_precision(*study("float64", range(n)))
    for name, (value, left_out) in whole.over.items():
        same(wide.over[name][0], value)
        same(wide.over[name][1], left_out)
        assert 0 <= value <= 1
    for asked, answer in zip(*study(dtype, range(n)), strict=True):
        ious = adherence.match(asked, answer)
        back = SimpleNamespace(boxes=asked.boxes[::-1], labels=asked.labels[::-1])
        same(np.sort(adherence.match(back, answer)), np.sort(ious))
        assert ((ious >= 0) & (ious <= 1)).all()
        curve = adherence.found_share(ious.astype(dtype), np.linspace(0, 1, 11))
        assert (np.diff(curve) <= 0).all() and curve[0] == 1
        assert curve[5] == adherence.reaches(ious.astype(dtype)).mean()


@many
@given(st.integers(0, 10**6), st.sampled_from(sorted(alignment.COLOURS)))
def test_colours_sizes_and_labels(seed, colour):
    rng = np.random.default_rng(seed)
    crop = rng.integers(0, 256, (3, 4, 3)).astype(np.uint8)
    distance = alignment.colour_distance(crop, colour)
    assert distance >= 0
    same(alignment.colour_distance(rng.permutation(crop.reshape(-1, 3)), colour), distance)
    same(alignment.lab(crop.reshape(-1, 3).astype(np.float32)), alignment.lab(crop.reshape(-1, 3)))
    low = rng.integers(0, 8, (5, 2)) / 16
    boxes = np.concatenate([low, low + rng.integers(1, 9, (5, 2)) / 16], axis=1)
    assert adherence.size_of(boxes.astype(np.float16)) == adherence.size_of(boxes)
    labels = ["a cone", "Barrels", "man"]
    assert alignment.labels_named(f"{colour} barrel", rng.permutation(labels).tolist()) == pytest.approx(
        1 / 3
    )
