"""What is known of photo files: decoded once, again when they change, and never in the way."""

import json
import os
import sys
import time
from pathlib import Path
from threading import Event

import pytest
from PIL import Image

from helpers.scenes import images, photos
from helpers.scenes.problems import DatasetError
from helpers.scenes.scenes import read_scenes


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Three photos whose time of change lies an hour back, and a cache of their own."""
    monkeypatch.setenv("GROUNDED_CACHE", str(tmp_path / "cache"))
    place = tmp_path / "photos"
    place.mkdir()
    for index, name in enumerate(("a.png", "b.png", "c.png")):
        Image.effect_noise((30 + index, 20), 90).save(place / name)
        age(place / name)
    return place


@pytest.fixture
def decoded(monkeypatch):
    """Names of the photos that were decoded, as they come."""
    names, load = [], images.load
    monkeypatch.setattr(images, "load", lambda path: (names.append(path.name), load(path))[1])
    return names


def age(path, seconds=3600):
    then = time.time() - seconds
    os.utime(path, (then, then))


def look(folder):
    return photos.look(folder, sorted(folder.glob("*.png")))


def test_an_unchanged_photo_is_decoded_once(folder, decoded):
    first = look(folder)
    assert sorted(decoded) == ["a.png", "b.png", "c.png"]
    assert look(folder) == first and len(decoded) == 3
    assert [(one.width, one.height, one.orientation) for one in first.values()] == [
        (w, 20, 1) for w in (30, 31, 32)
    ]


def test_a_changed_photo_is_decoded_again_and_no_other(folder, decoded):
    before = look(folder)
    Image.effect_noise((99, 20), 90).save(folder / "b.png")
    age(folder / "b.png", 60)
    after = look(folder)
    assert decoded[3:] == ["b.png"] and after[folder / "b.png"].width == 99
    assert {path for path in after if after[path] != before[path]} == {folder / "b.png"}
    assert look(folder) == after and len(decoded) == 4


def test_a_photo_that_changed_just_now_is_not_trusted_yet(folder, decoded):
    os.utime(folder / "a.png")
    look(folder)
    look(folder)
    assert sorted(decoded) == ["a.png", "a.png", "b.png", "c.png"]


def test_a_damaged_photo_is_told_each_time_until_it_is_replaced(folder, decoded):
    (folder / "a.png").write_bytes(b"")
    age(folder / "a.png")
    for _ in range(2):
        assert look(folder)[folder / "a.png"] == "this is an empty file; copy or download it again"
    Image.new("RGB", (8, 8)).save(folder / "a.png")
    assert look(folder)[folder / "a.png"].width == 8


@pytest.mark.parametrize("text", ["", "{", "[]", '{"x": 3}', "null"])
def test_a_damaged_cache_costs_time_and_nothing_else(folder, decoded, text):
    first = look(folder)
    (memory,) = Path(os.environ["GROUNDED_CACHE"], "photos").iterdir()
    memory.write_text(text)
    assert look(folder) == first and len(decoded) == 6


def test_a_cache_folder_that_cannot_be_made_costs_time_and_nothing_else(folder, decoded, monkeypatch):
    (folder.parent / "file").touch()
    monkeypatch.setenv("GROUNDED_CACHE", str(folder.parent / "file"))
    assert look(folder) == look(folder) and len(decoded) == 6


def test_what_is_known_survives_an_interrupt(folder, decoded, monkeypatch):
    monkeypatch.setattr(photos, "CHUNK", 1)
    monkeypatch.setattr(photos, "PAUSE", -1)
    known = images.load

    def stop(path):
        if path.name == "c.png":
            raise KeyboardInterrupt
        return known(path)

    monkeypatch.setattr(images, "load", stop)
    with pytest.raises(KeyboardInterrupt):
        look(folder)
    monkeypatch.setattr(images, "load", known)
    look(folder)
    assert decoded == ["a.png", "b.png", "c.png"]


def test_where_all_is_known_nothing_is_decoded_or_written(folder, decoded):
    look(folder)
    (memory,) = Path(os.environ["GROUNDED_CACHE"], "photos").iterdir()
    age(memory)
    before = memory.stat().st_mtime_ns
    look(folder)
    assert memory.stat().st_mtime_ns == before and len(decoded) == 3


def annotate(folder, **more):
    files = sorted(path.name for path in folder.iterdir())
    entries = [{"image": name, "labels": ["x"], "bboxes": [[1, 1, 9, 9]]} | more for name in files]
    lines = "".join(json.dumps(entry) + "\n" for entry in entries)
    (folder / "set.jsonl").write_text(lines)
    return folder


def test_a_bar_shows_the_check_of_many_photos(folder, monkeypatch, capsys):
    """On a terminal; elsewhere, as in an executed notebook, it would be litter."""
    monkeypatch.setattr(photos, "MANY", 3)
    look(folder)
    assert capsys.readouterr().err == ""
    (folder / "a.png").touch()
    age(folder / "a.png", 60)
    monkeypatch.setattr(photos, "MANY", 1)
    monkeypatch.setattr(type(sys.stderr), "isatty", lambda _: True, raising=False)
    look(folder)
    assert "checking photos" in capsys.readouterr().err


def test_who_does_not_wait_opens_a_data_set_while_no_photo_is_decoded(folder, decoded, monkeypatch):
    """Photos are decoded in the background, each once; a later reading has their content."""
    go, load = Event(), images.load
    monkeypatch.setattr(images, "load", lambda path: (go.wait(), load(path))[1])
    scenes = read_scenes(annotate(folder), wait=False)
    assert decoded == [] and [scene.width for scene in scenes] == [30, 31, 32]
    assert {scene.content for scene in scenes} == {""}
    assert scenes.notes[0].startswith("photos that are being checked in the background: 3; later steps wait")
    again = read_scenes(folder, wait=False)
    assert decoded == [] and len(again) == 3
    go.set()
    photos._running[folder].join()
    assert sorted(decoded) == ["a.png", "b.png", "c.png"]
    whole = read_scenes(folder)
    assert len(decoded) == 3 and all(scene.content for scene in whole) and not whole.notes
    assert all(scene.content for scene in read_scenes(folder, wait=False)) and len(decoded) == 3


def test_where_sizes_are_stated_no_photo_is_opened(folder, decoded, monkeypatch):
    monkeypatch.setattr(photos, "_header", lambda path: pytest.fail("a photo was opened"))
    monkeypatch.setattr(photos, "_decode", lambda *arguments: None)
    assert len(read_scenes(annotate(folder, width=31, height=20), wait=False)) == 3


def test_a_photo_that_is_damaged_is_told_by_the_step_that_uses_it(folder):
    (folder / "b.png").write_bytes((folder / "b.png").read_bytes()[:300])
    assert len(read_scenes(annotate(folder), wait=False)) == 3
    with pytest.raises(
        DatasetError, match=r"scene 'b\.png': cannot be read as a picture .*; replace the file"
    ):
        read_scenes(folder)
