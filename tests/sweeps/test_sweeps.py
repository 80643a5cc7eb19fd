"""Notebooks as functions with checked parameters, run in order, and only where something changed."""

from concurrent.futures import BrokenExecutor, ThreadPoolExecutor

import nbformat
import pytest
from helpers.claims import claimed
from nbformat.v4 import new_code_cell, new_notebook

from helpers.parameters import ParameterError
from helpers.runs import run as runs
from helpers.runs.protocol import protocol
from helpers.runs.run import Run
from helpers.sweeps import grids, notebooks, tasks
from helpers.sweeps import plan as sweeps
from helpers.sweeps.notebooks import KernelDied, NotebookError, check_parameters, is_done, run_notebook
from helpers.sweeps.tasks import NOTEBOOKS, Outcome, Task
from helpers.sweeps.workers import Workers
from tests.fakes.study import write_scenes

PARAMETERS = """
run_folder: str = "runs/demo"  # where
guidance_scale: float = 7.5  # how much
arms: list = []  # which
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    machine = {"device": "toaster", "started": "now", "versions": {"python": "3"}}
    monkeypatch.setattr(runs, "machine", lambda: machine)
    monkeypatch.setenv("GROUNDED_DATA", str(tmp_path / "data"))
    dataset = write_scenes(tmp_path / "photos")
    run = Run.open(tmp_path / "run", **protocol(str(dataset), "demo"))
    run.write_json("choices/template.json", {"template": "suffix", "guidance_scale": 7.5})
    run.write_jsonl("prompts/suffix.jsonl", [])
    return run


def notebook(path, *cells):
    first = new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]})
    book = new_notebook(cells=[first, *map(new_code_cell, cells)])
    book.metadata["kernelspec"] = {"name": "python3", "language": "python", "display_name": "Python 3"}
    nbformat.write(book, path)
    return path


def test_parameters_are_checked_by_name_and_type(tmp_path):
    path = notebook(tmp_path / "a.ipynb")
    check_parameters(path, {"run_folder": "x", "guidance_scale": 3, "arms": ["a"]})
    with pytest.raises(ParameterError) as error:
        check_parameters(path, {"guidance": 3.0, "guidance_scale": "3", "arms": "a", "run_folder": "x"})
    lines = str(error.value).splitlines()
    assert len(lines) == 3
    assert "no such parameter" in lines[0] and "did you mean 'guidance_scale'" in lines[0]
    assert "type float" in lines[1] and "type list" in lines[2]


def test_a_flag_is_not_a_number(tmp_path):
    with pytest.raises(ParameterError, match="type float"):
        check_parameters(notebook(tmp_path / "a.ipynb"), {"guidance_scale": True})


def test_a_notebook_runs_on_its_parameters_and_knows_when_it_has_to_run_again(run, tmp_path):
    cells = (
        "from helpers.runs import Run",
        "run = Run(run_folder)",
        "run.write_json('out.json', guidance_scale)",
        "run.finish()",
    )
    path, output = notebook(tmp_path / "a.ipynb", *cells), tmp_path / "executed" / "a.ipynb"
    parameters = {"run_folder": str(run.folder), "guidance_scale": 3}
    assert not is_done(run, path, output, parameters)
    run_notebook(path, output, parameters)
    assert run.read_json("out.json") == 3
    assert [one.name for one in output.parent.iterdir()] == ["a.ipynb"]
    assert is_done(run, path, output, parameters)
    assert not is_done(run, path, output, parameters | {"guidance_scale": 4})
    run.write_json("out.json", "changed behind its back")
    assert not is_done(run, path, output, parameters)


def test_a_failing_cell_is_named_and_leaves_no_result(run, tmp_path):
    path = notebook(tmp_path / "a.ipynb", "x = 1", "raise ValueError('no such thing')")
    with pytest.raises(NotebookError, match=r"a, cell \d: ValueError: no such thing") as error:
        run_notebook(path, tmp_path / "out" / "a.ipynb", {"run_folder": str(run.folder)})
    kept = [one.name for one in (tmp_path / "out").iterdir()]
    assert kept == ["a.failed.ipynb"] and "a.failed.ipynb" in str(error.value)


def test_a_killed_kernel_is_a_failure(run, tmp_path):
    path = notebook(tmp_path / "a.ipynb", "import os; os.kill(os.getpid(), 9)")
    with pytest.raises(KernelDied, match=r"the kernel was killed \(SIGKILL\); was memory short\?"):
        run_notebook(path, tmp_path / "out" / "a.ipynb", {"run_folder": str(run.folder)})
    assert not (tmp_path / "out" / "a.ipynb").exists()


def test_a_notebook_without_an_end_is_a_failure(run, tmp_path):
    path = notebook(tmp_path / "a.ipynb", "x = 1")
    with pytest.raises(NotebookError, match=r"run\.finish"):
        run_notebook(path, tmp_path / "out" / "a.ipynb", {"run_folder": str(run.folder)})


def test_a_change_of_the_package_runs_everything_again(tmp_path, monkeypatch):
    path = notebook(tmp_path / "a.ipynb")
    before = notebooks.key(path, {})
    (tmp_path / "helpers").mkdir()
    monkeypatch.setattr(notebooks, "ROOT", tmp_path)
    assert notebooks.key(path, {}) != before


def test_the_study_is_the_numbered_notebooks_in_order(run):
    due = list(sweeps.study(run, 7.5, {"mine": "folder"}))
    numbered = sorted(path.stem for path in NOTEBOOKS.glob("0*.ipynb"))
    assert list(dict.fromkeys(task.notebook for task in due)) == numbered
    for task in due:
        check_parameters(NOTEBOOKS / f"{task.notebook}.ipynb", task.parameters)


class Inline(Workers):
    """Tasks in threads of this process, so that a test can replace what they run."""

    name, count, at_once, died = "1 thread", 1, 1, (BrokenExecutor,)

    def open(self):
        self.opened = getattr(self, "opened", 0) + 1
        return ThreadPoolExecutor(1)

    def close(self):
        self._executor.shutdown()


def test_a_sweep_is_one_notebook_run_an_arm():
    tasks = sweeps.arm_tasks(["suffix-text-g3", "suffix-image-g11"], batch_size=4)
    assert [task.title for task in tasks] == ["arms/suffix-text-g3", "arms/suffix-image-g11"]
    assert [task.arms for task in tasks] == [["suffix-text-g3"], ["suffix-image-g11"]]
    for task in tasks:
        check_parameters(NOTEBOOKS / f"{task.notebook}.ipynb", task.parameters)
        assert task.parameters["batch_size"] == 4 and task.parameters["keep_models"] is True


def test_together_arms_share_a_notebook_where_guidance_alone_differs():
    names = ["a-text-g1", "a-text-g3", "a-text-g5", "a-text-g5-f0.3", "a-image-g3"]
    tasks = sweeps.arm_tasks(names, together=True)
    assert [task.arms for task in tasks] == [["a-text-g1"], names[1:3], names[3:4], names[4:]]
    assert [task.title for task in tasks][1] == "arms/a-text-g3+1"


def fake_notebooks(monkeypatch, fails=""):
    """Notebooks that do nothing; those with that in their title fail. Returns the titles that ran."""
    seen = []

    def fake(path, output, parameters, kernel=None):
        seen.append(output.stem)
        if fails and fails in output.stem:
            raise NotebookError(path.stem, "cell 4: OSError: no\nmore", "there.ipynb")
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text('{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}')
        return {}

    monkeypatch.setattr(tasks, "run_notebook", fake)
    monkeypatch.setattr(sweeps.report, "render", lambda executed, page: page.write_text("page"))
    return seen


def test_an_arm_that_fails_stops_no_other(run, monkeypatch, capsys):
    seen = fake_notebooks(monkeypatch, "image")
    names = grids.arms(run, {"guidance_scale": [3, 5], "grounding": ["text", "image"]})
    failures = sweeps.sweep(run, sweeps.arm_tasks(names), Inline())
    assert failures == [f"arms/suffix-image-g{scale}: cell 4: OSError: no (there.ipynb)" for scale in (3, 5)]
    assert seen[:4] == names and seen[-1] == sweeps.REPORT and len(seen) == 7
    assert capsys.readouterr().out.count("failed: cell 4: OSError: no") == 2


def test_any_other_failure_ends_the_study(run, monkeypatch):
    seen = fake_notebooks(monkeypatch, "01")
    assert len(sweeps.make_report(run, sweeps.study(run, 7.5, {}))) == 1
    assert seen == ["00_overview", "01_captioning"]


def test_arms_that_someone_else_draws_come_last(run, monkeypatch, capsys):
    seen = fake_notebooks(monkeypatch)
    names = ["suffix-text-g3", "suffix-text-g5"]
    with claimed(run.claim(names[0])):
        assert tasks.perform(run.folder, sweeps.arm_tasks(names)[0], wait=False).what == tasks.ELSEWHERE
        sweeps.sweep(run, sweeps.arm_tasks(names), Inline())
    assert seen[:2] == names[::-1]


def test_a_task_whose_process_dies_is_tried_again_and_then_has_failed():
    calls, task, other = [], Task("a"), Task("b")

    def function(one):
        calls.append(one)
        if one is task:
            raise BrokenExecutor("killed")
        return Outcome(tasks.DONE)

    with Inline() as workers:
        ended = dict(workers.carry_out(function, [task, other]))
    assert calls.count(task) == 3 and ended[other].what == tasks.DONE
    assert ended[task].what == tasks.FAILED and "died 3 times" in ended[task].reason


def test_a_kernel_that_dies_is_tried_again_and_its_batch_size_named(run, monkeypatch):
    def dies(path, output, parameters, kernel=None):
        seen.append(path)
        raise KernelDied(path.stem, "the kernel was killed", "there.ipynb")

    seen = []
    monkeypatch.setattr(tasks, "run_notebook", dies)
    [task] = sweeps.arm_tasks(["suffix-text-g3"])
    claim = run.claim("suffix-text-g3")
    claim.parent.mkdir()
    claim.write_text('{"batch_size": 8}')  # as a process leaves it that was killed
    outcome = tasks.perform(run.folder, task)
    assert len(seen) == 3 and outcome.what == tasks.FAILED
    assert "killed 3 times at batch_size 8; give a smaller BATCH_SIZE" in outcome.reason


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--guidance", "-1"], "guidance_scale"),
        (["--steps", "0"], "steps = 0"),
        (["--models", "publisht"], "did you mean 'published'"),
        (["--safety", "1"], "no safety checker"),
        (["--dataset", "{empty}"], "no photos"),
        (["--dataset", "nowhere"], "no such folder"),
    ],
)
def test_what_cannot_be_right_is_said_before_anything_starts(arguments, message, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    arguments = [text.format(empty=tmp_path / "empty") for text in arguments]
    assert sweeps.main(["report", "--run", str(tmp_path / "run"), *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--guidance", "1", "3"],
        ["--external", "mine"],
        ["--stepz", "3"],
        ["--steps", "many"],
        ["--safety", "yes"],
        ["--workers", "2"],
        ["--status"],
    ],
)
def test_a_wrong_command_line_is_explained(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        sweeps.main(["report", *arguments])
    assert stop.value.code == 2 and "error" in capsys.readouterr().err
