"""Real layouts that nobody here made, through scenes, drawing and prompts; skipped where they are absent."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from helpers.captioning.prompts import TEMPLATES, fill
from helpers.scenes import boxes, images
from helpers.scenes.annotations import write_annotations
from helpers.scenes.scenes import fitted, read_scenes

WORKSITE = Path(__file__).resolve().parents[3] / "shared" / "worksite"
pytestmark = pytest.mark.skipif(
    not WORKSITE.is_dir(), reason="../shared/worksite is not beside this checkout"
)


@pytest.fixture(scope="module")
def scenes():
    return read_scenes(WORKSITE)


def test_all_scenes_load_with_their_crowds_and_clipped_rounding(scenes):
    assert len(scenes) == 24
    counts = [len(scene.boxes) for scene in scenes]
    assert (min(counts), max(counts), counts.count(30)) == (1, 69, 1)
    assert sum(count > 30 for count in counts) == 4
    every = np.concatenate([scene.boxes for scene in scenes])
    assert every.min() == 0 and every.max() == 1 and (boxes.area(every) > 0).all()
    assert not scenes.notes
    assert all(scene.photo().size == (scene.width, scene.height) == (512, 512) for scene in scenes)


def test_the_crowds_are_cut_to_the_30_largest(scenes):
    for scene in scenes:
        kept, dropped = boxes.largest(scene.boxes)
        assert len(kept) == min(30, len(scene.boxes))
        assert (
            len(dropped) == 0 or boxes.area(scene.boxes)[dropped].max() <= boxes.area(scene.boxes)[kept].min()
        )


def test_every_scene_is_drawn(scenes):
    drawn = [boxes.draw_boxes(scene.photo(), scene.boxes, scene.labels) for scene in scenes]
    assert all(not np.array_equal(one, scene.photo()) for one, scene in zip(drawn, scenes, strict=True))


def test_prompts_name_every_label_once(scenes):
    for scene in scenes:
        prompt = fill(TEMPLATES["label"], scene.generated_text, scene.labels)
        named = prompt.split("focus on on ")[1].split(",focus on bboxes")[0].split(", ")
        assert prompt.startswith(scene.generated_text) and sorted(named) == sorted(set(scene.labels))
        assert named[0] == scene.labels[0]


def test_the_file_is_written_back_with_prompts_and_read_again(scenes, tmp_path):
    texts = [{"suffix": fill(TEMPLATES["suffix"], scene.generated_text, ())} for scene in scenes]
    said = [replace(scene, prompts=text) for scene, text in zip(scenes, texts, strict=True)]
    write_annotations(tmp_path / "annotations.json", said)
    original = json.loads((WORKSITE / "annotations.json").read_text())
    for before, after in zip(original, json.loads((tmp_path / "annotations.json").read_text()), strict=True):
        assert {key: after[key] for key in before if key != "bboxes"} | {"bboxes": before["bboxes"]} == before
        assert np.abs(np.array(before["bboxes"]) - after["bboxes"]).max() < 1e-3
        assert (
            after["prompt_w_suffix"] == before["generated_text"] + ", professional quality, highly detailed"
        )
    (tmp_path / "images").symlink_to(WORKSITE / "images")
    again = read_scenes(tmp_path)
    assert all(np.array_equal(one.boxes, two.boxes) for one, two in zip(scenes, again, strict=True))


@pytest.mark.parametrize("how", ["squash", "crop"])
def test_scenes_fit_the_model(scenes, how):
    for scene in scenes:
        made = fitted(scene, {"size": 128, "fit": how})
        assert images.fit(scene.photo(), 128, how).size == (128, 128)
        assert np.allclose(made.boxes, scene.boxes[[*made.numbers]]), "a square photo is cropped nowhere"
        assert how == "crop" or len(made.boxes) == len(scene.boxes)
