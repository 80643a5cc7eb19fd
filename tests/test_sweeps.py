"""Notebooks as functions with checked parameters, run in order, and only where something changed."""

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from helpers import notebooks, runs, sweeps
from helpers.notebooks import NotebookError, check_parameters, is_done, run_notebook
from helpers.protocols import protocol
from helpers.runs import Run
from helpers.settings import ParameterError
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
    assert kept == ["a.partial.ipynb"] and "a.partial.ipynb" in str(error.value)


def test_a_killed_kernel_is_a_failure(run, tmp_path):
    path = notebook(tmp_path / "a.ipynb", "import os; os.kill(os.getpid(), 9)")
    with pytest.raises(NotebookError, match="kernel died"):
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
    tasks = list(sweeps.study(run, 7.5, {"mine": "folder"}))
    numbered = sorted(path.stem for path in sweeps.NOTEBOOKS.glob("0*.ipynb"))
    assert list(dict.fromkeys(task.notebook for task in tasks)) == numbered
    for task in tasks:
        check_parameters(sweeps.NOTEBOOKS / f"{task.notebook}.ipynb", task.parameters)


def test_a_sweep_is_one_notebook_run_an_arm_for_both_groundings(run):
    tasks = list(sweeps.more_arms(run, [11.0, 3.0, 3.0]))
    made = [task.parameters["arms"] for task in tasks if task.name.startswith("arms/")]
    assert made == [["suffix-text-g3"], ["suffix-text-g11"], ["suffix-image-g3"], ["suffix-image-g11"]]
    assert [task.notebook for task in tasks[4:]] == ["04_fid", "05_guidance_sweep", sweeps.REPORT]


def test_an_arm_that_fails_stops_no_other(run, monkeypatch, capsys):
    seen = []

    def fake(path, output, parameters):
        seen.append(output.stem)
        if "image" in output.stem:
            raise NotebookError(f"{output.stem}: out of memory")
        output.parent.mkdir(parents=True, exist_ok=True)
        output.touch()

    monkeypatch.setattr(sweeps, "run_notebook", fake)
    monkeypatch.setattr(sweeps.report, "render", lambda executed, page: page.write_text("page"))
    failures = sweeps.perform(run, sweeps.more_arms(run, [3.0, 5.0]))
    assert [str(one) for one in failures] == [f"suffix-image-g{scale}: out of memory" for scale in (3, 5)]
    assert seen[-1] == sweeps.REPORT and len(seen) == 7
    assert capsys.readouterr().out.count("failed") == 2


def test_any_other_failure_ends_the_study(run, monkeypatch):
    def fake(path, output, parameters):
        raise NotebookError("no weights")

    monkeypatch.setattr(sweeps, "run_notebook", fake)
    assert len(sweeps.perform(run, sweeps.study(run, 7.5, {}))) == 1


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
    ],
)
def test_a_wrong_command_line_is_explained(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        sweeps.main(["report", *arguments])
    assert stop.value.code == 2 and "error" in capsys.readouterr().err
