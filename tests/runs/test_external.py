"""Pictures of another generator: which names they may have, what is wrong with them, and who is complete."""

import pytest
from PIL import Image

from helpers.parameters import ParameterError
from helpers.runs import external
from helpers.runs import run as runs
from helpers.runs.run import Run
from helpers.scenes import images
from helpers.scoring import scores
from tests.fakes.study import write_scenes


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "machine", lambda: {"device": "toaster", "versions": {"python": "3"}})
    return Run.open(tmp_path / "run", dataset=str(write_scenes(tmp_path / "photos")), models="demo")


CONTROLS = (scores.PHOTOS, scores.CHANCE, scores.ROUND_TRIP)


@pytest.mark.parametrize(
    "name",
    [
        *CONTROLS,
        scores.CAPTIONER + "opt",
        scores.SHUFFLED + "suffix-text-g2",
        "Photos",
        "suffix-text-g2",
        "a/b",
        "",
    ],
)
def test_a_name_that_has_a_meaning_is_refused(run, tmp_path, name):
    with pytest.raises(ParameterError, match="external = "):
        external.join(run, name, str(tmp_path))
    assert run.arms() == []


def test_a_folder_that_is_not_there_is_refused(run, tmp_path):
    with pytest.raises(ParameterError, match="no such folder"):
        external.check("mine", str(tmp_path / "none"))


def test_what_is_missing_or_broken_or_has_no_scene_is_named(run, tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    Image.new("RGB", (40, 40), "olive").save(folder / "photo-0.jpg")
    for name in ("photo-1.png", "stranger.png"):
        (folder / name).write_bytes(b"no picture")
    problems = external.join(run, "sd-1.5", str(folder))
    assert [row["scene"] for row in problems] == ["photo-1", "photo-2", "photo-3", "stranger"]
    assert external.is_external("sd-1.5") and external.whole(run) == ["sd-1.5"]
    record = images.read_text(run.picture("sd-1.5", "photo-0"))
    assert record["arm"] == "sd-1.5" and record["file"] == "photo-0.jpg"


def test_a_changed_picture_is_taken_again_and_an_unchanged_one_is_not(run, tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    Image.new("RGB", (40, 40), "olive").save(folder / "photo-0.png")
    external.join(run, "mine", str(folder))
    first = run.picture("mine", "photo-0").stat().st_mtime_ns
    external.join(run, "mine", str(folder))
    assert run.picture("mine", "photo-0").stat().st_mtime_ns == first
    Image.new("RGB", (40, 40), "navy").save(folder / "photo-0.png")
    external.join(run, "mine", str(folder))
    assert images.load(run.picture("mine", "photo-0")).getpixel((0, 0)) == (0, 0, 128)


def test_an_arm_that_lacks_a_picture_is_not_whole(run):
    for arm, scenes in (("suffix-text-g2", run.scenes), ("suffix-none-g2", run.scenes[:1])):
        for scene in scenes:
            images.save(Image.new("RGB", (8, 8)), run.picture(arm, scene))
    assert external.unfinished(run) == {"suffix-none-g2": 1} and external.whole(run) == ["suffix-text-g2"]
