"""A detector of the user's own: where it lies, the classes that it knows, and which labels they are."""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from helpers.models.sets import Checkpoint
from helpers.parameters import ParameterError, nearest

HUB = re.compile(r"([\w.-]+/[\w.-]+)(?:@(\w+))?")  # owner/name, perhaps with a commit
OPEN = "owlv2"  # the kind of detector that is asked in words


def detector_checkpoint(source: str) -> Checkpoint:
    """A local folder, or a hub repository as owner/name or owner/name@commit. Raises ParameterError for
    neither."""
    if Path(source).is_dir():
        return Checkpoint(f"detector {Path(source).name}", source)
    if (named := HUB.fullmatch(source)) is None:
        raise ParameterError(
            f"detector = {source!r}: no such folder, and not the name of a hub repository (owner/name)"
        )
    return Checkpoint(f"detector {named[1]}", named[1], named[2] or "main", safetensors=None)


def classes_of(folder: Path) -> tuple[str, ...] | None:
    """The classes of the object detector in that folder, in its order; None for one that is asked in words.

    Raises ParameterError where the checkpoint is no detector that can be asked.
    """
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_OBJECT_DETECTION_MAPPING_NAMES as OBJECT_DETECTORS,  # here, for it takes a second
    )

    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if (kind := config.get("model_type")) == OPEN:
        return None
    if kind not in OBJECT_DETECTORS:
        raise ParameterError(
            f"detector = {str(folder)!r}: model_type {kind!r} is no object detector of transformers; give "
            "one that AutoModelForObjectDetection loads (RT-DETR, D-FINE, YOLOS, DETR ...), or OWLv2"
        )
    names = {int(index): name for index, name in (config.get("id2label") or {}).items()}
    return tuple(names[index] for index in sorted(names))


def parse_labels(text: str) -> dict[str, str]:
    """Label -> class of each LABEL=CLASS, as "worker=person helmet=hard hat" says it.

    Raises ParameterError for what is written otherwise.
    """
    pairs = [one.partition("=") for one in re.split(r"\s+(?=[^\s=]+=)", text.strip()) if one]
    found = {label.strip(): name.strip() for label, _, name in pairs}
    if not all(found.keys()) or not all(found.values()):
        raise ParameterError(
            f'detector_labels = {text!r}: give LABEL=CLASS for each, as in "worker=person helmet=hard hat"'
        )
    return found


def match_labels(
    labels: Iterable[str], classes: Iterable[str] | None, given: Mapping[str, str | None]
) -> dict[str, str | None]:
    """Label of the data set -> class of the detector, None where it has none; case, blanks, `_` and `-` do
    not matter. classes: None for a detector that is asked in words: then only what `given` says otherwise.

    Raises ParameterError for a label or a class in `given` that does not exist.
    """
    labels = sorted(set(labels))
    own = {_plain(label): label for label in labels}
    if strange := [label for label in given if _plain(label) not in own]:
        raise ParameterError(
            f"detector_labels = {strange[0]!r}: no box has this label; {nearest(strange[0], labels)}"
        )
    said = {_plain(label): name for label, name in given.items() if name is not None}
    if classes is None:
        return {label: said[_plain(label)] for label in labels if _plain(label) in said}
    known = {_plain(name): name for name in classes}
    if strange := [name for name in said.values() if _plain(name) not in known]:
        choice = nearest(strange[0], known.values())
        raise ParameterError(f"detector_labels = {strange[0]!r}: the detector has no such class; {choice}")
    return {label: known.get(_plain(said.get(_plain(label), label))) for label in labels}


def _plain(label: str) -> str:
    return re.sub(r"[\s_-]+", "", label).casefold() or label
