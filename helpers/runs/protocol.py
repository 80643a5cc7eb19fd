"""The protocol of a run: data, models and settings that are the same for all of its pictures; and its machine."""

import hashlib
import importlib.metadata
import os
import platform
import time
from pathlib import Path

from helpers.models.sets import Checkpoint, model_set
from helpers.parameters import ParameterError
from helpers.runs.arms import check

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("torch", "diffusers", "transformers", "numpy", "pillow", "scipy", "papermill")


def at(path: str | Path) -> Path:
    """The path itself, or, where it is relative, that path seen from the repository's root."""
    return ROOT / path


def digest(folder: Path) -> str:
    """16 hexadecimal digits that change when a file in the folder changes its name or content."""
    total = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        total.update(f"{path.relative_to(folder).as_posix()}\n".encode())
        with path.open("rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()[:16]


def protocol(
    dataset: str,
    models: str,
    steps: int | None = None,
    scheduler: str = "pndm",
    fit: str = "squash",
    beams: int = 4,
    safety: bool = False,
) -> dict[str, object]:
    """Everything that has to be the same for all pictures and scores of one run; no model is loaded.

    dataset: folder with photos and annotations.json, relative to the repository or absolute.
    steps: denoising steps; None for the model set's own number. safety: whether the checkpoints' safety
    checker withholds pictures.
    Raises ParameterError naming each value that cannot be right.
    """
    check(models=models, dataset=at(dataset), scheduler=scheduler, fit=fit, beams=beams, safety=safety)
    if safety and models == "demo":
        raise ParameterError("safety = True: the demo models have no safety checker, only the published ones")
    chosen = model_set(models)
    steps = chosen.steps if steps is None else steps
    check(steps=steps, scheduler=scheduler)
    return {
        "dataset": str(dataset),
        "dataset_checksum": digest(at(dataset)),
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
