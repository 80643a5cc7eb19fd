"""The drawn world: the same from the same seed, true boxes, captions that say what is there."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from data.training.sprites import SPRITES
from data.training.world import (
    ALL_PHRASES,
    ASPECTS,
    COLOURS,
    KINDS,
    MAX_OBJECTS,
    QUALITY_WORDS,
    SIZE,
    SPLITS,
    describe,
    draw_scene,
    phrase,
)


def test_splits_never_overlap():
    splits = list(SPLITS.values())
    for i, one in enumerate(splits):
        for other in splits[i + 1 :]:
            assert not range(max(one.start, other.start), min(one.stop, other.stop))
        assert len(one) >= 100_000


def test_a_seed_gives_the_same_scene_and_another_seed_another():
    first, again, other = draw_scene(7), draw_scene(7), draw_scene(8)
    assert np.array_equal(first.image, again.image) and first.caption == again.caption
    assert not np.array_equal(first.image, other.image)


@pytest.mark.parametrize("kind", KINDS)
def test_a_sprite_fills_its_box_and_nothing_else(kind):
    for seed, (x, y, height) in enumerate([(5, 30, 160), (60, 100, 90), (64, 64, 50)]):
        box = x, y, x + round(height * ASPECTS[kind]), y + height
        canvas = Image.new("RGB", (256, 256), (1, 2, 3))
        SPRITES[kind](
            ImageDraw.Draw(canvas), np.array(box, float), COLOURS["green"], np.random.default_rng(seed)
        )
        painted = (np.asarray(canvas) != (1, 2, 3)).any(-1)
        rows, columns = np.nonzero(painted.any(1))[0], np.nonzero(painted.any(0))[0]
        found = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
        assert np.abs(np.array(found) - box).max() <= 2, f"{kind}: drawn in {found}, its box is {box}"


def test_boxes_are_fractions_that_lie_in_the_photo():
    for seed in range(300):
        scene = draw_scene(seed)
        assert scene.image.size == (SIZE, SIZE) and scene.image.mode == "RGB"
        assert scene.boxes.dtype == np.float32 and 1 <= len(scene.boxes) <= MAX_OBJECTS
        assert (scene.boxes >= 0).all() and (scene.boxes <= 1).all()
        assert (scene.boxes[:, 2:] - scene.boxes[:, :2] > 0.05).all()
        assert len(scene.labels) == len(scene.phrases) == len(scene.boxes)
        assert set(scene.phrases) <= set(ALL_PHRASES)


def test_quality_words_stand_exactly_where_the_photo_is_crisp():
    scenes = [draw_scene(seed) for seed in range(200)]
    assert {scene.crisp for scene in scenes} == {True, False}
    for scene in scenes:
        assert any(words in scene.training_caption for words in QUALITY_WORDS) == scene.crisp
        assert not any(words in scene.caption for words in QUALITY_WORDS)


def test_crispness_can_be_asked_for_without_moving_anything():
    crisp, spoiled = draw_scene(3, crisp=True), draw_scene(3, crisp=False)
    assert np.array_equal(crisp.boxes, spoiled.boxes) and crisp.caption == spoiled.caption
    assert not np.array_equal(crisp.image, spoiled.image)


def test_a_caption_counts_in_a_fixed_order():
    said = describe(("cone", "worker", "cone"), ("red", "green", "red"), "street")
    assert said == "a worker in a green vest and two red cones on a street"
    assert phrase("barrel", "orange") == "an orange barrel"
