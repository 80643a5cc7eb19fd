"""The command line: what it understands, what it refuses, and in which words."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import constants
from PIL import Image

from helpers.__main__ import COMMANDS, GROUPS, main, parser, read_options
from helpers.generation import tokens
from helpers.models import checkpoints, devices
from helpers.models.sets import model_set
from helpers.parameters import ParameterError
from helpers.runs import run as runs
from helpers.runs.run import Run
from helpers.sweeps import commands, machine, plan, settings, tasks
from helpers.sweeps.notebooks import check_parameters
from tests.fakes import judged
from tests.fakes.clip import write_clip
from tests.fakes.study import write_scenes

ROOT = Path(__file__).resolve().parents[1]
OF_A_RUN = [name for name, groups in GROUPS.items() if "run" in groups]


@pytest.fixture
def scenes(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "machine", lambda: {"device": "toaster", "started": "now", "versions": {}})
    monkeypatch.setenv("GROUNDED_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(machine, "missing", lambda *_: [])
    return write_scenes(tmp_path / "photos")


@pytest.fixture
def nothing_runs(monkeypatch):
    monkeypatch.setattr(tasks, "execute", lambda *_: pytest.fail("a notebook ran"))


def begun(tmp_path, scenes, *options) -> Run:
    """A run with prompts and a choice, begun by the command's own rules."""
    options = read_options(["report", "--dataset", str(scenes), "--run", str(tmp_path / "run"), *options])
    run = settings.open_run(options)
    run.write_json("choices/template.json", {"template": "suffix", "guidance_scale": 11.0})
    run.write_jsonl("prompts/suffix.jsonl", [])
    return run


def test_help_can_be_read_by_a_newcomer(capsys):
    for command in COMMANDS:
        for arguments in (["--help"], [command, "--help"]):
            with pytest.raises(SystemExit) as stop:
                main(arguments)
            shown = capsys.readouterr().out
            assert stop.value.code == 0 and f"grounded {command}" in shown
        assert "default" in shown
        assert command not in OF_A_RUN or "protocol:" in shown


@pytest.mark.parametrize("command", OF_A_RUN)
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
    assert {*settings.NAMES} <= options.keys()


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
        (["fetch", "--run", "x"], "grounded fetch has no such option"),
        (["check", "LIMITS=3"], "did you mean 'LIMIT'"),
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
        (["--limit", "2"], "limit = 2"),
        (["--labels", "cone"], "labels = 'cone': give OLD=NEW"),
        (["--labels", "hat=helmet"], "labels ['hat'] stand on no box"),
        (["--external", "mine"], "external = mine=: give NAME=FOLDER"),
        (["--external", "mine=/no/such"], "mine=/no/such: no such folder"),
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
    run = settings.open_run(options)
    assert settings.guidance(run, run.card["protocol"], options) == 11


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
    total, *rest = capsys.readouterr().out.splitlines()[4:]
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
    assert settings.externals([text]) == {"sd": f"{tmp_path}/my pictures", "flux": f"{tmp_path}/a"}
    with pytest.raises(ParameterError, match="my=: give NAME=FOLDER"):
        settings.externals(["my name=x"])


def made(target: str, **variables: str) -> list[str]:
    """The arguments that a target of the Makefile hands to the program."""
    command = ["make", "-n", target, *(f"{name}={value}" for name, value in variables.items())]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, encoding="utf-8", check=True)
    line = next(line for line in shown.stdout.splitlines() if "-m helpers" in line)
    return shlex.split(line)[3:]


@pytest.mark.parametrize("command", OF_A_RUN)
def test_make_hands_every_variable_over_blanks_and_quotes_included(command):
    plain = {"DATASET": "Bob's photos", "RUN": "runs/my run", "MODELS": "published", "STEPS": "75"}
    plain |= {"SCHEDULER": "ddim", "FIT": "crop", "BEAMS": "2", "SAFETY": "1", "YES": "1"}
    plain |= {"SPLIT": "train", "LIMIT": "10", "LABELS": "hat=helmet vest=", "SKIP_BAD": "1"}
    plain |= {"tune": {"SCENES": "12"}, "methods": {}, "tokens": {}}.get(command, {"GUIDANCE": "11"})
    options = read_options(made(command, **plain))
    assert (options.command, options.dataset, options.run) == (command, "Bob's photos", "runs/my run")
    assert (options.models, options.steps, options.scheduler) == ("published", 75, "ddim")
    assert (options.fit, options.beams, options.safety) == ("crop", 2, 1)
    assert (options.split, options.limit, options.labels) == ("train", 10, "hat=helmet vest=")
    assert (options.skip_bad, options.yes) == (1, 1)
    if command == "tune":
        assert options.scenes == 12
    elif command not in ("methods", "tokens"):
        assert options.guidance == (11 if command in ("report", "edit") else [11])


