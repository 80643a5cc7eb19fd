"""Everything that a study needs is located at its start: what is missing, how large it is, what mends it."""

import re
import shlex
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants

from helpers.models import checkpoints, devices
from helpers.models.checkpoints import INCEPTION, CheckpointMissing, fetch, find, missing
from helpers.models.sets import SAFETY, Checkpoint, model_set, with_own
from tests.fakes.flux3 import write_flux3
from tests.fakes.published import as_text_image_repository, as_text_repository
from tests.fakes.study import write_models

COMMIT = "c0ffee" * 6 + "c0de"
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Small repositories in the form of the published ones, by name."""
    models = write_models(tmp_path_factory.mktemp("data")) / "models"
    as_text_repository(models / "gligen-text")
    as_text_image_repository(models / "gligen-text-image")
    return models


@pytest.fixture
def published(monkeypatch, tmp_path, written):
    """The published set, offline, with every repository in the hub's cache but Inception's file."""
    hub = tmp_path / "hub"
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(hub))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    here = checkpoints.snapshot_download
    monkeypatch.setattr(
        checkpoints, "snapshot_download", lambda *names, **more: here(*names, **more | {"cache_dir": hub})
    )
    models = model_set("published")
    folders = ("blip2-opt", "blip2-t5", "gligen-text", "gligen-text-image", "clip", "owlv2")
    for folder, checkpoint in zip(folders, models.checkpoints(), strict=True):
        place = snapshot(hub, checkpoint)
        shutil.copytree(written / folder, place)
    return replace(models, inception=False)


def snapshot(hub: Path | str, checkpoint: Checkpoint) -> Path:
    name = f"models--{checkpoint.source.replace('/', '--')}"
    return Path(hub) / name / "snapshots" / checkpoint.revision


def test_a_whole_set_is_located_in_no_time(published):
    began = time.process_time()
    assert missing(published) == []
    assert time.process_time() - began < 0.5
    assert all(find(one)[0].name == one.revision for one in published.checkpoints())


def test_everything_missing_is_listed_at_once_with_sizes_and_one_command(published):
    hub = constants.HF_HUB_CACHE
    shutil.rmtree(snapshot(hub, published.captioners["t5"]))
    vae = snapshot(hub, published.gligen["image"]) / "vae" / "diffusion_pytorch_model.bin"
    vae.write_bytes(vae.read_bytes()[:-50])
    (snapshot(hub, published.clip) / "model.safetensors").unlink()
    lacking = missing(replace(published, inception=True))
    names = [one.checkpoint.name for one in lacking]
    assert names[:2] == ["blip2-flan-t5-xl", "Gligen_Text_Image"] and len(names) == 4
    commands = [shlex.split(one.command) for one in lacking]
    assert [one[1] for one in commands] == ["download", "download", "download", "-L"]
    assert commands[1][2:4] == ["anhnct/Gligen_Text_Image", "vae/diffusion_pytorch_model.bin"]
    assert "--force-download" in commands[1] and "--force-download" not in commands[0] + commands[2]
    assert commands[3][commands[3].index("-o") + 1] == str(checkpoints.inception_file())
    lines = str(CheckpointMissing(lacking[0])).splitlines()
    assert lines[-2].startswith("either download (15.8 GB):  ") and lines[-1].endswith("MODELS=demo")


def test_the_safety_checker_is_missed_only_where_it_is_wanted(published):
    assert missing(published) == []
    (lack,) = missing(published, safety=True)
    assert lack.checkpoint.parts == SAFETY and "lacks safety_checker/" in lack.problem


def test_the_twins_and_the_other_format_do_not_count_as_weights(published):
    folder = snapshot(constants.HF_HUB_CACHE, published.gligen["image"]) / "unet"
    (folder / "diffusion_pytorch_model.bin").unlink()
    assert (folder / "diffusion_pytorch_model.fp16.bin").is_file()
    assert "lacks the weights of unet" in missing(published)[0].problem


def test_weights_of_a_method_are_taken_from_a_mirror_that_is_here(published, tmp_path):
    one = published.methods["flux3"]
    (lack,) = missing(with_own(published, ["flux3"]))
    assert lack.checkpoint is one and "accept its licence" in str(lack) and one.mirror in str(lack)
    assert "--include 'tokenizer/*.jinja'" in lack.command and "--revision main" in lack.command
    folder = Path(constants.HF_HUB_CACHE) / f"models--{one.mirror.replace('/', '--')}"
    write_flux3(folder / "snapshots" / COMMIT)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(COMMIT)
    assert missing(with_own(published, ["flux3"])) == [] and checkpoints.locate(one)[1] == COMMIT
    (folder / "snapshots" / COMMIT / "vae" / "config.json").unlink()
    assert [one.checkpoint.name for one in missing(with_own(published, ["flux3"]))] == ["flux-3-image-klein"]


def test_inceptions_file_is_looked_for_where_torch_hub_would_put_it(published, monkeypatch, tmp_path):
    models = replace(published, inception=True)
    (lack,) = missing(models)
    file = Path(torch.hub.get_dir()) / "checkpoints" / checkpoints.INCEPTION_FILE
    assert lack.checkpoint is INCEPTION and lack.place == str(file) and str(file) in lack.command
    file.parent.mkdir(parents=True)
    file.write_bytes(b"half a download")
    assert "damaged, its SHA-256 starts with" in missing(models)[0].problem


def test_the_demo_set_is_located_and_its_absence_names_other_ways(monkeypatch, tmp_path, written):
    monkeypatch.setenv("GROUNDED_DATA", str(tmp_path))
    lacking = missing(model_set("demo"))
    said = str(CheckpointMissing(lacking[0]))
    assert len(lacking) == 6 and "GROUNDED_DATA" in said and "hf download" not in said


def test_fetching_says_how_much_goes_on_where_it_was_and_ends_with_what_is_where(
    published, monkeypatch, written, capsys
):
    """The hub is a folder here: what it sends is copied."""
    hub, asked = constants.HF_HUB_CACHE, []
    shutil.rmtree(snapshot(hub, published.clip))
    here = checkpoints.snapshot_download

    def download(repo_id, local_files_only=False, **more):
        if not local_files_only:
            asked.append(repo_id)
            shutil.copytree(written / "clip", snapshot(hub, published.clip), dirs_exist_ok=True)
        return here(repo_id, **more, local_files_only=True)

    monkeypatch.setattr(checkpoints, "snapshot_download", download)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)

    def said() -> list[str]:
        fetch(published)
        return capsys.readouterr().out.splitlines()

    first = said()
    assert first[0] == "1 of 6 checkpoints to download, 1.7 GB" and asked == [published.clip.source]
    assert [line.split(":")[0].strip() for line in first[2:]] == [one.name for one in published.checkpoints()]
    assert said()[0] == "nothing to download, all 6 checkpoints are here" and len(asked) == 1


def test_locating_waits_for_no_torch():
    code = "import sys, helpers.models.checkpoints; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


GB = 10**9


def test_what_each_stage_takes_is_compared_with_the_device(monkeypatch):
    models = model_set("published")

    def told(memory: int, bf16: bool) -> dict[str, devices.Need]:
        monkeypatch.setattr(devices, "best_device", lambda: torch.device("cuda"))
        monkeypatch.setattr(devices, "memory", lambda device: memory)
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: bf16)
        return {need.stage: need for need in devices.needs(models)}

    large, small, old = told(12 * GB, True), told(8 * GB, True), told(12 * GB, False)
    assert all(need.fits for need in [*large.values(), *small.values()])
    assert "halves" not in str(large["captions by t5"]) and "half by half" in str(small["captions by t5"])
    assert [stage for stage, need in old.items() if not need.fits] == ["captions by t5"]
    assert "float32" in str(old["captions by t5"]) and "another machine" in str(old["captions by t5"])


def test_published_models_on_a_cpu_come_with_what_they_take(monkeypatch):
    monkeypatch.setattr(devices, "best_device", lambda: devices.CPU)
    sentence = devices.slowness(model_set("published"), 672, 50)
    assert re.search(r"no GPU: 672 pictures of 512 x 512 pixels and 50 steps take some [\d.]+ days", sentence)
    assert devices.slowness(model_set("demo"), 672, 20) is None
    monkeypatch.setattr(devices, "best_device", lambda: torch.device("cuda"))
    assert devices.slowness(model_set("published"), 672, 50) is None


def test_the_demo_set_fits_everywhere():
    assert all(need.fits and need.memory < GB for need in devices.needs(model_set("demo")))
