"""YOLO data sets: a photo's boxes in a text file of its name, classes named by data.yaml or a list."""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from helpers.scenes.formats import around, centred
from helpers.scenes.problems import DatasetError, read_lines

NAMES = ("classes.txt", "obj.names", "_darknet.labels")  # of classes, a line each, beside YOLO's files


def read(folder: Path, files: list[str], photos: list[str], split: str | None) -> tuple[str, list, list[str]]:
    """What names the classes, entries with boxes in fractions, and what to say of them. files: all below the
    folder; photos: those of them that are. Raises DatasetError naming files and lines that cannot be read."""
    file, settings = _settings(folder, files)
    entries, problems, alone = [], [], 0
    for image in _of_split(photos, settings, split):
        label = _label_file(folder, image)
        alone += label is None
        text = read_lines(folder, label) if label else []
        try:
            labels, boxes = parse(text, settings["names"], keypoints="kpt_shape" in settings)
            entries.append({"image": image, "labels": labels, "bboxes": boxes})
        except ValueError as error:
            problems.append(f"{label}, {error}")
    if problems:
        more = [f"{len(problems) - 3:,} more files like these"] if len(problems) > 3 else []
        raise DatasetError(folder, *problems[:3], *more)
    if not entries:
        raise DatasetError(folder, f"{file}: YOLO without a photo beside it")
    notes = [f"photos without a label file, taken for photos without boxes: {alone:,}"] if alone else []
    return file, entries, notes


def _settings(folder: Path, files: list[str]) -> tuple[str, dict]:
    for name in [path for path in files if "/" not in path and path.endswith((".yaml", ".yml"))]:
        text = "\n".join(read_lines(folder, name))
        try:
            settings = yaml.safe_load(text)
            names = settings.get("names") if isinstance(settings, dict) else None
            if isinstance(names, list | dict):
                numbered = enumerate(names) if isinstance(names, list) else names.items()
                return name, settings | {"names": {int(number): label for number, label in numbered}}
        except yaml.YAMLError as error:
            raise DatasetError(folder, f"{name} is not YAML: {error}; mend it") from error
        except (TypeError, ValueError) as error:
            text = f"{name}: names {names!r:.60} are neither a list nor by number ({error}); mend them"
            raise DatasetError(folder, text) from error
    for name in [path for path in files if path.count("/") < 2 and os.path.basename(path) in NAMES]:
        labels = [line.strip() for line in read_lines(folder, name) if line.strip()]
        return name, {"names": dict(enumerate(labels))}
    text = f"YOLO labels without the names of classes; add data.yaml with names, or {NAMES[0]}, a line each"
    raise DatasetError(folder, text)


def _of_split(photos: list[str], settings: dict, split: str | None) -> list[str]:
    """The photos of a split, where data.yaml says, else by the folder's name; None for all."""
    if split is None:
        return photos
    places = settings.get(split, [])
    places = places if isinstance(places, list) else [places]
    places = [os.path.basename(place) if os.path.isabs(place) else place for place in places]
    places = [os.path.normpath(place).strip("./") for place in places]
    return [path for path in photos if split in path.split("/") or any(place in path for place in places)]


def _label_file(folder: Path, image: str) -> str | None:
    """The label file of a photo: in labels/ where the photo is in images/, or beside it."""
    stem = os.path.splitext(image)[0]
    places = re.sub(r"^((?:.*/)?)images/", r"\1labels/", stem), stem
    return next((f"{place}.txt" for place in places if (folder / f"{place}.txt").is_file()), None)


def parse(
    lines: Sequence[str], names: Mapping[int, str], keypoints: bool = False
) -> tuple[list[str], list[list[float]]]:
    """Labels and boxes of one YOLO file, as fractions (x_min, y_min, x_max, y_max); outlines become boxes.

    keypoints: the numbers after a box are points. Raises ValueError naming the line that cannot be read.
    """
    labels, boxes = [], []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            which, *numbers = (float(part) for part in line.split())
            if int(which) not in names:
                raise ValueError(f"class {int(which)} has no name; the names are {dict(names)!r:.200}")
            if len(numbers) < 4 or (len(numbers) > 5 and len(numbers) % 2 and not keypoints):
                raise ValueError("neither class, x, y, width, height nor class and the points of an outline")
        except ValueError as error:
            raise ValueError(f"line {number}, {line.strip()!r:.80}: {error}") from error
        outline = len(numbers) > 5 and not keypoints
        boxes.append(around(numbers) if outline else centred(*numbers[:4]))
        labels.append(names[int(which)])
    return labels, boxes
