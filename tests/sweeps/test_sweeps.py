"""Notebooks as functions with checked parameters, run in order, and only where something changed."""

import gc
import json
import os
import pickle
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import nbformat
import pytest
from nbformat.sign import NotebookNotary
from nbformat.v4 import new_code_cell, new_notebook

from helpers.files import claimed
from helpers.generation import draw
from helpers.parameters import ParameterError
from helpers.runs import run as runs
from helpers.runs.protocol import protocol
from helpers.runs.run import Run
from helpers.scenes import images
from helpers.sweeps import grids, plan, tasks, workers
from helpers.sweeps import notebooks as executed
from helpers.sweeps.notebooks import NotebookError, check_parameters, execute, read_facts
from helpers.sweeps.tasks import BEFORE, DONE, ELSEWHERE, FAILED, NOTEBOOKS, Outcome, Task, perform
from helpers.sweeps.workers import Cluster, Workers
from tests.fakes import sampler
from tests.fakes.study import write_scenes

PARAMETERS = """
run_folder: str = "runs/demo"  # where
guidance_scale: float = 7.5  # how much
arms: list = []  # which
"""
READS = "from helpers.runs.run import Run", "run = Run(run_folder)"


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


def task(tmp_path, *cells, arms=(), **parameters):
    return Task(str(notebook(tmp_path / "a.ipynb", *cells).with_suffix("")), "a", parameters, arms)


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
    cells = *READS, "run.write_json('scores/out.json', guidance_scale)"
    one = task(tmp_path, *cells, guidance_scale=3)
    assert perform(run.folder, one).what == DONE
    assert run.read_json("scores/out.json") == 3
    assert [path.name for path in (run.folder / "notebooks").iterdir()] == ["a.ipynb"]
    assert perform(run.folder, one).what == BEFORE
    assert not tasks.is_done(run, task(tmp_path, *cells, guidance_scale=4))
    assert not tasks.is_done(run, task(tmp_path, *cells, "more = 1", guidance_scale=3))
    one = task(tmp_path, *cells, guidance_scale=3)
    known = read_facts(one.output(run))
    run.write_json("scores/out.json", "changed behind its back")
    assert tasks.fingerprint(run, one) != known["fingerprint"]


def test_a_kernel_of_another_python_that_jupyter_finds_is_not_used(run, tmp_path, monkeypatch):
    kernel = tmp_path / "jupyter" / "kernels" / "python3"
    kernel.mkdir(parents=True)
    facts = {"argv": ["other-python", "-f", "{connection_file}"], "display_name": "x", "language": "python"}
    (kernel / "kernel.json").write_text(json.dumps(facts))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    one = task(tmp_path, *READS, "import sys; run.write_json('scores/python.json', sys.executable)")
    assert perform(run.folder, one, environment={"OMP_NUM_THREADS": "3"}).what == DONE
    assert os.path.samefile(run.read_json("scores/python.json"), sys.executable)


def test_an_executed_notebook_is_trusted_by_jupyterlab_and_was_run_where_it_should(run, tmp_path):
    one = task(tmp_path, "import os", "print(os.environ['OMP_NUM_THREADS'])")
    with ThreadPoolExecutor(1) as pool:  # as a sweep does, which is to leave nothing open
        assert pool.submit(perform, run.folder, one, True, {"OMP_NUM_THREADS": "3"}).result().what == DONE
    gc.collect()
    book = nbformat.read(one.output(run), as_version=4)
    assert NotebookNotary().check_signature(book)
    assert [output.text for cell in book.cells for output in cell.outputs] == ["3\n"]


def test_a_failing_cell_is_named_and_leaves_no_result(run, tmp_path):
    one = task(tmp_path, "x = 1", "raise ValueError('no such thing\\nnor another')")
    outcome = perform(run.folder, one)
    assert outcome.what == FAILED and outcome.reason.endswith("ValueError: no such thing\nnor another")
    kept = [path.name for path in (run.folder / "notebooks").iterdir()]
    assert kept == ["a.failed.ipynb"] and outcome.executed.endswith("a.failed.ipynb")
    assert tasks.failures(run)["a"][0] == f"{outcome.reason.splitlines()[0]}; {outcome.executed}"


def test_a_killed_kernel_is_a_failure_that_names_what_was_asked_at_once(run, tmp_path):
    path = notebook(tmp_path / "a.ipynb", "import os; os.kill(os.getpid(), 9)")
    with pytest.raises(
        NotebookError, match=r"the kernel was killed \(SIGKILL\); was memory short\?"
    ) as error:
        execute(path, tmp_path / "out" / "a.ipynb", {"run_folder": str(run.folder)})
    assert error.value.died and not (tmp_path / "out" / "a.ipynb").exists()


