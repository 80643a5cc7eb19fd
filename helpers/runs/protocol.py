"""The protocol of a run: data, models and settings that all of its pictures share; and its machine."""

import hashlib
import importlib.metadata
import os
import platform
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from helpers.models.detectors import classes_of, detector_checkpoint, match_labels, parse_labels
from helpers.models.sets import Checkpoint, ModelSet, extractor_versions, model_set, with_own
from helpers.parameters import ParameterError
from helpers.runs.arms import check
from helpers.runs.methods import own_checkpoints
from helpers.scenes.scenes import Scene, Scenes, checksum, read_scenes

ROOT = Path(__file__).resolve().parents[2]
FEWEST = 3  # photos: leaving one out has to leave two
LITTER = ("Thumbs.db", "desktop.ini", "ehthumbs.db")
NO_PHOTOS = "none: prompts and boxes alone"  # what a protocol says of its photos
PACKAGES = ("torch", "diffusers", "transformers", "numpy", "pillow", "scipy", "papermill")


def at(path: str | Path) -> Path:
    """The path itself, or, where it is relative, that path seen from the repository's root."""
    return ROOT / path


def spelling(path: str | Path) -> str:
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


def scenes_of(protocol: Mapping, wait: bool = True) -> Scenes:
    """The scenes that a protocol is about: of its `dataset`, and of that its `selection`, if it has one.
    wait: as for `read_scenes`."""
    return read_scenes(at(protocol["dataset"]), **protocol.get("selection", {}), wait=wait)


def protocol(
    dataset: str,
    models: str,
    steps: int | None = None,
    scheduler: str | None = None,
    fit: str = "squash",
    beams: int = 4,
    safety: bool = False,
    selection: Mapping[str, object] | None = None,
    crops: str = "squash",
    detector: str = "",
    detector_labels: str | Mapping[str, str | None] = "",
    wait: bool = True,
) -> dict[str, object]:
    """Everything that has to be the same for all pictures and scores of one run; no model is loaded.

    dataset: folder with photos and their annotations, relative to the repository or absolute.
    steps: denoising steps; scheduler; None for the model set's own. safety: whether the checkpoints' safety
    checker withholds pictures. selection: which scenes of the data set, keywords of `read_scenes`: `split`,
    `limit` and `seed`, `labels`, `skip_bad`. crops: how image grounding sees what is in a box, see
    `generation.requests.Request.crop_fit`. detector: a folder or a hub repository, instead of the model
    set's own; detector_labels: label -> what it is called there, as a mapping or as LABEL=CLASS ....
    wait: False does not wait for photos that were never decoded: `dataset_checksum` is "" until they are.
    Raises ParameterError naming each value that cannot be right, and DatasetError for what is wrong with the
    photos and their annotations.
    """
    settings = {"fit": fit, "beams": beams, "safety": safety, "crops": crops}
    check(dataset=at(dataset), models=models, **settings)
    if safety and models == "demo":
        raise ParameterError("safety = True: the demo models have no safety checker, only the published ones")
    if detector_labels and not detector:
        raise ParameterError(f"detector_labels = {detector_labels!r}: give the detector, too")
    steps = model_set(models).steps if steps is None else steps
    scheduler = model_set(models).scheduler if scheduler is None else scheduler
    check(steps=steps, scheduler=scheduler)
    about = {"dataset": spelling(dataset)} | ({"selection": dict(selection)} if selection else {})
    scenes = scenes_of(about, wait)
    _require_enough(scenes, dataset)
    finding = _own_detector(detector, detector_labels, scenes) if detector else {}
    about |= {"dataset_checksum": "" if scenes.unchecked else checksum(scenes), "models": models}
    about |= {} if scenes.photos else {"photos": NO_PHOTOS}
    chosen = models_of(about | finding)
    about |= {"checkpoints": {one.name: revision(one) for one in chosen.checkpoints(safety)}}
    about |= {"realism": extractor_versions(chosen.inception)} if scenes.photos else {}
    return about | {"size": chosen.size, "steps": steps, "scheduler": scheduler} | settings | finding


