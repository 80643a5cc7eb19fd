"""The command line: what it understands, what it refuses, and in which words."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from helpers.__main__ import COMMANDS, main, parser, read_options
from helpers.parameters import ParameterError
from helpers.runs import run as runs
from helpers.runs.run import Run
from helpers.sweeps import plan, start, tasks
from tests.fakes import judged
from tests.fakes.study import write_scenes

TRAINING = ("dataset", "study-detector")  # commands about a run that is there: they have no protocol
ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def scenes(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "machine", lambda: {"device": "toaster", "started": "now", "versions": {}})
    monkeypatch.setenv("GROUNDED_DATA", str(tmp_path / "data"))
    return write_scenes(tmp_path / "photos")


@pytest.fixture
def nothing_runs(monkeypatch):
    monkeypatch.setattr(tasks, "execute", lambda *_: pytest.fail("a notebook ran"))


def begun(tmp_path, scenes, *options) -> Run:
    """A run with prompts and a choice, begun by the command's own rules."""
    options = read_options(["report", "--dataset", str(scenes), "--run", str(tmp_path / "run"), *options])
    run = start.open_run(options)
    run.write_json("choices/template.json", {"template": "suffix", "guidance_scale": 11.0})
    run.write_jsonl("prompts/suffix.jsonl", [])
    return run


def test_help_can_be_read_by_a_newcomer(capsys):
    for command in COMMANDS:
        for arguments in (["--help"], [command, "--help"]):
            with pytest.raises(SystemExit) as stop:
                main(arguments)
            shown = capsys.readouterr().out
            assert stop.value.code == 0 and f"grounded {command} --" in shown
        assert "default" in shown and ("protocol:" in shown) == (command not in TRAINING)


