"""Measures of edits against values worked out by hand."""

import numpy as np
import pytest

from helpers.scoring.edits import MARGIN, Edited, direction, done, kept, spared

GREY = np.full((100, 100, 3), 100, np.uint8)
BOX = (0.4, 0.4, 0.6, 0.6)


def edited(*boxes, target=((1, 0),), source=((0, 1),)):
    n = len(boxes)
    nothing = np.zeros(n)
    return Edited(boxes, nothing, np.zeros((n, 2)), np.array(source * n, float), np.array(target * n, float))


def test_kept_is_psnr_outside_the_grown_box():
    picture = GREY.copy()
    picture[40:60, 40:60] = 255  # the edit itself does not count
    reach = round(20 * MARGIN)
    picture[40 - reach, 40:60] = 255  # nor does what lies within the margin
    assert kept(picture, GREY, BOX) == pytest.approx(10 * np.log10(255**2 * 12))  # nothing but rounding
    picture[:10] = 110
    outside = 100 * 100 - (20 + 2 * reach) ** 2
    assert kept(picture, GREY, BOX) == pytest.approx(10 * np.log10(255**2 / (100 * 1000 / outside)))


def test_kept_of_an_edit_of_everything_has_no_value():
    assert np.isnan(kept(GREY, GREY, (0, 0, 1, 1)))


def test_direction_is_the_cosine_of_both_changes():
    photo, right, up = np.array([[1.0, 0]]), np.array([[0.0, 0.0]]), np.array([[0.0, 1.0]])
    edit = Edited((None,), np.zeros(1), photos=photo, source=right, target=up)
    assert direction(edit, photo + up) == pytest.approx(1)
    assert direction(edit, photo - up) == pytest.approx(-1)
    assert direction(edit, 2 * photo) == pytest.approx(0)
    assert direction(edit, photo) == 0  # nothing changed


def test_an_edit_is_done_where_the_edited_box_shows_its_target():
    correct = [np.array([1.0, 0.0]), np.array([1.0, 0.0])]
    assert done(edited(0, 1), correct, np.eye(2)).tolist() == [1, 0]


def test_an_edit_of_the_whole_picture_is_done_where_it_is_nearer_to_the_target():
    assert done(edited(None, None), [np.array([]), np.array([])], np.eye(2)).tolist() == [1, 0]


def test_all_boxes_but_the_edited_one_are_to_be_spared():
    first, second = spared(edited(1, None), [np.array([1.0, 1.0, 0.0]), np.array([0.0])])
    assert np.array_equal(first, [1, np.nan, 0], equal_nan=True) and second.tolist() == [0]