def test_an_error_of_a_notebook_can_be_sent_between_processes():
    error = pickle.loads(pickle.dumps(NotebookError("cell 4: OSError: no", "there.ipynb", died=True)))
    assert (error.reason, error.executed, error.died) == ("cell 4: OSError: no", "there.ipynb", True)
    assert str(error) == "cell 4: OSError: no (there.ipynb)"


def test_a_kernel_that_dies_is_tried_again_and_its_batch_size_named(run, monkeypatch):
    def dies(path, *_):
        seen.append(path)
        raise NotebookError("the kernel was killed", "there.ipynb", died=True)

    seen = []
    monkeypatch.setattr(tasks, "execute", dies)
    [one] = plan.series_tasks(["suffix-text-g3"])
    claim = run.claim("suffix-text-g3")
    claim.parent.mkdir()
    claim.write_text('{"batch_size": 8}')  # as a process leaves it that was killed
    outcome = perform(run.folder, one)
    assert len(seen) == 3 and outcome.what == FAILED
    assert "killed 3 times at batch_size 8; give a smaller BATCH_SIZE" in outcome.reason


def test_a_notebook_that_is_stopped_fails_at_once_and_is_not_tried_again(run, tmp_path):
    one, began = (
        task(tmp_path, *READS, "run.write_json('begun.json', 1)", "import time; time.sleep(300)"),
        time.monotonic(),
    )

    def stop():
        while not run.has("begun.json"):
            time.sleep(0.1)
        executed.stop()

    thread = threading.Thread(target=stop)
    thread.start()
    assert perform(run.folder, one).what == FAILED and time.monotonic() - began < 120
    thread.join()


def test_a_notebook_runs_again_where_a_module_that_it_imports_has_changed(run, tmp_path, monkeypatch):
    """Through other modules and in their functions, too; of a package that finds modules by name, any."""
    monkeypatch.setattr(tasks, "ROOT", tmp_path)
    texts = {"near": "from helpers.group import far", "far": "def later():\n    import helpers.found.a"}
    texts |= {"__init__": "", "other": "x = 1"}
    found = {"__init__": "from importlib import import_module", "a": "", "by_name": "x = 1"}
    for folder, files in (("group", texts), ("found", found)):
        (tmp_path / "helpers" / folder).mkdir(parents=True)
        for name, text in files.items():
            (tmp_path / "helpers" / folder / f"{name}.py").write_text(text)
    cells = [nbformat.v4.new_code_cell("from helpers.group.near import far")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "own.ipynb")
    one = Task(str(tmp_path / "own"))
    for name, changed in (("group/other", False), ("group/far", True), ("found/by_name", True)):
        before = tasks.fingerprint(run, one)
        file = tmp_path / "helpers" / f"{name}.py"
        file.write_text(f"{file.read_text()}\ny = 2")
        assert (tasks.fingerprint(run, one) != before) is changed, name


def test_every_notebook_reads_what_the_others_write(run):
    stems = {path.stem for path in NOTEBOOKS.glob("[01]*.ipynb")}
    assert tasks.READS.keys() <= stems
    images.save(sampler.Image.new("RGB", (8, 8)), run.picture("b-text-g1", "photo-0"))
    for stem, changed in (("04_fid", True), ("03_gligen_grounding", False), ("00_overview", False)):
        before = tasks.fingerprint(run, Task(stem))
        images.save(sampler.Image.new("RGB", (9, 9)), run.picture("b-text-g1", f"photo-{stem}"))
        assert (tasks.fingerprint(run, Task(stem)) != before) is changed, stem


def test_the_study_is_the_numbered_notebooks_in_order(run):
    due = list(plan.study(run, 7.5, {"mine": "folder"}))
    numbered = sorted(path.stem for path in NOTEBOOKS.glob("0[0-6]*.ipynb"))
    made = list(dict.fromkeys(one.notebook for one in due))
    assert [stem for stem in made if stem != plan.METHODS] == numbered
    assert made.index(plan.METHODS) == made.index("04_fid") - 1  # which scores what it drew
    assert tuple(one.title for one in due) == plan.TITLES
    for one in due:
        check_parameters(NOTEBOOKS / f"{one.notebook}.ipynb", one.parameters)


def test_a_report_after_a_sweep_finds_the_scores_done(run):
    due = list(plan.study(run, 7.5, {}))[-3:]
    assert [tasks.fingerprint(run, one) for one in due] == [
        tasks.fingerprint(run, one) for one in plan.closing({})
    ]


