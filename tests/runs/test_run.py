"""A run folder: whole files, resuming, and a protocol that cannot change."""

import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from helpers.parameters import ParameterError
from helpers.runs import run as runs
from helpers.runs.protocol import ROOT
from helpers.runs.run import Run
from helpers.scenes import images
from tests.fakes.study import write_scenes


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "machine", lambda: {"device": "toaster", "versions": {"python": "3"}})
    dataset = write_scenes(tmp_path / "photos")
    return Run.open(tmp_path / "run", dataset=str(dataset), steps=20)


def test_a_run_is_begun_once_and_opened_again(run):
    before = (run.folder / "run.json").stat().st_mtime_ns
    again = Run.open(run.folder, **run.card["protocol"])
    assert again.card == run.card and (run.folder / "run.json").stat().st_mtime_ns == before


def test_another_protocol_is_refused_by_name_and_value(run):
    with pytest.raises(ParameterError, match=r"steps = 30: .* was made with 20"):
        Run.open(run.folder, steps=30, dataset=run.card["protocol"]["dataset"])


def test_a_folder_that_is_no_run_says_what_starts_one(tmp_path):
    with pytest.raises(FileNotFoundError, match="00_overview"):
        Run(tmp_path)


@pytest.mark.parametrize(
    "name, notebook",
    [
        ("captions/opt.jsonl", "01_captioning"),
        ("choices/captioner.json", "01_captioning"),
        ("choices/template.json", "02_template_comparison"),
        ("prompts/suffix.jsonl", "02_template_comparison"),
        ("boxes/suffix-text-g2.jsonl", "04_fid"),
    ],
)
def test_what_is_not_there_yet_is_told_with_the_notebook_that_writes_it(run, name, notebook):
    with pytest.raises(FileNotFoundError, match=f"{name}.*{notebook}"):
        run.read_json(name)


def test_a_write_that_fails_leaves_what_was_there_and_nothing_else(run):
    run.write_jsonl("captions/opt.jsonl", [{"scene": "a", "seconds": 1.0}])
    with pytest.raises(ValueError, match="JSON"):
        run.write_jsonl("captions/opt.jsonl", [{"scene": "a"}, {"scene": "b", "seconds": float("nan")}])
    assert run.captions("opt").to_dict("records") == [{"scene": "a", "seconds": 1.0}]
    assert os.listdir(run.folder / "captions") == ["opt.jsonl"]


def test_an_unchanged_file_is_not_touched(run):
    path = run.write_json("choices/template.json", {"template": "suffix"})
    os.utime(path, (1, 1))
    run.write_json("choices/template.json", {"template": "suffix"})
    assert path.stat().st_mtime == 1
    run.write_json("choices/template.json", {"template": "label"})
    assert path.stat().st_mtime > 1


def test_numbers_of_numpy_are_written_as_numbers(run):
    run.write_json("x.json", {"a": np.float32(0.5), "b": np.arange(2), "c": np.bool_(True)})
    assert run.read_json("x.json") == {"a": 0.5, "b": [0, 1], "c": True}
    with pytest.raises(TypeError, match="set"):
        run.write_json("y.json", {1, 2})


def test_missing_are_absent_and_damaged_pictures_in_the_order_of_scenes(run):
    for scene in run.scenes[:3]:
        images.save(Image.new("RGB", (8, 8)), run.picture("a-text-g1", scene))
    damaged = run.picture("a-text-g1", run.scenes[1])
    damaged.write_bytes(damaged.read_bytes()[:-20])
    assert [scene.name for scene in run.missing("a-text-g1", run.scenes)] == ["photo-1", "photo-3"]
    assert run.arms() == ["a-text-g1"] and run.count_pictures() == 3


def test_scores_of_all_arms_are_one_long_table(run):
    score = {"metric": "mean IoU", "value": 0.5, "standard_error": 0.1, "low": 0.3, "high": 0.7, "n": 4}
    run.write_json("scores/b.json", [score])
    run.write_json("scores/a.json", [score | {"value": 0.6}, score | {"metric": "AP", "value": None}])
    table = run.scores()
    assert table.columns.tolist()[:7] == ["arm", "metric", "value", "standard_error", "low", "high", "n"]
    assert set(table.kind) == {"external"} and table.template.isna().all()
    run.write_json("scores/suffix-text-g7.5-s1.json", [score])
    ours = run.scores(["suffix-text-g7.5-s1"]).iloc[0]
    assert ours[["kind", "template", "grounding"]].tolist() == ["ours", "suffix", "text"]
    assert ours[["guidance_scale", "grounded_fraction", "seed"]].tolist() == [7.5, 1, 1]
    assert table.arm.tolist() == ["a", "a", "b"] and table.value.isna().tolist() == [False, True, False]


MARKS = "\x85\u2028\u2029\x0b\x0c\x1c\x1e\r\t"  # ends of lines for str.splitlines


def test_lines_are_read_back_whatever_their_texts_hold(run):
    rows = [{"scene": "a", "prompt": f"cone{mark}s × {mark}"} for mark in MARKS]
    run.write_jsonl("prompts/label.jsonl", rows)
    assert run.read_jsonl("prompts/label.jsonl") == rows


def test_files_are_utf_8_whatever_the_locale(tmp_path):
    code = """
import sys
from helpers.runs import run as runs
runs.machine = dict
run = runs.Run.open(sys.argv[1], dataset="x")
row = {"metric": "KID \\u00d7 1000", "value": 1.0, "standard_error": 1.0, "low": 0.0, "high": 2.0, "n": 4}
run.write_json("scores/a.json", [row])
run.write_jsonl("prompts/a.jsonl", [row])
assert run.scores().metric[0] == row["metric"] == run.read_jsonl("prompts/a.jsonl")[0]["metric"]
"""
    other = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = [sys.executable, "-c", code, tmp_path / "run"]
    done = subprocess.run(command, env=os.environ | other, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_scores_are_read_as_they_were_written_in_any_locale(run):
    row = {"metric": "KID × 1000", "value": 1.0, "standard_error": 1.0, "low": 0.0, "high": 2.0, "n": 4}
    run.write_json("scores/a.json", [row])
    script = f"from helpers.runs.run import Run; print(ascii(Run({str(run.folder)!r}).scores().metric[0]))"
    plain = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    told = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=plain, check=True
    )
    assert told.stdout.strip() == ascii("KID × 1000")


def test_a_notebook_ends_with_what_it_saved_and_the_way_on(run):
    writer = Run(run.folder)
    writer.write_json("a.json", 1)
    text = writer.finish("next").data
    assert "`a.json`" in text and "[next](next.ipynb)" in text and "toaster" in text


def test_pictures_have_the_licence_of_the_checkpoint_that_drew_them(run):
    """The same method may draw with weights of this project, or with published ones under terms."""
    arms = ["suffix-ssagan", "suffix-flux3", "suffix-text-g2", "photos"]
    run.card["protocol"] |= {"models": "published"}
    terms = run.licences(arms)
    assert [*terms] == ["SSA-GAN", "FLUX 3 Image Klein"] and "academic use only" in terms["SSA-GAN"]
    run.card["protocol"] |= {"models": "demo"}
    assert run.licences(arms) == {}