def _require_enough(scenes: Scenes, folder: str | Path) -> None:
    """Raises ParameterError where the scenes are too few to measure anything."""
    what = "photos" if scenes.photos else "prompts"
    if len(scenes) < FEWEST:
        raise ParameterError(
            f"dataset = {str(folder)!r}: too few {what}, {len(scenes)}; at least {FEWEST} are needed for any "
            "measure of certainty, and some 50 to tell two settings apart"
        )
    if not any(len(scene.boxes) for scene in scenes):
        raise ParameterError(
            f"dataset = {str(folder)!r}: no photo has a box ({len(scenes)} {what}); a study asks pictures to "
            "follow boxes: give labels and bboxes for some of them. Without boxes photos can be captioned "
            f"(helpers.captioning), no more{''.join(f'. {note}' for note in scenes.notes)}"
        )


def _own_detector(source: str, labels: str | Mapping[str, str | None], scenes: Scenes) -> dict[str, object]:
    """The part of the protocol that names a detector of the user's own and what it knows."""
    from helpers.models.checkpoints import locate  # here, for who reads a run needs no hub

    checkpoint = detector_checkpoint(str(at(source)) if at(source).is_dir() else source)
    folder, commit = locate(checkpoint)
    named = [label for scene in scenes for label in scene.labels]
    classes = classes_of(folder)
    matched = match_labels(named, classes, parse_labels(labels) if isinstance(labels, str) else labels)
    unknown = [label for label, name in matched.items() if name is None]
    if classes is not None and len(unknown) == len(matched):
        raise ParameterError(
            f"detector = {source!r}: it knows none of the labels {', '.join(map(repr, unknown))}; say which "
            f'of its classes they are: DETECTOR_LABELS="{unknown[0]}={classes[0] if classes else "CLASS"}"'
        )
    place = spelling(folder) if commit is None else f"{checkpoint.source}@{commit}"
    share = sum(label in unknown for label in named) / len(named)
    text = f"{', '.join(unknown)}: {share:.0%} of the boxes, labels that the detector does not know"
    return {"detector": place, "detector_labels": matched} | ({"not_judged": text} if unknown else {})


def models_of(protocol: Mapping, groundings: Iterable[str] = ()) -> ModelSet:
    """The models of a run: those of its model set, without what photos alone need where it has none, its own
    detector, if it has one, and the weights that these methods bring. Raises ParameterError as `with_own`."""
    models = model_set(protocol["models"])
    models = with_own(models, own_checkpoints(groundings, models))
    if not has_photos(protocol):
        models = replace(models, captioners={}, gligen={"text": models.gligen["text"]})
    if not (named := protocol.get("detector")):
        return models
    own = detector_checkpoint(str(at(named)) if at(named).is_dir() else named)
    return replace(models, detector=own, detector_labels=protocol["detector_labels"])


def has_photos(protocol: Mapping) -> bool:
    """Whether a run has photos, or prompts and boxes alone."""
    return protocol.get("photos") != NO_PHOTOS


def detector_name(protocol: Mapping) -> str:
    """What finds the boxes, as captions say it, and what it does not judge."""
    usual = "the demo detector" if protocol["models"] == "demo" else "OWLv2"
    own = protocol.get("detector", "").rstrip("/").split("/")[-1].partition("@")[0]
    unknown = f" (not judged: {protocol['not_judged']})" if "not_judged" in protocol else ""
    return f"the detector {own}{unknown}" if own else usual


def knows_photos(models: str, scenes: Sequence[Scene]) -> bool:
    """Whether a model set can know such photos: the published one does, the demo one knows the drawn world,
    whose annotations say of each photo that it is drawn."""
    return models != "demo" or all(scene.extra.get("drawn") for scene in scenes)


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
