"""The protocol of a run: data, models and settings that all of its pictures share; and its machine."""

import hashlib
import importlib.metadata
import os
import platform
import time
from collections.abc import Mapping
from pathlib import Path

from helpers.models.sets import Checkpoint, model_set
from helpers.parameters import ParameterError
from helpers.runs.arms import check
from helpers.scenes.scenes import Scenes, checksum, read_scenes

ROOT = Path(__file__).resolve().parents[2]
FEWEST = 3  # photos: leaving one out has to leave two
LITTER = ("Thumbs.db", "desktop.ini", "ehthumbs.db")
PACKAGES = ("torch", "diffusers", "transformers", "numpy", "pillow", "scipy", "papermill")


def at(path: str | Path) -> Path:
    """The path itself, or, where it is relative, that path seen from the repository's root."""
    return ROOT / path


def spelled(path: str | Path) -> str:
    """A path in one spelling: from the repository's root where it lies below it, else absolute."""
    path = at(path).resolve()
    return (path.relative_to(ROOT) if path.is_relative_to(ROOT) else path).as_posix()


def digest(folder: Path) -> str:
    """16 hexadecimal digits that change when a file in the folder changes its name or content, but for the
    files that systems leave by themselves where somebody looks."""
    total = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        if path.name in LITTER or name.startswith(".") or "/." in name:
            continue
        total.update(f"{name}\n".encode())
        with path.open("rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()[:16]


def scenes_of(protocol: Mapping) -> Scenes:
    """The scenes that a protocol is about: of its `dataset`, and of that its `selection`, if it has one."""
    return read_scenes(at(protocol["dataset"]), **protocol.get("selection", {}))


def _measurable(scenes: Scenes, folder: str | Path) -> Scenes:
    """Those scenes. Raises ParameterError where they are too few to measure anything."""
    if len(scenes) < FEWEST:
        raise ParameterError(
            f"dataset = {str(folder)!r}: too few photos, {len(scenes)}; at least {FEWEST} are needed for any "
            "measure of certainty, and some 50 to tell two settings apart"
        )
    if not any(len(scene.boxes) for scene in scenes):
        raise ParameterError(
            f"dataset = {str(folder)!r}: no photo has a box ({len(scenes)} photos); a study asks pictures to "
            "follow boxes: give labels and bboxes for some of them. Without boxes photos can be captioned "
            f"(helpers.captioning), no more{''.join(f'. {note}' for note in scenes.notes)}"
        )
    return scenes


def protocol(
    dataset: str,
    models: str,
    steps: int | None = None,
    scheduler: str = "pndm",
    fit: str = "squash",
    beams: int = 4,
    safety: bool = False,
    selection: Mapping[str, object] | None = None,
) -> dict[str, object]:
    """Everything that has to be the same for all pictures and scores of one run; no model is loaded.

    dataset: folder with photos and their annotations, relative to the repository or absolute.
    steps: denoising steps; None for the model set's own number. safety: whether the checkpoints' safety
    checker withholds pictures. selection: which scenes of the data set, keywords of `read_scenes`: `split`,
    `limit` and `seed`, `labels`, `skip_bad`.
    Raises ParameterError naming each value that cannot be right, and DatasetError for what is wrong with the
    photos and their annotations.
    """
    check(models=models, dataset=at(dataset), scheduler=scheduler, fit=fit, beams=beams, safety=safety)
    if safety and models == "demo":
        raise ParameterError("safety = True: the demo models have no safety checker, only the published ones")
    chosen = model_set(models)
    steps = chosen.steps if steps is None else steps
    check(steps=steps, scheduler=scheduler)
    about = {"dataset": spelled(dataset)} | ({"selection": dict(selection)} if selection else {})
    return about | {
        "dataset_checksum": checksum(_measurable(scenes_of(about), dataset)),
        "models": models,
        "checkpoints": {one.name: revision(one) for one in chosen.checkpoints(safety)},
        "size": chosen.size,
        "steps": steps,
        "scheduler": scheduler,
        "fit": fit,
        "beams": beams,
        "safety": safety,
    }


def revision(checkpoint: Checkpoint) -> str:
    """The hub commit, or for a local folder its checksum, or "absent" where there is none."""
    if checkpoint.revision is not None:
        return checkpoint.revision
    return digest(Path(checkpoint.source)) if Path(checkpoint.source).is_dir() else "absent"


def machine() -> dict[str, object]:
    """Device, cores, start and versions: what the numbers of a run may depend on beside its parameters."""
    import torch

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{platform.machine()} processor"
    return {
        "device": f"{device}, {os.cpu_count()} cores",
        "started": time.strftime("%Y-%m-%d %H:%M"),
        "versions": {"python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in PACKAGES},
    }
