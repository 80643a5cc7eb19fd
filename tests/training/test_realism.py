"""Realism of the demo models by EfficientNet-Lite0: distances that rise with damage, and their bars."""

import pytest
from PIL import ImageFilter

from data.training import realism
from data.training.world import SPLITS, draw_scene


@pytest.fixture(scope="module")
def photos():
    return [draw_scene(seed, crisp=True).image for seed in SPLITS["validation"][:6]]


def test_the_distance_rises_with_blur_and_bars_stand_where_they_are_asked_for(photos):
    blurred = {f"blur {by}": [one.filter(ImageFilter.GaussianBlur(by)) for one in photos] for by in (1, 3)}
    table = [*realism.rows({"round trip": photos} | blurred, photos)]
    values = {row.measure.split(", ")[1]: row.value.value for row in table if "Fréchet" in row.measure}
    assert values["round trip"] == 0 < values["blur 1"] < values["blur 3"]
    assert [row.bar for row in table] == [80, None, None, None, None, None]
