"""New layouts: what they keep of the photos' own, that they repeat, and that they are drawn and scored."""

import json
from dataclasses import replace

import numpy as np
import pytest

from helpers.generation.draw import _wanted
from helpers.parameters import ParameterError
from helpers.report import qualification
from helpers.report.export import export
from helpers.runs import layouts
from helpers.runs.arms import LAYOUTS, Arm
from helpers.runs.layouts import apply, arm_layouts
from helpers.scenes.scenes import fitted
from helpers.scoring import scores
from helpers.sweeps import grids
from tests.fakes.judged import draw, load_small_judges, start


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    run = start(tmp_path_factory.mktemp("study"), 8)
    run.write_jsonl("prompts/suffix.jsonl", run.read_jsonl("prompts/caption.jsonl"))
    run.write_json("choices/template.json", {"template": "suffix", "guidance_scale": 2})
    return run


@pytest.fixture
def scenes(run):
    """The run's scenes, each with boxes of its own."""
    own = [fitted(scene, run.card["protocol"]) for scene in run.scenes]
    return [apply("jittered", own, scene, 7) for scene in own]


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_layout_repeats_and_depends_on_seed_and_scene(name, scenes):
    for scene in scenes:
        one, again = apply(name, scenes, scene, 0), apply(name, scenes[::-1][::-1], scene, 0)
        assert np.array_equal(one.boxes, again.boxes) and one.labels == again.labels
        assert one.boxes.dtype == np.float32 and (one.boxes >= 0).all() and (one.boxes <= 1).all()
        assert (one.boxes[:, 2:] > one.boxes[:, :2]).all()
        assert len(one.boxes) == len(one.labels) == len(one.phrases) and one.name == scene.name
    changed = [
        not np.array_equal(apply(name, scenes, one, 0).boxes, apply(name, scenes, one, 1).boxes)
        for one in scenes
    ]
    assert any(changed) == (name != "mirrored")


def test_mirrored_twice_is_the_same(scenes):
    once = apply("mirrored", scenes, scenes[0], 0)
    assert not np.allclose(once.boxes, scenes[0].boxes)
    assert np.allclose(apply("mirrored", scenes, once, 0).boxes, scenes[0].boxes, atol=1e-6)


def test_jittered_boxes_stay_near_and_keep_their_labels(scenes):
    for scene in scenes:
        near = apply("jittered", scenes, scene, 0)
        assert near.labels == scene.labels and np.abs(near.boxes - scene.boxes).max() < 0.4


def test_others_come_from_another_photo_and_random_from_the_statistics(scenes):
    odd = scenes[0]  # the one with a label that no other has
    assert apply("other", scenes, odd, 0).labels != odd.labels
    sides = {tuple(np.round(box[2:] - box[:2], 4)) for one in scenes for box in one.boxes}
    for scene in scenes:
        new = apply("random", scenes, scene, 3)
        assert new.labels in {one.labels for one in scenes}
        assert {tuple(np.round(box[2:] - box[:2], 4)) for box in new.boxes} <= sides


def test_boxes_of_another_photo_have_numbers_of_their_own(scenes):
    """However many they are: `fitted` keeps one per box."""
    few = replace(scenes[0], boxes=scenes[0].boxes[:1], labels=("cone",), phrases=("a cone",), numbers=())
    crowd = next(one for one in scenes[1:] if len(one.boxes) > 1)
    other = fitted(apply("other", (few, crowd), few, 0), {"size": 64, "fit": "squash"})
    assert len(other.numbers) == len(other.labels) == len(other.boxes) == len(crowd.boxes)


def test_arms_have_their_layout_in_the_name():
    arm = Arm("suffix", "text", 2, seed=1, steps=8, layout="mirrored")
    assert arm.name == "suffix-text-g2-s1-n8-mirrored" and Arm.parse(arm.name) == arm and not arm.is_plain
    with pytest.raises(ParameterError, match="did you mean 'mirrored'"):
        Arm("suffix", "text", 2, layout="mirored")
    with pytest.raises(ParameterError, match="image grounding"):
        Arm("suffix", "image", 2, layout="other")


def test_a_sweep_asks_for_layouts_where_there_can_be_some(run):
    names = grids.arms(run, {"layout": ["", "mirrored"], "grounding": ["text", "image"]})
    assert names == ["suffix-text-g2", "suffix-text-g2-mirrored", "suffix-image-g2"]


def test_pictures_are_drawn_scored_and_exported_by_the_layout_of_their_arm(run, tmp_path):
    arm = "suffix-text-g2-mirrored"
    layout = {scene.name: scene for scene in arm_layouts(run, arm, run.scenes)}
    for request in _wanted(run, [arm]):
        assert np.array_equal(request.boxes, layout[request.scene].boxes)
    draw(run, arm)
    draw(run, "suffix-text-g2")
    scores.score(run, run.scenes, [arm, "suffix-text-g2"], load_small_judges(tmp_path))
    own, mirrored = (run.boxes(name) for name in ("suffix-text-g2", arm))
    assert len(own) == len(mirrored) and not np.allclose(own.crop_similarity, mirrored.crop_similarity)
    assert (run.scores([arm]).layout == "mirrored").all()
    assert qualification.every(run, [arm]).qualifies.all()
    export(run, [arm], tmp_path / "set", val=0, every=True)
    document = json.loads((tmp_path / "set" / "annotations" / "instances_train.json").read_text())
    names = {row["id"]: row["scene"] for row in document["images"]}
    for row in document["annotations"]:
        wanted = layout[names[row["image_id"]]].boxes * 32
        assert np.abs(wanted[:, :2] - row["bbox"][:2]).max(1).min() < 0.01


def test_arms_from_elsewhere_have_the_photos_own_boxes(run):
    scenes = [fitted(scene, run.card["protocol"]) for scene in run.scenes]
    for name in ("photos", "flux", "suffix-text-g2"):
        found = layouts.arm_layouts(run, name, run.scenes)
        assert all(np.array_equal(one.boxes, own.boxes) for one, own in zip(found, scenes, strict=True))
