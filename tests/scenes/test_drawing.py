import numpy as np
import pytest
from PIL import Image, ImageColor

from helpers.scenes import drawing

GREY = Image.new("RGB", (200, 160), "#808080")


def painted(image, colour):
    """Where a picture has exactly this colour: (height, width) bool."""
    return (np.asarray(image) == ImageColor.getrgb(colour)).all(axis=2)


def test_a_label_has_one_colour_and_others_have_others():
    assert drawing.colour_of("Person") == drawing.colour_of("Person") == "#13ec49"
    names = ["Head", "Face", "Hands", "Ear", "Glasses", "Shoes", "Person", "Tools", "Helmet", "Gloves"]
    assert len({drawing.colour_of(name) for name in names}) == len(names)


def test_an_outline_stands_on_the_box_and_the_given_picture_is_left_alone():
    before = np.array(GREY)
    drawn = drawing.draw_boxes(GREY, [[0.25, 0.5, 0.75, 1.0]], [""], ["#ff0000"])
    red = painted(drawn, "#ff0000")
    assert (
        red[80, 50:150].all() and red[159, 50:150].all() and red[80:160, 50].all() and red[80:160, 149].all()
    )
    assert not red[:60].any() and not red[:, :50].any() and not red[:, 150:].any()
    assert np.array_equal(GREY, before) and drawn.size == GREY.size


@pytest.mark.parametrize("corner", [(0, 0), (0.9, 0), (0, 0.9), (0.9, 0.9)])
def test_tags_stay_inside_the_picture(corner):
    box = [[*corner, corner[0] + 0.1, corner[1] + 0.1]]
    colour = drawing.colour_of("Helmet")
    with_tag = painted(drawing.draw_boxes(GREY, box, ["Helmet"]), colour).sum()
    bare = painted(drawing.draw_boxes(GREY, box, [""], [colour]), colour).sum()
    assert with_tag > bare + 200


def test_tags_of_neighbours_do_not_cover_each_other():
    boxes, labels = [[0.3, 0.4, 0.5, 0.6], [0.32, 0.42, 0.52, 0.62]], ["Hands", "Shoes"]
    alone = [drawing.draw_boxes(GREY, [box], [label]) for box, label in zip(boxes, labels, strict=True)]
    both = drawing.draw_boxes(GREY, boxes, labels)
    for label, one in zip(labels, alone, strict=True):
        colour = drawing.colour_of(label)
        assert painted(both, colour).sum() > 0.85 * painted(one, colour).sum()


@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
def test_a_small_box_is_drawn_over_a_large_one(order):
    boxes, colours = (
        np.array([[0.25, 0.5, 0.75, 1.0], [0.25, 0.5, 0.5, 0.75]]),
        np.array(["#ff0000", "#00ff00"]),
    )
    drawn = drawing.draw_boxes(GREY, boxes[order], ["", ""], colours[order].tolist())
    assert painted(drawn, "#00ff00")[85:115, 50].all() and painted(drawn, "#ff0000")[125:155, 50].all()


def test_in_a_crowd_tags_stay_whole_and_those_without_a_place_are_left_out():
    colours = [f"#{number:02x}0000" for number in range(100, 160)]
    drawn = drawing.draw_boxes(GREY, np.tile([0.4, 0.4, 0.6, 0.6], (60, 1)), ["Person"] * 60, colours)
    sizes = [painted(drawn, colour).sum() for colour in colours[:-1]]  # the last one also draws the outline
    assert len(set(sizes)) == 2 and min(sizes) == 0 and 2 <= np.count_nonzero(sizes) <= 12
    assert painted(drawn, colours[-1]).sum() > 0


def test_labels_and_colours_must_be_one_a_box():
    with pytest.raises(ValueError, match="1 boxes, 2 labels"):
        drawing.draw_boxes(GREY, [[0, 0, 1, 1]], ["a", "b"])
    with pytest.raises(ValueError, match="1 boxes, 1 labels and 0 colours"):
        drawing.draw_boxes(GREY, [[0, 0, 1, 1]], ["a"], [])


def test_no_boxes_leave_the_picture_as_it_is():
    assert np.array_equal(drawing.draw_boxes(GREY, np.empty((0, 4)), []), GREY)


def test_a_grid_shows_every_picture_in_reading_order():
    colours = ["#ff0000", "#00ff00", "#0000ff"]
    sizes = [(40, 30), (20, 30), (40, 10)]
    sheet = drawing.grid([Image.new("RGB", s, c) for s, c in zip(sizes, colours, strict=True)], 2, padding=5)
    assert sheet.size == (5 + 45 + 45, 5 + 35 + 35)
    centres = [np.argwhere(painted(sheet, colour)).mean(axis=0).tolist() for colour in colours]
    assert centres == [[19.5, 24.5], [19.5, 69.5], [54.5, 24.5]]
    assert [painted(sheet, colour).sum() for colour in colours] == [1200, 600, 400]


def test_long_captions_are_wrapped_below_their_picture():
    images = [Image.new("RGB", (100, 40), "#0000ff")] * 2
    sheet = drawing.grid(
        images, 2, ["short", "a caption that is much longer than its picture is wide"], padding=4
    )
    ink = (np.asarray(sheet)[..., 2] < 200) & ~painted(sheet, "#0000ff")
    left, right = np.argwhere(ink[:, :104]), np.argwhere(ink[:, 104:])
    assert left[:, 0].min() >= 44 and right[:, 1].min() >= 4 and right[:, 1].max() < 104
    assert np.ptp(right[:, 0]) > 2 * np.ptp(left[:, 0])


@pytest.mark.parametrize(
    ("images", "columns", "captions"), [([], 2, None), ([GREY], 0, None), ([GREY], 1, ["a", "b"])]
)
def test_a_grid_that_cannot_be_is_refused(images, columns, captions):
    with pytest.raises(ValueError, match="pictures in"):
        drawing.grid(images, columns, captions)