@pytest.mark.parametrize("command", sorted(set(COMMANDS) - set(TRAINING)))
def test_every_parameter_of_the_protocol_can_be_given(command):
    given = {
        "dataset": "d",
        "models": "published",
        "steps": 7,
        "scheduler": "ddim",
        "fit": "crop",
        "beams": 2,
    }
    words = [word for name, value in given.items() for word in (f"--{name}", str(value))]
    options = vars(read_options([command, *words, "--safety", "1"]))
    assert given.items() <= options.items() and options["safety"] == 1
    assert start.PROTOCOL.keys() <= options.keys()


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["swep"], "did you mean 'sweep'"),
        (["report", "--guidance", "1", "3"], "3: grounded report has no such option"),
        (["report", "--datset", "x"], "did you mean '--dataset'"),
        (["report", "--steps", "many"], "--steps: invalid int value: 'many'"),
        (["report", "--safety", "yes"], "--safety"),
        (["report", "--workers", "2"], "--workers"),
        (["report", "GUIDENCE=1 3"], "did you mean 'GUIDANCE'"),
        (["sweep", "EXTERNAL=a=b"], "EXTERNAL"),
    ],
)
def test_a_wrong_command_line_is_one_line(arguments, message, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    said = capsys.readouterr().err
    assert stop.value.code == 2 and message in said and len(said.splitlines()) == 1


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--guidance", "-1"], "guidance_scale"),
        (["--steps", "0"], "steps = 0"),
        (["--models", "publisht"], "did you mean 'published'"),
        (["--scheduler", "dim"], "did you mean 'ddim'"),
        (["--fit", "cropp"], "did you mean 'crop'"),
        (["--beams", "0"], "beams = 0"),
        (["--safety", "1"], "no safety checker"),
        (["--dataset", "{empty}"], "no photos"),
        (["--dataset", "nowhere"], "no such folder"),
        (["--external", "mine"], "external = 'mine': give NAME=FOLDER"),
        (["--external", "mine=/no/such"], "'mine=/no/such': no such folder"),
        (["--external", "mine={empty}"], "no pictures"),
        (["--external", "suffix-text-g2={empty}"], "choose another"),
    ],
)
def test_what_cannot_be_right_is_said_before_anything_starts(
    arguments, message, tmp_path, capsys, scenes, nothing_runs
):
    (tmp_path / "empty").mkdir()
    arguments = [text.format(empty=tmp_path / "empty") for text in arguments]
    where = [] if "--dataset" in arguments else ["--dataset", str(scenes)]
    assert main(["report", "--run", str(tmp_path / "run"), *where, *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_folder_with_mistakes_begins_no_run(tmp_path, capsys, scenes, nothing_runs):
    (scenes / "photo-1.png").unlink()
    assert main(["report", "--dataset", str(scenes), "--run", str(tmp_path / "run")]) == 2
    assert "photo-1" in capsys.readouterr().err and not (tmp_path / "run").exists()


@pytest.mark.parametrize("below", ["", "x"])
def test_a_run_that_is_a_file_is_named(below, tmp_path, capsys, scenes):
    (tmp_path / "report.html").write_text("x")
    for command in ("report", "status"):
        assert main([command, "--dataset", str(scenes), "--run", str(tmp_path / "report.html" / below)]) == 2
        assert "report.html is a file" in capsys.readouterr().err


def test_a_run_knows_its_settings_and_only_what_is_given_has_to_agree(tmp_path, capsys, scenes):
    begun(tmp_path, scenes, "--steps", "3", "--fit", "crop", "--scheduler", "ddim", "--beams", "2")
    where = ["--run", str(tmp_path / "run")]
    assert main(["status", *where]) == 0
    assert main(["status", *where, "--steps", "3", "--dataset", str(scenes)]) == 0
    capsys.readouterr()
    assert main(["status", *where, "--steps", "4"]) == 2
    assert capsys.readouterr().err.startswith("error: steps = 4: ")
    assert main(["sweep", *where, "--guidance", "-1"]) == 2
    options = read_options(["report", *where])
    assert start.guidance(start.open_run(options), options) == 11


def test_a_sweep_without_a_run_says_how_to_make_one(tmp_path, capsys, scenes):
    assert main(["sweep", "--dataset", str(scenes), "--run", str(tmp_path / "run")]) == 2
    assert "report" in capsys.readouterr().err and not (tmp_path / "run").exists()


def test_the_status_says_what_the_folder_has_whoever_made_it(tmp_path, capsys, scenes):
    run = begun(tmp_path, scenes)
    for scene in run.scenes[:3]:
        path = run.picture("suffix-text-g11", scene)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(path)
    (run.folder / "notebooks").mkdir()
    (run.folder / "notebooks" / "00_overview.ipynb").write_text("{}")
    assert main(["status", "--run", str(run.folder)]) == 0
    shown = capsys.readouterr().out
    assert all(title in shown for title in plan.TITLES)
    assert (
        "00_overview                      done" in shown
        and "01_captioning                    not yet" in shown
    )
    assert "1 arm: 1 part" in shown and "3 of 4 pictures" in shown


def test_a_dry_run_says_the_total_first_and_makes_nothing(tmp_path, capsys, scenes, nothing_runs):
    run = begun(tmp_path, scenes)
    assert main(["dry-run", "--run", str(run.folder), "--guidance", "1", "3", "5"]) == 0
    total, *rest = capsys.readouterr().out.splitlines()[2:]
    assert total.startswith("36 pictures to make, an unknown time") and len(rest) == 6
    assert any(line.split()[0] == "suffix-text-g3,5" for line in rest)
    assert not (run.folder / "sweeps").exists()


def test_a_failure_is_said_once_with_all_its_lines(tmp_path, capsys, scenes, monkeypatch):
    def fails(*_):
        raise OSError("checkpoint 'x': not here\nlooked there\neither download it:  hf download x")

    monkeypatch.setattr(tasks, "execute", fails)
    assert main(["report", "--dataset", str(scenes), "--run", str(tmp_path / "run")]) == 1
    captured = capsys.readouterr()
    assert (captured.out + captured.err).count("hf download x") == 1 and "hf download x" in captured.err


def test_several_folders_in_one_text_and_blanks_in_a_folder(tmp_path):
    for name in ("a", "my pictures"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (8, 8)).save(tmp_path / name / "photo-0.png")
    text = f"sd={tmp_path}/my pictures flux={tmp_path}/a"
    assert start.externals([text]) == {"sd": f"{tmp_path}/my pictures", "flux": f"{tmp_path}/a"}
    with pytest.raises(ParameterError, match="give NAME=FOLDER"):
        start.externals(["my name=x"])


def made(target: str, **variables: str) -> list[str]:
    """The arguments that a target of the Makefile hands to the program."""
    command = ["make", "-n", target, *(f"{name}={value}" for name, value in variables.items())]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, encoding="utf-8", check=True)
    line = next(line for line in shown.stdout.splitlines() if "-m helpers" in line)
    return shlex.split(line)[3:]


@pytest.mark.parametrize("command", sorted(set(COMMANDS) - set(TRAINING)))
def test_make_hands_every_variable_over_blanks_and_quotes_included(command):
    plain = {"DATASET": "Bob's photos", "RUN": "runs/my run", "MODELS": "published", "STEPS": "75"}
    plain |= {"SCHEDULER": "ddim", "FIT": "crop", "BEAMS": "2", "SAFETY": "1", "GUIDANCE": "11"}
    options = read_options(made(command, **plain))
    assert (options.command, options.dataset, options.run) == (command, "Bob's photos", "runs/my run")
    assert (options.models, options.steps, options.scheduler) == ("published", 75, "ddim")
    assert (options.fit, options.beams, options.safety) == ("crop", 2, 1)
    assert options.guidance == (11 if command == "report" else [11])


def test_make_hands_the_variables_of_a_sweep_over():
    given = {"GUIDANCE": "1 3", "FRACTION": "0.1 1", "GROUNDING": "none image", "TEMPLATE": "suffix label"}
    given |= {
        "SEED": "0 1",
        "GRID": "my grid.toml",
        "WORKERS": "2",
        "CLUSTER": "tcp://a:1",
        "BATCH_SIZE": "4",
    }
    for command in ("sweep", "dry-run", "status"):
        options = read_options(made(command, **given))
        assert (options.guidance, options.fraction, options.seed) == ([1, 3], [0.1, 1], [0, 1])
        assert (options.grounding, options.template) == (["none", "image"], ["suffix", "label"])
        assert (options.grid, options.workers, options.cluster) == ("my grid.toml", 2, "tcp://a:1")
        assert options.batch_size == 4


def test_make_hands_the_variables_of_training_over():
    given = {
        "RUN": "runs/my run",
        "ARM": "a-text-g1 b-text-g2",
        "TO": "my set",
        "FORMAT": "voc",
        "IOU": "0.7",
    }
    options = read_options(made("dataset", **given, CROPS="0.5", VAL="0.1", SEED="3", ALL="1"))
    assert (options.run, options.arm, options.to) == ("runs/my run", ["a-text-g1", "b-text-g2"], "my set")
    assert (options.format, options.iou, options.crops) == ("voc", 0.7, 0.5)
    assert (options.val, options.seed, options.all) == (0.1, 3, 1)
    options = read_options(made("study-detector", TEST="others", STEPS="9", CHECKPOINT="a/b"))
    assert (options.test, options.steps, options.checkpoint) == ("others", 9, "a/b")


def test_a_training_set_is_one_command(tmp_path, capsys):
    run = judged.start(tmp_path)
    run.write_json("choices/template.json", {"template": "suffix", "guidance_scale": 2})
    judged.draw(run, "suffix-text-g2")
    words = ["dataset", "--run", str(run.folder), "--to", str(tmp_path / "set")]
    assert main(words) == 2 and "run 04_fid" in capsys.readouterr().err
    assert main([*words, "--all", "1", "--format", "yolo"]) == 0
    assert "6 of 6 pictures (5 train, 1 val)" in capsys.readouterr().out
    assert (tmp_path / "set" / "data.yaml").is_file()
    assert main(["dataset", "--run", str(tmp_path / "none"), "--to", "x"]) == 2
    assert "not a run folder" in capsys.readouterr().err


def test_make_hands_pictures_from_elsewhere_over():
    options = read_options(made("report", EXTERNAL="sd=my pictures flux=b"))
    assert options.external == ["sd=my pictures flux=b"]


def test_a_misspelt_variable_of_make_is_an_error(capsys):
    with pytest.raises(SystemExit):
        read_options(made("sweep", GUIDENCE="1 3"))
    assert "did you mean 'GUIDANCE'" in capsys.readouterr().err


def test_the_variables_of_make_are_the_options():
    text = (ROOT / "Makefile").read_text(encoding="utf-8").replace("\\\n", " ")
    names = (
        next(line for line in text.splitlines() if line.startswith("VARIABLES")).partition(":=")[2].split()
    )
    known = {name for command in COMMANDS for name in parser(command)._option_string_actions}
    options = {name[2:].upper().replace("-", "_") for name in known if name.startswith("--")} - {"HELP"}
    assert set(names) == options


def test_the_console_script_and_the_module_are_the_same(capsys):
    shown = subprocess.run(
        [sys.executable, "-m", "helpers", "--help"], cwd=ROOT, capture_output=True, check=True
    )
    with pytest.raises(SystemExit):
        main(["--help"])
    assert shown.stdout.decode() == capsys.readouterr().out
    assert 'grounded = "helpers.__main__:main"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
