import re

import numpy as np
import pytest

from helpers.scenes import formats

# Three boxes of a 300 x 200 picture, in pixels (x_min, y_min, x_max, y_max)
PIXELS = np.array([[150.0, 90, 290, 190], [20, 110, 60, 195], [200, 5, 260, 80]])
SIZE = np.array([300, 200, 300, 200])


def as_lengths(boxes):
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)


def as_centres(boxes):
    return np.concatenate([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], axis=1)


@pytest.mark.parametrize(
    ("boxes", "name"),
    [
        (PIXELS / SIZE, "fractions (x_min, y_min, x_max, y_max)"),
        (as_centres(PIXELS) / SIZE, "YOLO's fractions (x_centre"),
        (as_lengths(PIXELS), "COCO's (x_min, y_min, width, height)"),
        (as_centres(PIXELS), "(x_centre, y_centre, width, height)"),
        (PIXELS[:, [1, 0, 3, 2]], "(y_min, x_min, y_max, x_max)"),
    ],
)
def test_other_formats_are_recognised(boxes, name):
    assert formats.guess(boxes, 300, 200).startswith(name)
    (told,) = formats.problems(boxes.tolist(), 300, 200)
    assert told.startswith("box ") and name in told and str(boxes[0].tolist()[2]) in told


@pytest.mark.parametrize("boxes", [PIXELS, PIXELS + np.array([-24, 3, 30, 12]), np.empty((0, 4))])
def test_pixels_are_no_problem_even_where_they_leave_the_picture(boxes):
    assert list(formats.problems(boxes.tolist(), 300, 200)) == []


def test_another_format_may_leave_the_picture_by_rounding_only():
    assert "COCO" in formats.guess(np.array([[150, 50, 155, 20]]), 300, 200)
    assert "COCO" not in formats.guess(np.array([[150, 50, 157, 20]]), 300, 200)


def test_the_first_pixel_of_a_tiny_picture_is_a_box():
    assert list(formats.problems([[0, 0, 1, 1]], 4, 4)) == []


def test_a_box_that_leaves_is_no_problem_even_if_its_axes_could_be_swapped():
    assert list(formats.problems([[10, 20, 150, 240]], 300, 200)) == []


@pytest.mark.parametrize(
    ("box", "told"),
    [
        ([250, 20, 90, 300], r"box 1: x_min 250 is right of x_max 90"),
        ([20, 190, 290, 150], r"box 1: y_min 190 is below y_max 150"),
        ([20, 30, 20, 50], r"box 1: x_min 20 and x_max 20 leave \[20, 30, 20, 50\] empty"),
        ([20, float("nan"), 30, 50], r"box 1: \[20, nan, 30, 50\] is not four finite numbers"),
        ([20, float("inf"), 30, 50], r"not four finite"),
        ([20, 10**400, 30, 50], r"not four finite"),
        ([20, True, 30, 50], r"not four finite"),
        ([20, "10", 30, 50], r"not four finite"),
        ([20, None, 30, 50], r"not four finite"),
        ([20, 30, 50], r"\[20, 30, 50\] is not four"),
        ({"x": 3}, r"\{'x': 3\} is not four"),
        ([301, 20, 400, 80], r"wholly outside the 300 x 200 picture"),
        ([-90, -90, 0, 40], r"wholly outside"),
        ([250, 20, 900, 80], r"mostly outside the 300 x 200 picture \(8% inside\)"),
    ],
)
def test_a_bad_box_is_told_by_number_and_value(box, told):
    (line,) = formats.problems([[150, 20, 290, 190], box, [200, 5, 260, 80]], 300, 200)
    assert re.search(told, line) and line.endswith(formats.OURS)


def test_a_bad_box_stays_named_beside_boxes_of_another_format():
    told = list(formats.problems([*as_lengths(PIXELS).tolist(), None], 300, 200))
    assert len(told) == 2 and "COCO" in told[0] and told[1].startswith("box 3: None is not four")
