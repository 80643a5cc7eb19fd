"""Grids: from a file or the command line to the names of arms."""

import pytest

from helpers.parameters import ParameterError
from helpers.runs import run as runs
from helpers.runs.protocol import protocol
from helpers.runs.run import Run
from helpers.sweeps import grids
from tests.fakes.study import write_scenes


@pytest.fixture
def run(tmp_path, monkeypatch):
    machine = {"device": "toaster", "started": "now", "versions": {"python": "3"}}
    monkeypatch.setattr(runs, "machine", lambda: machine)
    monkeypatch.setenv("GROUNDED_DATA", str(tmp_path / "data"))
    run = Run.open(tmp_path / "run", **protocol(str(write_scenes(tmp_path / "photos")), "demo"))
    run.write_json("choices/template.json", {"template": "suffix", "guidance_scale": 2.0})
    for name in ("suffix", "label"):
        run.write_jsonl(f"prompts/{name}.jsonl", [])
    return run


def test_a_grid_is_every_combination_and_loads_every_checkpoint_once(run):
    names = grids.arms(run, {"guidance_scale": [1, 3], "template": ["suffix", "label"], "seed": [0, 4]})
    assert len(names) == len(set(names)) == 3 * 2 * 2 * 2
    images = ["-image-" in name for name in names]
    assert images == sorted(images) and "label-none-g3-s4" in names


def test_what_is_not_given_is_what_the_comparison_used(run):
    assert grids.arms(run, {}) == ["suffix-none-g2", "suffix-text-g2", "suffix-image-g2"]


def test_without_boxes_there_is_one_fraction(run):
    names = grids.arms(run, {"grounding": ["none", "text"], "grounded_fraction": [0.1, 1]})
    assert names == ["suffix-none-g2", "suffix-text-g2-f0.1", "suffix-text-g2"]
    names = grids.arms(run, {"grounding": ["text"], "guidance_share": [0.6, 1]})
    assert names == ["suffix-text-g2-i0.6", "suffix-text-g2"]


def test_every_wrong_value_is_named_at_once(run):
    wrong = {"guidance_scale": [-1], "grounded_fraction": [2], "template": ["sufix"], "grounding": ["txt"]}
    with pytest.raises(ParameterError) as error:
        grids.arms(run, wrong)
    told = str(error.value)
    assert all(text in told for text in ("-1", "2", "did you mean 'suffix'", "did you mean 'text'"))
    assert len(told.splitlines()) == 4


def test_a_file_holds_lists_or_single_values(tmp_path):
    path = tmp_path / "grid.toml"
    path.write_text('guidance_scale = [1, 7.5]\ngrounding = "text"\n')
    assert grids.read(path) == {"guidance_scale": [1, 7.5], "grounding": ["text"]}


def test_a_file_may_begin_with_a_byte_order_mark_as_windows_writes_it(tmp_path):
    path = tmp_path / "grid.toml"
    path.write_bytes(b"\xef\xbb\xbfguidance_scale = [1, 3]\r\n")
    assert grids.read(path) == {"guidance_scale": [1, 3]}


@pytest.mark.parametrize(
    "text, told",
    [("guidance_scal = [1]", "did you mean 'guidance_scale'"), ("guidance_scale = 1,", "cannot be")],
)
def test_a_file_that_cannot_be_right_is_named(tmp_path, text, told):
    path = tmp_path / "grid.toml"
    path.write_text(text)
    with pytest.raises(ParameterError, match=told) as error:
        grids.read(path)
    assert "grid.toml" in str(error.value)
    with pytest.raises(ParameterError, match="nowhere"):
        grids.read(tmp_path / "nowhere.toml")


def test_a_run_knows_the_arms_of_its_sweeps(run):
    grids.write_sweep(run, ["b-text-g1", "a-text-g1"])
    grids.write_sweep(run, ["b-text-g1", "c-text-g1"])
    grids.write_sweep(run, ["b-text-g1", "a-text-g1"])
    assert sorted(grids.swept_arms(run)) == ["a-text-g1", "b-text-g1", "c-text-g1"]
    assert len(list((run.folder / grids.FOLDER).iterdir())) == 2


def test_knobs_of_a_method_are_axes_of_their_own(run):
    assert grids.parse_knobs(["strength=0.4", "strength=0.8"]) == {"strength": [0.4, 0.8]}
    names = grids.arms(run, {"grounding": ["sdedit"], "strength": [0.4, 0.8]})
    assert names == ["suffix-sdedit-g2-t0.4", "suffix-sdedit-g2-t0.8"]
    for wrong, said in (("strenght=1", "did you mean 'strength'"), ("strength=x", "strength=NUMBER")):
        with pytest.raises(ParameterError, match=said):
            grids.parse_knobs([wrong])
    names = grids.arms(run, {"grounding": ["flux3", "flux3_none"], "size": [512, 1024]})
    assert names == ["suffix-flux3", "suffix-flux3-p1024", "suffix-flux3_none", "suffix-flux3_none-p1024"]
    assert grids.arms(run, {"grounding": ["flux3"], "layout": ["other"]}) == ["suffix-flux3-other"]
    with pytest.raises(ParameterError, match="'flux3' has no such knob"):
        grids.arms(run, {"grounding": ["flux3"], "guidance_scale": [2]})
    with pytest.raises(ParameterError, match="'text' has no such knob"):
        grids.arms(run, {"grounding": ["text", "sdedit"], "strength": [0.4]})
