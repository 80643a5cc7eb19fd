import re

import numpy as np
import pytest

from helpers.scenes import checks
from helpers.scenes.problems import lines

# Three boxes of a 300 x 200 picture, in pixels (x_min, y_min, x_max, y_max)
PIXELS = np.array([[150.0, 90, 290, 190], [20, 110, 60, 195], [200, 5, 260, 80]])
SIZE = np.array([300, 200, 300, 200])


def sizes(n, width=300, height=200):
    return np.full((n, 2), (width, height))


def told_of(*scenes, width=300, height=200):
    """Problems of scenes with these boxes, as lines without the file and the scene."""
    rows = [
        {"image": str(index), "width": width, "height": height, "labels": ["x"] * len(boxes), "bboxes": boxes}
        for index, boxes in enumerate(scenes)
    ]
    return [line.split("', ", 1)[1] for line in lines("f", rows, checks.check(rows, {}))]


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
    assert checks.guess(boxes, sizes(3)).startswith(name)
    (told,) = told_of(boxes.tolist())
    assert told.startswith("box ") and name in told and str(boxes[0].tolist()[2]) in told


@pytest.mark.parametrize("boxes", [PIXELS, PIXELS + np.array([-24, 3, 30, 12]), np.empty((0, 4))])
def test_pixels_are_no_problem_even_where_they_leave_the_picture(boxes):
    assert told_of(boxes.tolist()) == []


def test_another_format_may_leave_the_picture_by_rounding_only():
    assert "COCO" in checks.guess(np.array([[150, 50, 155, 20]]), sizes(1))
    assert "COCO" not in checks.guess(np.array([[150, 50, 157, 20]]), sizes(1))


def test_the_first_pixel_of_a_tiny_picture_is_a_box():
    assert told_of([[0, 0, 1, 1]], width=4, height=4) == []


def test_a_box_that_leaves_is_no_problem_even_if_its_axes_could_be_swapped():
    assert told_of([[10, 20, 150, 240]]) == []


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
    (line,) = told_of([[150, 20, 290, 190], box, [200, 5, 260, 80]])
    assert re.search(told, line) and line.endswith(checks.OURS)


def test_a_bad_box_stays_named_beside_boxes_of_another_format():
    told = told_of([*as_lengths(PIXELS).tolist(), None])
    assert len(told) == 2 and "COCO" in told[0] and told[1].startswith("box 3: None is not four")


def test_the_format_is_judged_over_the_whole_data_set():
    """Of boxes (x, y, width, height) only some look reversed; all scenes are counted."""
    draw = np.random.default_rng(0)
    low, sides = draw.uniform(0, 150, (100, 2)), draw.uniform(20, 50, (100, 2))
    scenes = [[row] for row in np.concatenate([low, sides], axis=1).round(1).tolist()]
    wrong = sum(row[2] < row[0] or row[3] < row[1] for (row,) in scenes)
    assert 50 < wrong < 100
    (told,) = told_of(*scenes)
    assert "these look like COCO's" in told and told.endswith(
        "in all 100 scenes, also where it does not show"
    )
    told = told_of(*scenes, [[250, 150, 260, 190]])
    assert len(told) == 1 and "in 100 of 101 scenes, also where it does not show" in told[0]


def test_one_reversed_box_does_not_make_another_format_of_a_data_set():
    boxes = [[10, 10, 90, 60], [20, 30, 40, 90]]
    told = told_of(*[boxes] * 9, [[60, 10, 40, 60]])
    assert len(told) == 1 and told[0].startswith("box 0: x_min 60 is right of x_max 40")
    assert "9" not in told[0].split("; ")[-1]


def test_scenes_of_two_formats_are_told_with_their_counts():
    theirs, ours = as_lengths(PIXELS).tolist(), PIXELS.tolist()
    (told,) = told_of(*[theirs] * 4, *[ours] * 6)
    assert "these look like COCO's" in told and "(and 3 more, in 4 scenes together: " in told