def test_a_series_shares_a_notebook_where_guidance_alone_differs():
    names = ["a-text-g1", "a-text-g3", "a-text-g5", "a-text-g5-f0.3", "a-image-g3"]
    due = plan.series_tasks(names, batch_size=4)
    assert [list(one.arms) for one in due] == [names[:3], names[3:4], names[4:]]
    assert [one.title for one in due] == ["arms/a-text-g1+2", "arms/a-text-g5-f0.3", "arms/a-image-g3"]
    for one in due:
        check_parameters(NOTEBOOKS / f"{one.notebook}.ipynb", one.parameters)
        assert one.parameters["batch_size"] == 4 and one.parameters["arms"] == list(one.arms)


@pytest.mark.parametrize("count", [1, 2, 3, 8, 100])
def test_many_workers_split_a_series_and_no_arm_is_lost(count):
    names = [f"a-{kind}-g{scale}" for kind in ("text", "image") for scale in range(1, 8)]
    due = plan.series_tasks(names, count)
    assert sorted(arm for one in due for arm in one.arms) == sorted(names)
    assert len({one.title for one in due}) == len(due) >= min(count, len(names))


def fake_notebooks(monkeypatch, fails=""):
    """Notebooks that do nothing; those with that in their title fail. Returns the titles that ran."""
    seen = []

    def fake(path, output, *_):
        seen.append(output.stem)
        if fails and fails in output.stem:
            raise NotebookError("cell 4: OSError: no\nmore", "there.ipynb")
        return nbformat.v4.new_notebook()

    monkeypatch.setattr(tasks, "execute", fake)
    return seen


def test_an_arm_that_fails_stops_no_other(run, monkeypatch, capsys):
    seen = fake_notebooks(monkeypatch, "image")
    names = grids.arms(run, {"guidance_scale": [3, 5], "grounding": ["text", "image"]})
    [failure] = plan.sweep(run, names, Workers(1))
    assert failure.splitlines()[0] == "arms/suffix-image-g3+1: cell 4: OSError: no"
    assert "more" in failure and "there.ipynb" in failure
    assert seen[:2] == ["suffix-text-g3+1", "suffix-image-g3+1"] and seen[-1] == plan.REPORT
    said = capsys.readouterr().out
    assert said.count("failed") == 1 and "OSError" not in said  # which the end says, once


def test_any_other_failure_ends_the_study(run, monkeypatch):
    seen = fake_notebooks(monkeypatch, "01")
    assert len(plan.report(run, plan.study(run, 7.5, {}))) == 1
    assert seen == ["00_overview", "01_captioning"]


def test_arms_that_someone_else_draws_come_last(run, monkeypatch):
    seen = fake_notebooks(monkeypatch)
    names = ["suffix-text-g3", "suffix-image-g5"]
    with claimed(run.claim(names[0])):
        assert perform(run.folder, plan.series_tasks(names)[0], wait=False).what == ELSEWHERE
        plan.sweep(run, names, Workers(1))
    assert seen[:2] == names[::-1]


def test_each_worker_has_its_share_of_cores_or_a_gpu(run, monkeypatch):
    places = []
    monkeypatch.setattr(workers, "perform", lambda *given: places.append(given[-1]) or Outcome(DONE))
    monkeypatch.setattr(workers, "_gpus", lambda: ["0", "3"])
    due = plan.series_tasks(["a-text-g1", "a-image-g1"], 2)
    with Workers() as two:
        assert two.count == 2 and "0, 3" in two.name
        assert sum(ended is not None for ended in two.run(run.folder, due, True, 1)) == 2
    assert all(place["CUDA_VISIBLE_DEVICES"] in "03" for place in places)


def test_a_scheduler_file_that_does_not_appear_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(workers, "PATIENCE", 1)
    with pytest.raises(ParameterError, match=r"nowhere\.json"):
        Cluster(str(tmp_path / "nowhere.json"))
    assert "waiting" in capsys.readouterr().out


class Terminal:
    """Standard output that says that it is a terminal."""

    def __init__(self):
        self.text = ""

    def isatty(self):
        return True

    def write(self, text):
        self.text += text

    def flush(self):
        pass


class Painters:
    """Workers whose one task makes a picture between two looks at it."""

    def run(self, folder, tasks, wait, every):
        self.every, run = every, Run(folder)
        for scene in run.scenes[:3]:
            images.save(sampler.Image.new("RGB", (8, 8)), run.picture(tasks[0].arms[0], scene))
            yield None
        yield tasks[0], Outcome(DONE, 3, 2.0)


