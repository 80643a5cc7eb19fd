import itertools

import numpy as np
import pytest
from bs4 import BeautifulSoup
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageColor

from helpers.scenes import boxes
from helpers.scenes.boxes import draw_boxes

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


GREY = Image.new("RGB", (200, 160), "#808080")
RED, GREEN = "#ff0000", "#00ff00"


def painted(image, colour):
    """Where a picture has exactly this colour: (height, width) bool."""
    return (np.asarray(image) == ImageColor.getrgb(colour)).all(axis=2)


def test_labels_have_colours_that_can_be_told_apart():
    swatches = Image.new("RGB", (len(boxes.PALETTE), 1))
    swatches.putdata([ImageColor.getrgb(colour) for colour in boxes.PALETTE])
    profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    lab = ImageCms.applyTransform(swatches, ImageCms.buildTransform(*profiles, "RGB", "LAB"))
    lightness, a, b = np.moveaxis(np.asarray(lab).astype(float), -1, 0)[:, 0]
    signed = [np.where(one > 127, one - 256, one) for one in (a, b)]  # Pillow keeps a and b as signed bytes
    points = np.stack([lightness / 2.55, *signed], axis=1)
    assert min(np.linalg.norm(x - y) for x, y in itertools.combinations(points, 2)) > 20


def test_the_commonest_label_has_the_first_colour_whatever_the_order():
    labels = ["cone"] * 2 + ["Person"] * 3 + ["crate"] * 2
    assert boxes.colours_of(labels) == boxes.colours_of(labels[::-1])
    assert list(boxes.colours_of(labels).items()) == list(
        zip(("Person", "cone", "crate"), boxes.PALETTE[:3], strict=True)
    )
    many = boxes.colours_of(map(str, range(13)))
    assert len(many) == 13 and set(many.values()) == set(boxes.PALETTE)


def test_an_outline_stands_on_the_box_and_the_given_picture_is_left_alone():
    before = np.array(GREY)
    drawn = draw_boxes(GREY, [[0.25, 0.5, 0.75, 1.0]], [""], [RED])
    red = painted(drawn, RED)
    assert red[80, 50:150].all() and red[159, 50:150].all()
    assert red[80:160, 50].all() and red[80:160, 149].all()
    assert not red[:60].any() and not red[:, :50].any() and not red[:, 150:].any()
    assert np.array_equal(GREY, before) and drawn.size == GREY.size


def test_a_label_is_written_in_its_box_on_the_colour_of_the_box():
    box = [[0.2, 0.2, 0.9, 0.9]]
    with_label, bare = (painted(draw_boxes(GREY, box, [text], [RED]), RED) for text in ("Helmet", ""))
    assert with_label.sum() > bare.sum() + 200 and not with_label[:30].any()


@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
def test_a_small_box_is_drawn_over_a_large_one(order):
    both, shades = np.array([[0.25, 0.5, 0.75, 1.0], [0.25, 0.5, 0.5, 0.75]]), np.array([RED, GREEN])
    drawn = draw_boxes(GREY, both[order], ["", ""], shades[order].tolist())
    assert painted(drawn, GREEN)[85:115, 50].all() and painted(drawn, RED)[125:155, 50].all()


def test_labels_and_colours_must_be_one_per_box():
    with pytest.raises(ValueError, match="1 boxes, 2 labels"):
        draw_boxes(GREY, [[0, 0, 1, 1]], ["a", "b"], [RED])
    with pytest.raises(ValueError, match="1 boxes, 1 labels, 0 colours and 1 marks"):
        draw_boxes(GREY, [[0, 0, 1, 1]], ["a"], [])


def test_no_boxes_leave_the_picture_as_it_is():
    assert np.array_equal(draw_boxes(GREY, np.empty((0, 4)), []), GREY)


def test_boxes_lie_where_they_were_asked_for_the_large_ones_below():
    two = np.float32([[0.25, 0.5, 0.5, 1], [0, 0, 1, 1]])
    page = BeautifulSoup(boxes.overlay(two, ["cone", "<img>"], 0.5, ["red", "lime"]), "html.parser")
    assert page.svg["viewbox"] == "0 0 100 50.00"
    whole, small = page.find_all("rect")
    assert [float(small[key]) for key in ("x", "y", "width", "height")] == [25, 25, 25, 25]
    assert float(whole["width"]) == 100 and page.title.text == "<img>" and not page.find("img")
    assert whole["stroke"] != small["stroke"]


def test_a_long_label_at_the_right_edge_ends_inside_the_picture():
    two = np.float32([[0.9, 0, 1, 1], [0.1, 0, 1, 1]])
    page = BeautifulSoup(
        boxes.overlay(two, ["a worker in a vest", "cone"], 1, ["red", "lime"]), "html.parser"
    )
    texts = {one.text: one for one in page.find_all("text")}
    assert texts["a worker in a vest"]["text-anchor"] == "end" and texts["a worker in a vest"]["x"] == "99"
    assert "text-anchor" not in texts["cone"].attrs and texts["cone"]["x"] == "11.00"


def test_found_missed_and_dropped_boxes_have_lines_of_their_own():
    three = np.float32([[0, 0, 1, 1], [0, 0, 0.5, 0.5], [0, 0, 0.2, 0.2]])
    marks = [boxes.FOUND, boxes.MISSED, boxes.DROPPED]
    page = BeautifulSoup(boxes.overlay(three, ["a", "b", "c"], 1, ["red"] * 3, marks), "html.parser")
    dashes = [one.get("stroke-dasharray") for one in page.find_all("rect")]
    assert dashes[0] is None and len(set(dashes)) == 3 and page.find_all("rect")[2]["stroke"] == boxes.GREY
    assert [one.text for one in page.find_all("title")] == [
        "a, found",
        "b, missed",
        "c, not given to the model",
    ]
    assert "b, missed" in page.svg["aria-label"]
