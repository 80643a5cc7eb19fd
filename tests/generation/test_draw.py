"""Drawing an arm of a run: what it asks of the UNet, and what it holds in memory."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from helpers.generation import draw as drawing
from helpers.generation.draw import draw, request
from helpers.models import loading
from helpers.runs.arms import Arm
from helpers.runs.run import Run
from helpers.scenes import images
from helpers.scenes.scenes import Scene, read_scenes
from tests.fakes import gligen as fakes
from tests.fakes.study import write_scenes


def start(folder, count: int) -> Run:
    settings = {"dataset": str(write_scenes(folder / "photos", count)), "models": "demo", "fit": "squash"}
    run = Run.open(folder / "run", **settings, size=64, steps=2, scheduler="ddim", safety=False)
    run.write_jsonl("prompts/caption.jsonl", [{"scene": one.name, "prompt": "a cone"} for one in run.scenes])
    return run


@pytest.fixture
def gligen(tmp_path, monkeypatch) -> SimpleNamespace:
    made = fakes.gligen(fakes.components(tmp_path / "parts", image=True))
    monkeypatch.setattr(loading, "load_gligen", lambda *_, **__: made)
    monkeypatch.setattr(loading, "release", lambda gligen: None)
    return made


@pytest.mark.parametrize(("scale", "rows"), [(2, 6), (1, 3)])
def test_a_small_run_pays_for_no_full_batch(gligen, tmp_path, scale, rows):
    seen = []
    gligen.unet.conv_in.register_forward_hook(lambda _, inputs, __: seen.append(len(inputs[0])))
    draw(start(tmp_path, 3), [f"caption-text-g{scale}"], progress=False)
    assert seen == [rows] * 2


def test_a_resumed_small_run_makes_the_same_bits(gligen, tmp_path):
    run, arm = start(tmp_path, 3), "caption-text-g2"
    draw(run, [arm], progress=False)
    path = run.picture(arm, run.scenes[1])
    whole = np.asarray(images.load(path))
    path.unlink()
    assert len(draw(run, [arm], progress=False)) == 1
    assert fakes.same(images.load(path), whole)


@pytest.mark.parametrize(("batch_size", "decoded"), [(1, [1] * 3), (2, [2] * 2), (0, [3])])
def test_a_batch_is_decoded_at_its_own_size_whatever_is_missing(
    gligen, tmp_path, monkeypatch, batch_size, decoded
):
    run, arm, seen = start(tmp_path, 3), "caption-text-g2", []
    decode = gligen.vae.decode
    monkeypatch.setattr(gligen.vae, "decode", lambda part: seen.append(len(part)) or decode(part))
    draw(run, [arm], progress=False, batch_size=batch_size)
    assert seen == decoded
    run.picture(arm, run.scenes[1]).unlink()
    draw(run, [arm], progress=False, batch_size=batch_size)
    assert seen[len(decoded) :] == decoded[:1]


def test_photos_are_read_when_their_batch_is_due_and_not_kept(gligen, tmp_path, monkeypatch):
    """At no time more than one photo, whatever the number of scenes and the batch size."""
    run, alive, most, load = start(tmp_path, 6), set(), [], images.load

    class Counted(Image.Image):
        def __del__(self):
            alive.discard(id(self))

    def counted(path):
        photo = load(path)
        photo.__class__ = Counted
        alive.add(id(photo))
        most.append(len(alive))
        return photo

    asked = [
        request(scene, "a cone", Arm("caption", "image", 2), run.card["protocol"]) for scene in run.scenes
    ]
    assert not most and [len(one.crops) for one in asked] == [2] * 6
    monkeypatch.setattr(images, "load", counted)
    draw(run, ["caption-image-g2"], progress=False, batch_size=4)
    assert len(most) == 6 and max(most) <= 2


@pytest.mark.parametrize("fit", ["squash", "crop"])
def test_crops_are_those_of_the_photo_at_full_size(tmp_path, fit):
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8))
    photo.save(tmp_path / "a.png")
    boxes = np.array([[0, 0, 0.5, 0.5], [0.25, 0.5, 1, 1]], np.float32)
    scene = Scene("a", tmp_path / "a.png", 90, 60, ("x", "y"), ("x", "y"), boxes)
    asked = request(scene, "x and y", Arm("suffix", "image", 2), {"size": 64, "fit": fit})
    middle = photo if fit == "squash" else photo.crop((15, 0, 75, 60))
    expected = [images.crop(middle, box) for box in asked.boxes]
    assert len(asked.crops) == 2 and [one.size for one in asked.crops] == [one.size for one in expected]
    assert all(np.array_equal(*pair) for pair in zip(asked.crops, expected, strict=True))


def test_class_names_are_words_for_the_model_and_phrases_stay_as_they_were_written(tmp_path):
    dataset = write_scenes(tmp_path / "photos", 1)
    file = dataset / "annotations.json"
    (entry,) = json.loads(file.read_text())
    for phrases, read in ((None, ("hard hat", "traffic light")), (["A-1 hat", "b_c"], ("A-1 hat", "b_c"))):
        file.write_text(json.dumps([entry | {"labels": ["Hard-Hat", "traffic_light"], "phrases": phrases}]))
        (scene,) = read_scenes(dataset)
        asked = request(scene, "", Arm("caption", "text", 2), {"size": 64, "fit": "squash"})
        assert asked.phrases == read and scene.labels == ("Hard-Hat", "traffic_light")


def test_the_module_needs_no_torch_to_name_an_arms_requests():
    assert "torch" not in vars(drawing)
