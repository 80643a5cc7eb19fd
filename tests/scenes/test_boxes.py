import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.scenes import boxes

corners = st.lists(st.integers(0, 60), min_size=2, max_size=2, unique=True).map(sorted)
pixel_box = st.tuples(corners, corners).map(lambda c: (c[0][0], c[1][0], c[0][1], c[1][1]))
pixel_boxes = st.lists(pixel_box, min_size=1, max_size=6).map(np.array)


@given(pixel_boxes, st.integers(61, 3000), st.integers(61, 3000))
def test_pixels_survive_the_way_to_fractions_and_back(pixels, width, height):
    fractions = boxes.to_fractions(pixels, width, height)
    assert fractions.dtype == np.float32
    assert (boxes.to_pixels(fractions, width, height) == pixels).all()


@given(pixel_boxes, pixel_boxes)
def test_iou_counts_pixels(a, b):
    def mask(box):
        canvas = np.zeros((61, 61), bool)
        canvas[box[1] : box[3], box[0] : box[2]] = True
        return canvas

    expected = [[(mask(p) & mask(q)).sum() / (mask(p) | mask(q)).sum() for q in b] for p in a]
    assert np.allclose(boxes.iou(a / 61, b / 61), expected)


def test_iou_of_equal_boxes_is_1_and_of_nothing_is_0():
    row = [[0.1, 0.2, 0.5, 0.9]]
    assert boxes.iou(row, row)[0, 0] == 1
    assert boxes.iou(row, [[0.6, 0.2, 0.9, 0.9]])[0, 0] == 0
    assert boxes.iou([[0.3, 0.3, 0.3, 0.3]], [[0.3, 0.3, 0.3, 0.3]])[0, 0] == 0
    assert boxes.iou(np.empty((0, 4)), row).shape == (0, 1)


def test_clip_cuts_at_the_edges_only():
    assert boxes.clip([[-0.5, 0.25, 1.5, 0.75]]).tolist() == [[0, 0.25, 1, 0.75]]
    assert boxes.area(boxes.clip([[1.1, 0, 1.3, 1]])).tolist() == [0]
    assert boxes.clip([]).shape == (0, 4)


def test_area_of_a_reversed_box_is_0():
    assert boxes.area([[0.1, 0.1, 0.3, 0.6], [0.3, 0.1, 0.1, 0.6]]).tolist() == pytest.approx([0.1, 0])


def test_a_thin_box_keeps_one_pixel_inside_the_picture():
    assert boxes.to_pixels([[0.999, 0.5, 1.0, 0.501]], 100, 100).tolist() == [[99, 50, 100, 51]]


@pytest.mark.parametrize(
    "bad", [[0.5, 0.1, 0.2, 0.9], [0.2, 0.1, 0.2, 0.9], [float("nan"), 0, 1, 1], [2, 0, 3, 1]]
)
def test_pixels_of_a_box_without_area_are_refused_by_number(bad):
    with pytest.raises(ValueError, match=r"box 1: .* has no area"):
        boxes.to_pixels([[0, 0, 1, 1], bad], 64, 64)


def test_rows_of_another_length_are_refused():
    with pytest.raises(ValueError, match=r"\(4, 5\)"):
        boxes.clip(np.zeros((4, 5)))


def test_the_largest_keep_their_order_and_the_others_are_named():
    sides = np.array([0.1, 0.5, 0.2, 0.5, 0.3])
    rows = np.stack([0 * sides, 0 * sides, sides, sides], axis=1)
    kept, dropped = boxes.largest(rows, 3)
    assert kept.tolist() == [1, 3, 4] and dropped.tolist() == [0, 2]
    kept, dropped = boxes.largest(rows)
    assert kept.tolist() == [0, 1, 2, 3, 4] and dropped.tolist() == []


def test_among_equal_boxes_the_first_stay():
    sides = np.tile([0.2, 0.5, 0.3], 40)
    kept, dropped = boxes.largest(np.stack([0 * sides, 0 * sides, sides, sides], axis=1))
    assert kept.tolist() == list(range(1, 91, 3))
    assert np.array_equal(np.sort(np.concatenate([kept, dropped])), np.arange(120))


def test_reproject_sees_the_window_as_the_whole_picture():
    seen = boxes.reproject([[0.25, 0, 0.75, 1], [0.375, 0.25, 0.5, 0.5], [0, 0, 0.1, 1]], (0.25, 0, 0.75, 1))
    assert seen[:2].tolist() == [[0, 0, 1, 1], [0.25, 0.25, 0.5, 0.5]]
    assert boxes.area(seen)[2] == 0
