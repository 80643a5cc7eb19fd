"""The colour of the object in a box, measured by hand."""

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from data.training.world import COLOURS, SPLITS, UNNAMED, draw_scene
from helpers.scoring import extraction
from helpers.scoring.colours import nearest_name, object_colour, object_pixels, rgb_distance

BOX, TEAL = (0.25, 0.25, 0.75, 0.75), (0, 128, 128)


def picture(colour, background=(90, 90, 90)):
    pixels = np.full((100, 100, 3), background, np.uint8)
    pixels[30:70, 30:70] = colour
    return pixels


def test_only_saturated_pixels_in_the_ellipse_of_a_colour_of_their_own_count():
    assert (object_pixels(picture(TEAL), BOX) == TEAL).all()
    shown = picture(TEAL)
    shown[25:28, 25:75] = (200, 0, 0)  # in the corners of the box, outside of its ellipse
    shown[30:40, 30:70] = (240, 240, 240)  # a white band
    assert object_colour(shown, BOX) == TEAL
    assert object_colour(picture(TEAL, background=(80, 160, 60)), BOX) == TEAL  # on grass
    assert "0 pixels are saturated" in object_colour(picture(TEAL, background=TEAL), BOX)


def test_where_an_object_has_no_colour_the_reason_is_said():
    assert object_colour(picture((40, 40, 60)), BOX) == (
        "0 pixels are saturated and unlike the surroundings, at least 50 are needed"
    )
    assert np.isnan(rgb_distance(picture(TEAL), BOX, "no colour"))


def test_the_distance_is_the_mean_of_pixels():
    half = picture(TEAL)
    half[30:50, 30:70] = (0, 128, 128 + 51)
    count = len(object_pixels(half, BOX))
    assert 1500 < count < 40 * 40 and rgb_distance(half, BOX, TEAL) == pytest.approx(0.1)
    assert rgb_distance(picture(TEAL), BOX, TEAL) == 0
    grey = picture((128, 128, 128), (128, 128, 128))  # nothing was drawn: all of the box counts
    assert rgb_distance(grey, BOX, TEAL) == pytest.approx(128 / 255)


@pytest.mark.parametrize("name", UNNAMED)
def test_the_colour_of_a_drawn_object_is_measured(name):
    seen = []
    for seed in SPLITS["validation"][500:512]:
        scene = draw_scene(seed, crisp=True)
        box = int((scene.boxes[:, 2:] - scene.boxes[:, :2]).prod(1).argmax())
        drawn = draw_scene(seed, crisp=True, recolour={box: name})
        seen.append(object_colour(np.asarray(drawn.image), drawn.boxes[box]))
    gaps = [np.linalg.norm(np.subtract(one, UNNAMED[name])) for one in seen if not isinstance(one, str)]
    assert len(gaps) >= 10 and np.median(gaps) < 40


def test_the_nearest_name_is_one_of_those_given():
    assert nearest_name((125, 70, 40)) == "brown"
    assert nearest_name((125, 70, 40), COLOURS) == "red"


def test_a_picture_is_compared_with_the_photo_box_by_box():
    boxes = np.float32([BOX, [0, 0, 0.2, 0.2]])
    layout = SimpleNamespace(boxes=boxes, photo=lambda: Image.fromarray(picture(TEAL)))
    distances = extraction._rgb(
        Image.fromarray(picture((0, 128, 179))), layout, {"size": 100, "fit": "squash"}
    )
    assert distances[0, 0] == pytest.approx(0.2, abs=0.01) and np.isnan(distances[1, 0])  # a grey corner
    layout.boxes = boxes[:0]
    assert extraction._rgb(layout.photo(), layout, {"size": 100, "fit": "squash"}).shape == (0, 1)
