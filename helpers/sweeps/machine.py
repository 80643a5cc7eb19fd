"""What this machine holds and can run: weights, memory and disk, and what to do where they are short."""

import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from helpers.models import checkpoints
from helpers.models.checkpoints import INCEPTION, RESTORE, Missing, missing
from helpers.models.sets import MODEL_SETS, ModelSet, model_set, with_own
from helpers.parameters import ParameterError
from helpers.runs.protocol import ROOT, models_of
from helpers.sweeps.progress import size

USUAL = 100  # pictures, of which `doctor` says how long they take


def require(
    protocol: Mapping, captions: bool, pictures: int, yes: bool, groundings: Iterable[str] = ()
) -> list[str]:
    """What of a study will be short or slow on this machine, in a sentence each.

    protocol: of the run. captions: whether the captioners are needed. yes: that it is slow has been accepted.
    groundings: methods that will draw, which may bring weights of their own.
    Raises ParameterError with everything that is missing, its size, its terms and one command; where a method
    has no weights in the model set; and where published models would run without a GPU, until that is
    accepted.
    """
    chosen, safety = models_of(protocol, groundings), protocol["safety"]
    spared = () if captions else chosen.captioners.values()
    if lacking := [one for one in missing(chosen, safety) if one.checkpoint not in spared]:
        count = f"{len(lacking)} checkpoint{'s are' if len(lacking) > 1 else ' is'} missing"
        lines = [
            f"{one.checkpoint.name}{_size(one)}: {one.problem}; looked in {one.place}"
            + f"; {one.checkpoint.terms}" * bool(one.checkpoint.terms)
            for one in lacking
        ]
        lines += _ways(lacking, chosen, safety)
        raise ParameterError("\n  ".join([f"{count}{_size(*lacking)}; nothing was begun", *lines]))
    if chosen.name == "demo":
        return []  # which fits everywhere, and who uses it waits for no torch
    from helpers.models import devices

    slow = devices.slowness(chosen, pictures, protocol["steps"])
    if slow and not yes:
        raise ParameterError(f"{slow}\n  to do it all the same, say so: --yes (make: YES=1)")
    needs = devices.needs(chosen, safety)
    notes = [slow] if slow else []
    if any("cuda, float32" in need.how and "captions" in need.stage for need in needs):
        notes.append("a GPU without bfloat16: pictures in float16, captioner t5 in float32, twice its memory")
    return notes + [str(need) for need in needs if not need.fits]


def fetch(models: str, safety: bool = False, groundings: Iterable[str] = ()) -> None:
    """Download what is missing of a model set; says how much before it starts, and what is where at its end.

    groundings: methods whose own weights are wanted, too. Raises CheckpointMissing for what cannot be had,
    OSError where the disk has no room for all of it.
    """
    chosen = models_of({"models": models}, groundings)
    total = sum(one.checkpoint.size for one in missing(chosen, safety))
    folder, free = _disk(checkpoints.constants.HF_HUB_CACHE)
    if free < total:
        raise OSError(f"{size(total)} to download, {size(free)} free in {folder}; free some, or set HF_HOME")
    checkpoints.fetch(chosen, safety)


def doctor(safety: bool = False) -> list[str]:
    """Lines for a terminal: device, disk, weights that are there and those that are not, and the memory of
    each stage with published models."""
    from helpers.models import devices

    device, published = devices.best_device(), model_set("published")
    is_gpu = device.type == "cuda"
    named = devices.torch.cuda.get_device_name() if is_gpu else f"no GPU, {os.cpu_count()} cores"
    disks = {"weights": checkpoints.constants.HF_HUB_CACHE, "runs": ROOT / "runs"}
    free = ", ".join(f"{size(_disk(folder)[1])} for {what}" for what, folder in disks.items())
    lines = [f"device: {named}, {size(devices.memory(device))} of memory; free disk: {free}"]
    for name in MODEL_SETS:
        lacking = missing(models := model_set(name), safety)
        needed = [*models.checkpoints(safety), *[INCEPTION] * models.inception]
        absent = [one.checkpoint for one in lacking]
        there = ", ".join(one.name for one in needed if one not in absent)
        lines.append(f"{name} models, here: {there or 'none'}")
        if lacking:
            gone = ", ".join(one.name for one in absent)
            lines.append(
                f"{name} models, missing{_size(*lacking)}: {gone}; {_ways(lacking, models, safety)[0]}"
            )
    for method, one in published.methods.items():
        where = "here"
        if lack := checkpoints.find(one)[1]:
            where = f"missing{_size(lack)}; {_ways([lack], with_own(published, [method]), safety)[0]}"
        lines.append(f"published, for {method}: {one.name}, {where}; {one.terms}")
    published = with_own(published, published.methods)
    lines += [f"published, {need}" for need in devices.needs(published, safety)]
    slow = devices.slowness(published, USUAL, published.steps)
    return lines + [f"published, {slow}"] * bool(slow)


def _ways(lacking: Sequence[Missing], models: ModelSet, safety: bool) -> list[str]:
    """What to do about missing checkpoints, the nearest first."""
    if any(one.checkpoint.revision is None for one in lacking):
        return [one.command for one in lacking if one.checkpoint.converter] or list(RESTORE)
    own = "".join(f" --grounding {name}" for name in models.own)
    command = f"download: grounded fetch --models {models.name}{' --safety' * safety}{own}"
    demo = "or use the models that ship with this project: --models demo"
    return [command] if own else [command, demo]


def _size(*lacking: Missing) -> str:
    total = sum(one.checkpoint.size for one in lacking)
    return f" ({size(total)} to download)" if total else ""


def _disk(folder: str | Path) -> tuple[Path, int]:
    """The folder, or the nearest one above it that is there, and the bytes that are free in it."""
    path = Path(folder).resolve()
    there = next(place for place in (path, *path.parents) if place.is_dir())
    return there, shutil.disk_usage(there).free
