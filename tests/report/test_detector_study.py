"""The study of detectors on a small run: what it trains with, what it refuses, and that it goes on."""

import json

import numpy as np
import pytest

from helpers.parameters import ParameterError
from helpers.report import detector_study, training_effect
from helpers.report.detector_study import study
from helpers.runs.arms import Arm
from tests.fakes.judged import draw, start
from tests.fakes.study import write_scenes
from tests.report.test_export import judge

ARM = Arm("suffix", "text", 2).name
SMALL = {"shares": [0.0, 1.0], "seeds": 2, "steps": 1, "batch_size": 2}


@pytest.fixture
def run(tmp_path):
    run = start(tmp_path)
    run.write_json(
        "choices/template.json", {"template": "suffix", "guidance_scale": 2, "compared": ["suffix"]}
    )
    draw(run, ARM)
    judge(run, ARM)
    return run


@pytest.fixture
def others(tmp_path):
    """Photos that differ from those of the run: of another size, with other content."""
    folder = write_scenes(tmp_path / "others", 5, size=72)
    entries = json.loads((folder / "annotations.json").read_text())
    entries[1]["labels"] = ["cone", "unicorn"]
    (folder / "annotations.json").write_text(json.dumps(entries))
    return str(folder)


def test_every_share_is_trained_with_every_seed_and_what_is_there_is_kept(run, others, monkeypatch, capsys):
    table = study(run, [], others, **SMALL)
    assert "left out of the test: unicorn" in capsys.readouterr().out
    facts = run.read_json("training.json")
    assert facts["settings"]["arms"] == [ARM] and facts["settings"]["test_photos"] == 5
    assert {(row["share"], row["seed"]) for row in facts["trainings"]} == {(0, 0), (1, 0), (0, 1), (1, 1)}
    assert all(np.shape(row["left_out"]["AP"]) == (5,) for row in facts["trainings"])
    assert len(table) == 2 and len(training_effect.sentences(run)) == 1
    run.write_json("training.json", facts | {"trainings": facts["trainings"][:3]})
    asked = []
    train = detector_study._train
    monkeypatch.setattr(detector_study, "_train", lambda *a: asked.append(a[2:]) or train(*a))
    study(run, [ARM], others, **SMALL)
    assert asked == [(1.0, 1)]
    assert run.read_json("training.json") == facts
    study(run, [ARM], others, **SMALL | {"steps": 2})
    assert len(asked) == 5


def test_only_pictures_that_qualify_train(run, others):
    judge(run, ARM, {(scene.name, 0): {"found": False, "iou": 0.1} for scene in run.scenes[:4]})
    with pytest.raises(ParameterError, match=r"2 pictures qualify, and 3 are needed.*qualified = False"):
        study(run, [ARM], others, **SMALL)
    study(run, [ARM], others, **SMALL, qualified=False)
    assert run.read_json("training.json")["settings"]["pictures"] == 6


def test_photos_that_an_arm_saw_are_no_test(run, tmp_path, others):
    with pytest.raises(
        ParameterError, match=r"photo 'photo-0' is 'photo-0' of the run, which arms have seen"
    ):
        study(run, [ARM], str(tmp_path / "photos"), **SMALL)
    with pytest.raises(ParameterError, match="photos that no arm saw"):
        study(run, [ARM], "", **SMALL)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"shares": [1.0, 0.5]}, "0 and another at least"),
        ({"shares": [0.0, 1.5]}, "from 0 to 1"),
        ({"seeds": 1}, "give 2 at least"),
        ({"steps": 0}, "whole number from 1"),
        ({"batch_size": 0}, "batch_size = 0"),
    ],
)
def test_a_wrong_parameter_is_named(run, others, wrong, said):
    with pytest.raises(ParameterError, match=said):
        study(run, [ARM], others, **SMALL | wrong)


def test_an_arm_that_is_not_there_is_named(run, others):
    with pytest.raises(ParameterError, match=rf"suffix-text-g3.*there are {ARM}"):
        study(run, ["suffix-text-g3"], others, **SMALL)