def test_make_hands_the_variables_of_the_other_commands_over():
    options = read_options(made("check-data", DATASET="Bob's photos", LIMIT="9"))
    assert (options.command, options.dataset, options.limit) == ("check", "Bob's photos", 9)
    assert read_options(made("fetch", MODELS="published")).models == "published"
    assert read_options(made("doctor", SAFETY="1")).safety == 1
    assert read_options(made("fetch", GROUNDING="flux3")).grounding == ["flux3"]
    options = read_options(made("prompts", RUN="a", FORMAT="moss", TO="my set", SIZE="512", TEMPLATE="b"))
    assert (options.format, options.to, options.size, options.template) == ("moss", "my set", 512, "b")
    assert read_options(made("prompts", UPSAMPLED="a.jsonl")).upsampled == "a.jsonl"


def test_make_hands_the_variables_of_a_sweep_over():
    given = {
        "GUIDANCE_SHARE": "0.6 1",
        "GUIDANCE": "1 3",
        "FRACTION": "0.1 1",
        "GROUNDING": "none image",
        "TEMPLATE": "suffix label",
    }
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
        assert options.batch_size == 4 and options.guidance_share == [0.6, 1]


def test_make_hands_the_variables_of_training_over():
    given = {
        "RUN": "runs/my run",
        "ARM": "a-text-g1 b-text-g2",
        "TO": "my set",
        "FORMAT": "voc",
        "IOU": "0.7",
    }
    options = read_options(made("dataset", **given, CROP_ACCURACY="0.5", VAL="0.1", SEED="3", ALL="1"))
    assert (options.run, options.arm, options.to) == ("runs/my run", ["a-text-g1", "b-text-g2"], "my set")
    assert (options.format, options.iou, options.crop_accuracy) == ("voc", 0.7, 0.5)
    assert (options.val, options.seed, options.all) == (0.1, 3, 1)
    options = read_options(made("study-detector", TEST="others", STEPS="9", CHECKPOINT="a/b"))
    assert (options.test, options.steps, options.checkpoint) == ("others", 9, "a/b")


def test_a_training_set_is_one_command(tmp_path, capsys):
    run = judged.start(tmp_path)
    run.write_json("choices/template.json", {"template": "suffix", "guidance_scale": 2})
    judged.draw(run, "suffix-text-g2")
    words = ["dataset", "--run", str(run.folder), "--to", str(tmp_path / "set")]
    assert main(words[:3]) == 2 and "name the folder" in capsys.readouterr().err
    assert main(words) == 2 and "run 04_fid" in capsys.readouterr().err
    assert main([*words, "--all", "--format", "yolo"]) == 0
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


GB = 10**9