def test_in_a_terminal_the_line_of_what_runs_is_rewritten(run, monkeypatch):
    screen, painters = Terminal(), Painters()
    monkeypatch.setattr("sys.stdout", screen)
    assert plan.carry_out(run, plan.series_tasks(["suffix-text-g3"]), painters) == []
    empty, *running, ended = screen.text.split("\r\x1b[K")
    assert not empty and painters.every < 10
    for count, text in enumerate(running, 1):
        assert f"{count} of 4 pictures" in text and "left" in text and "\n" not in text
    assert ended.split() == ["arms/suffix-text-g3", "2.0", "s,", "3", "pictures"] and ended[-1] == "\n"


def test_in_a_pipe_a_line_takes_a_minute(run, capsys):
    painters = Painters()
    plan.carry_out(run, plan.series_tasks(["suffix-text-g3"]), painters)
    assert painters.every >= 60 and capsys.readouterr().out.count("\n") == 3 + 1


@pytest.fixture
def fake_models(run, monkeypatch):
    """The fake sampler in the place of the models and the loop, in this process."""
    from helpers.generation import generate
    from helpers.models import loading

    def paint(gligen, requests, width, steps, scheduler, **_):
        for one in requests:
            record = sampler.told(one, width, steps, scheduler)
            yield sampler.Picture(one, sampler.paint(one, width), record)

    monkeypatch.setattr(loading, "load_gligen", lambda *_, **__: None)
    monkeypatch.setattr(loading, "release", lambda *_: None)
    monkeypatch.setattr(generate, "generate", paint)
    monkeypatch.setattr(generate, "fitting", lambda *_: 2)
    rows = [{"scene": scene.name, "prompt": "a cone"} for scene in run.scenes]
    run.write_jsonl("prompts/suffix.jsonl", rows)
    return loading


def test_an_arm_that_fails_in_a_series_stops_no_other_arm_of_it(run, fake_models):
    names = [f"suffix-text-g{scale}" for scale in (2, 3, 5)]
    (run.folder / "pictures").mkdir()
    (run.folder / "pictures" / names[1]).write_text("in the way")
    with pytest.raises(draw.ArmsFailed, match=f"{names[1]}: ") as error:
        draw.draw(run, names, progress=False)
    assert list(error.value.errors) == names[1:2] and isinstance(error.value.errors[names[1]], OSError)
    assert [run.count_pictures(name) for name in names] == [len(run.scenes), 0, len(run.scenes)]


def test_a_missing_checkpoint_is_said_as_it_is_and_once(run, fake_models, monkeypatch):
    from helpers.models.checkpoints import CheckpointMissing, Missing
    from helpers.models.sets import model_set

    calls = []

    def missing(checkpoint, *_, **__):
        calls.append(checkpoint)
        raise CheckpointMissing(Missing(checkpoint, "here", "no such folder"))

    monkeypatch.setattr(fake_models, "load_gligen", missing)
    with pytest.raises(CheckpointMissing):
        draw.draw(run, ["suffix-text-g2", "suffix-text-g3"], progress=False)
    assert calls == [model_set("demo").gligen["text"]]


def test_an_arm_with_steps_and_scheduler_of_its_own_is_drawn_with_them_and_compared_apart(run, fake_models):
    from helpers.report import comparisons

    names = ["suffix-text-g2", "suffix-text-g3", "suffix-text-g2-n9-unipc", "suffix-text-g3-i0.6"]
    records = draw.draw(run, names, progress=False)
    drawn = {record["arm"]: (record["steps"], record["scheduler"]) for record in records}
    assert drawn == dict.fromkeys(names, (8, "dpm++2m")) | {names[2]: (9, "unipc")}
    assert [arm.name for arm in comparisons.own_arms(run)] == names[:2]
    assert [arm.name for arm in comparisons.guidance_arms(run, "text")] == names[:2]


def test_what_is_asked_of_workers_is_answered_where_they_are():
    with Workers(1) as one:
        assert one.ask(max, 1, 3) == 3
        with pytest.raises(ZeroDivisionError):
            one.ask(divmod, 1, 0)


def test_the_first_notebook_knows_which_scenes_were_selected(run, tmp_path):
    chosen = {"limit": 3, "seed": 1, "labels": {"cone": None}}
    settings = protocol(run.card["protocol"]["dataset"], "demo", selection=chosen)
    few = Run.open(tmp_path / "few", **settings)
    first = next(plan.study(few, 7.5, {}))
    assert first.parameters["selection"] == chosen and perform(few.folder, first).what == DONE
