"""Every part of the published set through its own loader, at true size, onto a device that holds nothing.

`network` raises for weights that are missing and for those without a place, so that loading is the test.
"""

import sys
import time

import pytest
import torch
import transformers
from huggingface_hub import constants
from transformers import core_model_loading

from helpers.models import checkpoints, devices, loading
from helpers.models.sets import model_set
from tests.benchmarks import rehearsal
from tests.fakes.full_size_hub import write_hub

PUBLISHED = model_set("published")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hub")
    write_hub(folder, PUBLISHED)
    return folder


def hole(weight, device=None, dtype=None) -> torch.Tensor:
    """What a weight of a hole in a file is: its shape and nothing to read, which saves tens of gigabytes."""
    shape = weight.shape if isinstance(weight, torch.Tensor) else weight.get_shape()
    return torch.empty(shape, device="meta", dtype=dtype)


@pytest.fixture(autouse=True)
def rehearsed(hub, monkeypatch):
    """The cache, offline, and transformers' models made without memory."""
    monkeypatch.setattr(core_model_loading, "_materialize_copy", hole)
    here, real = checkpoints.snapshot_download, loading.network

    def network(kind, *names, **options):
        if issubclass(kind, transformers.PreTrainedModel):
            options["device_map"] = "meta"
        return real(kind, *names, **options)

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(hub))
    monkeypatch.setattr(
        checkpoints, "snapshot_download", lambda *names, **more: here(*names, **more, cache_dir=hub)
    )
    monkeypatch.setattr(loading, "network", network)


def count(*modules: torch.nn.Module) -> int:
    weights = {id(weight): weight.numel() for module in modules for weight in module.parameters()}
    return sum(weights.values())


def near(checkpoint, parameters: int) -> bool:
    return abs(parameters / checkpoint.parameters - 1) < 0.02


def test_all_of_it_is_located_in_no_time():
    began = time.process_time()
    assert not [
        one for one in checkpoints.missing(PUBLISHED, True) if one.checkpoint is not checkpoints.INCEPTION
    ]
    assert time.process_time() - began < 0.5


@pytest.mark.parametrize("name", ["opt", "t5"])
def test_the_captioners(name):
    checkpoint, options = PUBLISHED.captioners[name], {"device": "meta", "dtype": torch.float32}
    whole, vision, language = (
        count(loading.load_captioner(checkpoint, half=half, **options).model)
        for half in (None, "vision", "language")
    )
    assert near(checkpoint, whole) and whole == vision + language
    assert abs(vision / devices.VISION_HALF - 1) < 0.02


@pytest.mark.parametrize(("grounding", "dtype"), [("text", torch.float16), ("image", torch.float32)])
def test_both_groundings_with_the_one_safety_checker(grounding, dtype):
    """In the dtype of their files: else gigabytes of nothing are converted."""
    checkpoint = PUBLISHED.gligen[grounding]
    gligen = loading.load_gligen(checkpoint, grounding, "meta", dtype, PUBLISHED.safety)
    assert near(PUBLISHED.safety, count(gligen.safety_checker))
    parts = [part for part in vars(gligen).values() if isinstance(part, torch.nn.Module)]
    assert near(checkpoint, count(*parts) - count(gligen.safety_checker))


def test_the_judges():
    clip = loading.load_clip(PUBLISHED.clip, "meta")
    detector = loading.load_detector(PUBLISHED.detector, "meta")
    assert near(PUBLISHED.clip, count(clip.model)) and near(PUBLISHED.detector, count(detector.model))


def test_a_rehearsal_without_room_writes_nothing(tmp_path, monkeypatch, capsys):
    usage = rehearsal.shutil._ntuple_diskusage(9, 9, 3 * 10**9)
    monkeypatch.setattr(rehearsal.shutil, "disk_usage", lambda _: usage)
    monkeypatch.setattr(sys, "argv", ["rehearsal", "--to", str(tmp_path / "there")])
    assert rehearsal.main() == 2 and not (tmp_path / "there").exists()
    said = capsys.readouterr()
    assert "46 GB of disk" in said.out and "disk: 46 GB are needed, 3.0 GB are free" in said.err
    assert "--yes" in said.err