@pytest.fixture
def published(tmp_path, monkeypatch):
    """The hub's cache is empty, and nothing asks the network."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    here = checkpoints.snapshot_download
    monkeypatch.setattr(
        checkpoints, "snapshot_download", lambda **options: here(**options, cache_dir=tmp_path / "hub")
    )
    return write_scenes(tmp_path / "photos")


def test_everything_missing_is_listed_before_a_run_is_begun(tmp_path, published, capsys, nothing_runs):
    where = ["--run", str(tmp_path / "run"), "--dataset", str(published)]
    assert main(["report", *where, "--models", "published", "--safety"]) == 2
    first, *lines = capsys.readouterr().err.splitlines()
    assert first == "error: 8 checkpoints are missing (43.2 GB to download); nothing was begun"
    assert "blip2-opt-2.7b (15.0 GB to download)" in lines[0] and str(tmp_path / "hub") in lines[0]
    assert "Inception" in lines[7] and len(lines) == 10
    assert lines[8] == "  download: grounded fetch --models published --safety"
    assert not (tmp_path / "run").exists()


def test_weights_of_a_method_are_missed_at_once(tmp_path, scenes, capsys, nothing_runs, monkeypatch):
    run = begun(tmp_path, scenes)
    sweep = ["sweep", "--run", str(run.folder), "--grounding", "flux3"]
    assert main(sweep) == 2
    assert "'demo': no checkpoint of 'flux3' in this set" in capsys.readouterr().err
    run.card["protocol"] |= {"models": "published"}
    lack = checkpoints.Missing(model_set("published").methods["flux3"], "the cache", "not downloaded yet")
    monkeypatch.setattr(machine, "missing", lambda models, _: [lack] if models.own else [])
    with pytest.raises(ParameterError) as error:
        machine.require(run.card["protocol"], False, 4, True, ["flux3", "text"])
    first, own, way = str(error.value).splitlines()
    assert first == "1 checkpoint is missing (20.2 GB to download); nothing was begun"
    for said in ("looked in the cache", "gated", "unsloth/flux-3-image-klein", "Kommunity", "LICENSE.md"):
        assert said in own
    assert way.strip() == "download: grounded fetch --models published --grounding flux3"
    monkeypatch.setattr(machine, "missing", lambda *_: [])
    with pytest.raises(ParameterError, match=r"several times that with flux3 (.|\n)* say so: --yes"):
        machine.require(run.card["protocol"], False, 4, False, ["flux3"])
    assert "no GPU" in machine.require(run.card["protocol"], False, 4, True, ["flux3"])[0]


def test_demo_models_that_are_not_there_name_their_own_ways(tmp_path, monkeypatch, capsys, nothing_runs):
    photos = write_scenes(tmp_path / "photos")
    monkeypatch.setenv("GROUNDED_DATA", str(tmp_path / "none"))
    assert main(["report", "--run", str(tmp_path / "run"), "--dataset", str(photos)]) == 2
    said = capsys.readouterr().err
    assert "6 checkpoints are missing; nothing" in said and "GROUNDED_DATA" in said and "fetch" not in said
    assert not (tmp_path / "run").exists()


def test_published_models_without_a_gpu_ask_for_a_yes(tmp_path, scenes, monkeypatch, capsys):
    ran = []
    monkeypatch.setattr(devices, "best_device", lambda: devices.CPU)
    monkeypatch.setattr(devices, "memory", lambda _: 8 * GB)
    monkeypatch.setattr(plan, "report", lambda run, *_: ran.append(run) or ["failed"])
    report = ["report", "--models", "published", "--run", str(tmp_path / "run"), "--dataset", str(scenes)]
    assert main(report) == 2 and not (tmp_path / "run").exists()
    said = capsys.readouterr().err
    assert "no GPU: 64 pictures of 512 x 512" in said and "--yes" in said
    assert main([*report, "--yes"]) == 1 and len(ran) == 1
    notes = [line for line in capsys.readouterr().out.splitlines() if "note: " in line]
    assert (
        "no GPU" in notes[0] and "captions by opt: 18.7 GB of 8.0" in notes[1] and "does not fit" in notes[1]
    )


def test_a_report_that_is_done_needs_no_models(tmp_path, scenes, monkeypatch):
    run, ran = begun(tmp_path, scenes), []
    monkeypatch.setattr(machine, "missing", lambda *_: pytest.fail("looked for models"))
    monkeypatch.setattr(commands, "is_done", lambda *_: True)
    monkeypatch.setattr(plan, "report", lambda run, *_: ran.append(run) or ["failed"])
    run.write_json("choices/template.json", {"template": "suffix", "guidance_scale": 11.0, "compared": []})
    assert main(["report", "--run", str(run.folder)]) == 1 and len(ran) == 1


def test_a_selection_is_a_part_of_the_run_and_of_its_name(tmp_path, scenes, monkeypatch, capsys):
    def options(*more: str):
        return read_options(["report", "--dataset", str(scenes), *more])

    place, *_ = settings.protocol_of(options("--limit", "3"))
    assert place == "runs/photos-3"
    run = settings.open_run(options("--run", str(tmp_path / "run"), "--limit", "3", "--labels", "cone=pylon"))
    assert len(run.scenes) == 3 and {label for one in run.scenes for label in one.labels} >= {"pylon"}
    assert run.card["protocol"]["selection"] == {"limit": 3, "labels": {"cone": "pylon"}}
    assert "the study's own list" in capsys.readouterr().out
    again = options("--run", str(tmp_path / "run"))
    assert len(settings.open_run(again).scenes) == 3
    with pytest.raises(ParameterError, match=r"limit = 4: .* was made with 3; leave it out"):
        settings.open_run(options("--run", str(tmp_path / "run"), "--limit", "4"))


def test_labels_are_renamed_and_left_out():
    def told(text: str) -> dict:
        return settings.selection(read_options(["check", "--labels", text]))["labels"]

    assert told("hat=helmet vest=") == {"hat": "helmet", "vest": None}
    assert told("hard hat=helmet, safety vest=") == {"hard hat": "helmet", "safety vest": None}


def test_a_data_set_is_checked_without_a_run(tmp_path, scenes, capsys):
    assert main(["check", "--dataset", str(scenes)]) == 0
    shown = capsys.readouterr().out
    assert "4 scenes, 8 boxes of 3 labels" in shown and "the study's own list" in shown
    (scenes / "photo-1.png").write_bytes(b"no picture")
    assert main(["check", "--dataset", str(scenes)]) == 1
    assert "photo-1.png" in capsys.readouterr().err
    assert main(["check", "--dataset", str(scenes), "--skip-bad"]) == 0
    assert "note: scenes left out: 1 of 4" in capsys.readouterr().out
    assert main(["check", "--dataset", str(tmp_path / "nowhere")]) == 2


def test_fetching_says_what_it_would_take_and_refuses_a_full_disk(published, monkeypatch, capsys):
    assert main(["fetch"]) == 2
    told = capsys.readouterr()
    assert "7 of 7 checkpoints to download, 42.6 GB" in told.out and "blip2-opt-2.7b" in told.err
    full = machine.shutil._ntuple_diskusage(9, 9, 0)
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda _: full)
    assert main(["fetch", "--models", "published"]) == 2
    told = capsys.readouterr()
    assert "42.6 GB to download, 0.0 MB free" in told.err and not told.out


def test_the_doctor_says_on_one_screen_what_this_machine_can_run(published, monkeypatch, capsys):
    monkeypatch.setattr(devices, "best_device", lambda: devices.CPU)
    assert main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 17 and lines[0].startswith("device: no GPU") and "free disk" in lines[0]
    assert lines[1].startswith("demo models, here: demo blip2-opt")
    assert lines[2] == "published models, here: none"
    assert "missing (42.6 GB to download)" in lines[3] and lines[3].endswith("fetch --models published")
    assert "for ip2p: instruct-pix2pix" in lines[4] and "for turboedit: sd-turbo" in lines[5]
    assert lines[6].startswith("published, for flux3: flux-3-image-klein, missing (20.2 GB to download)")
    assert "fetch --models published --grounding flux3; gated" in lines[6] and "unsloth/" in lines[6]
    assert lines[7].startswith(
        "published, for layoutdiffusion: LayoutDiffusion, missing; python -m data.conv"
    )
    assert "for attngan: AttnGAN" in lines[8] and "for ssagan: SSA-GAN" in lines[9]
    assert all(" GB of " in line for line in lines[10:16]) and "no GPU: 100 pictures" in lines[16]
    assert any("pictures by flux3: 28.1 GB of" in line for line in lines)


def test_tuning_prints_what_it_found(tmp_path, scenes, monkeypatch, capsys):
    run, asked = begun(tmp_path, scenes), []

    def carried_out(run, due, workers):
        asked.extend(due)
        run.write_json("09_cost/3/cost.json", {"sentence": "It is cheap.", "lines": ["grounded report"]})
        return []

    monkeypatch.setattr(plan, "carry_out", carried_out)
    assert main(["tune", "--run", str(run.folder), "--scenes", "3"]) == 0
    assert "It is cheap.\n  grounded report\n" in capsys.readouterr().out
    check_parameters(asked[0].path, asked[0].parameters)
    assert asked[0].parameters["scenes"] == 3
    (run.folder / "choices" / "template.json").unlink()
    assert main(["tune", "--run", str(run.folder)]) == 2
    assert "02_template_comparison" in capsys.readouterr().err


def test_inclusive_tokens_are_one_command_that_says_what_draws_with_them(
    tmp_path, scenes, monkeypatch, capsys
):
    write_clip(tmp_path / "data" / "models" / "clip")
    run = begun(tmp_path, scenes)
    words = ["tokens", "--run", str(run.folder)]
    assert main(words) == 2 and "name a field of annotations.json" in capsys.readouterr().err
    assert main([*words, "--attribute", "place"]) == 2
    assert "scene 'photo-0' has None in that field" in capsys.readouterr().err
    for kind in ("rain", "sun"):
        (tmp_path / "weather" / kind).mkdir(parents=True)
        Image.new("RGB", (32, 32)).save(tmp_path / "weather" / kind / "a.png")
    monkeypatch.setattr(tokens, "STEPS", 3)
    assert main([*words, "--attribute", "weather", "--photos", str(tmp_path / "weather")]) == 0
    shown = capsys.readouterr().out
    assert "<weather-0>, <weather-1>" in shown and "of the reference photos rightly" in shown
    line = next(line for line in shown.splitlines() if "grounded sweep" in line)
    names = commands.arms_of(run, read_options(line.split()[1:]))
    assert "weather_tokens-text-g11" in names and len(names) == 9
