"""The data set of a run: one in any spelling, changed while nothing depends on it, and large enough."""

import json
import os
import shutil

import pytest
from PIL import Image

from helpers.parameters import ParameterError
from helpers.runs import run as runs
from helpers.runs.protocol import digest, protocol, spelling
from helpers.runs.run import Run
from helpers.scenes import images
from helpers.scenes.problems import DatasetError
from tests.fakes.study import write_scenes


@pytest.fixture
def study(tmp_path, monkeypatch):
    """A data set and the run folder to begin; models that are absent, so that none is hashed."""
    monkeypatch.setattr(runs, "machine", lambda: {"device": "toaster", "versions": {"python": "3"}})
    monkeypatch.setenv("GROUNDED_DATA", str(tmp_path / "no models"))
    return write_scenes(tmp_path / "photos"), tmp_path / "run"


def begin(study, dataset=None):
    photos, folder = study
    return Run.open(folder, **protocol(str(dataset or photos), "demo", 2))


def change(photos, index, **values):
    entries = json.loads((photos / "annotations.json").read_text())
    entries[index] |= values
    (photos / "annotations.json").write_text(json.dumps(entries))


def caption(run):
    run.write_jsonl("captions/opt.jsonl", [{"scene": "photo-0", "generated_text": "a cone"}])


def test_no_run_is_begun_on_scenes_that_cannot_be_read(study):
    photos, folder = study
    change(photos, 1, bboxes=[[40, 6, 30, 40], [34, 20, 60, 58]])
    with pytest.raises(DatasetError, match="x_min 40 is right of x_max 30"):
        begin(study)
    assert not folder.exists()
    change(photos, 1, bboxes=[[4, 6, 30, 40], [34, 20, 60, 58]])
    assert len(begin(study).scenes) == 4


@pytest.mark.parametrize("name", [".DS_Store", "Thumbs.db", "desktop.ini", "._photo-0.png", "labels.cache"])
def test_files_that_no_scene_names_do_not_matter(study, name):
    run = begin(study)
    caption(run)
    (study[0] / name).write_bytes(b"x")
    again = begin(study)
    assert again.card == run.card


def test_the_order_of_keys_and_blanks_of_annotations_do_not_matter(study):
    run = begin(study)
    caption(run)
    entries = json.loads((study[0] / "annotations.json").read_text())
    entries = [dict(reversed(entry.items())) for entry in entries]
    (study[0] / "annotations.json").write_text(json.dumps(entries, indent=4))
    assert begin(study).card == run.card


@pytest.mark.parametrize("name", [".DS_Store", "Thumbs.db", "unet/.cache/x"])
def test_a_checkpoint_does_not_change_by_being_looked_at(tmp_path, name):
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet" / "config.json").write_text("{}")
    before = digest(tmp_path)
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(b"x")
    assert digest(tmp_path) == before
    (tmp_path / "unet" / "config.json").write_text("[]")
    assert digest(tmp_path) != before


def test_one_folder_has_many_spellings(study, monkeypatch):
    photos, _ = study
    card = begin(study).card
    link = photos.parent / "link"
    link.symlink_to(photos)
    for place in (
        f"{photos}/",
        photos.parent / "." / photos.name,
        link,
        os.path.relpath(photos, runs.at(".")),
    ):
        assert begin(study, place).card == card
    assert spelling("data/../data/demo/") == "data/demo"


def test_photos_that_moved_are_followed(study):
    run = begin(study)
    caption(run)
    moved = study[0].rename(study[0].parent / "elsewhere")
    again = begin(study, moved)
    assert again.card["protocol"] == run.card["protocol"] | {"dataset": str(moved)}
    assert len(Run(study[1]).scenes) == 4


def test_a_data_set_changes_freely_while_nothing_was_made_of_it(study):
    first = begin(study).card["protocol"]
    change(study[0], 0, labels=["cone", "barrel"])
    second = begin(study).card["protocol"]
    assert second["dataset_checksum"] != first["dataset_checksum"]
    assert Run(study[1]).card["protocol"] == second
    caption(begin(study))
    assert begin(study).card["protocol"] == second


def test_afterwards_the_message_names_the_scenes_that_changed(study):
    photos, folder = study
    caption(begin(study))
    change(photos, 1, bboxes=[[4, 6, 30, 41], [34, 20, 60, 58]])
    images.save(Image.effect_noise((64, 64), 90).convert("RGB"), photos / "photo-2.png")
    change(photos, 3, image="photo-4.png")
    shutil.move(photos / "photo-3.png", photos / "photo-4.png")
    card = (folder / "run.json").read_bytes()
    with pytest.raises(ParameterError) as caught:
        begin(study)
    for words in (
        "scenes changed: 2 ('photo-1', 'photo-2')",
        "scenes new: 1 ('photo-4')",
        "scenes gone: 1 ('photo-3')",
        "undo the change or start another run (RUN=runs/another)",
    ):
        assert words in str(caught.value)
    assert "checksum" not in str(caught.value), "nobody can give a checksum"
    assert (folder / "run.json").read_bytes() == card


@pytest.mark.parametrize("count", [1, 2])
def test_too_few_photos_are_told_before_a_model_is_loaded(tmp_path, count):
    with pytest.raises(ParameterError, match=f"too few photos, {count}; at least 3 are needed"):
        protocol(str(write_scenes(tmp_path, count)), "demo")


def test_photos_without_any_box_are_told_before_a_model_is_loaded(tmp_path):
    photos = write_scenes(tmp_path)
    for index in range(4):
        change(photos, index, labels=[], bboxes=[])
    with pytest.raises(ParameterError, match=r"no photo has a box \(4 photos\)"):
        protocol(str(photos), "demo")
    change(photos, 3, labels=["cone"], bboxes=[[4, 6, 30, 40]])
    assert protocol(str(photos), "demo")["dataset"] == str(photos)


def test_a_selection_of_a_data_set_is_a_part_of_the_protocol(study):
    photos, folder = study
    chosen = {"limit": 3, "seed": 1, "labels": {"crate": "box"}}
    run = Run.open(folder, **protocol(str(photos), "demo", 2, selection=chosen))
    assert len(run.scenes) == 3 and "box" in run.scenes[0].labels + run.scenes[1].labels
    assert len(json.loads((folder / "scenes.json").read_text())) == 3
    assert Run.open(folder, **protocol(str(photos), "demo", 2, selection=chosen)).card == run.card
    with pytest.raises(ParameterError, match=r"selection = \{\}: .* was made with \{'limit': 3"):
        begin(study)
    with pytest.raises(ParameterError, match="too few photos, 2"):
        protocol(str(photos), "demo", selection={"limit": 2})
