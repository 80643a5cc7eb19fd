"""What a data set's folder holds: annotations, recognised by their content, as the study's entries."""

import csv
import json
import os
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from helpers.scenes import formats, images
from helpers.scenes.photos import below
from helpers.scenes.problems import DatasetError

FILE = "annotations.json"
LAYOUT = "a list of {image, width, height, labels, bboxes}"
KNOWN = "COCO, YOLO, Pascal VOC, LabelMe, CreateML, Label Studio, VIA, JSON lines or CSV"
UNBOXED = f"they can be captioned and drawn without grounding; for a study, write {LAYOUT}"
NAMES = ("classes.txt", "obj.names", "_darknet.labels")  # of classes, a line each, beside YOLO's files
BROKEN = (KeyError, TypeError, AttributeError, IndexError, ValueError, StopIteration, SyntaxError)


@dataclass
class Source:
    """The entries of a data set as they were read.

    file: what messages call their origin. format: one line that says what was recognised. own: whether they
    are the study's own. fractions: whether boxes are fractions of the photo. photos: whether there are any.
    notes: what was left out.
    """

    file: str
    entries: list
    format: str
    own: bool = False
    fractions: bool = False
    photos: bool = True
    notes: list[str] = field(default_factory=list)


def read(folder: Path, split: str | None = None) -> Source:
    """The annotations of a folder: its annotations.json, or else files of other tools in it.

    split: the part of a data set that has parts, as its files or folders are called, such as "train".
    Raises DatasetError naming what cannot be read, or where nothing is.
    """
    if not folder.is_dir():
        raise DatasetError(folder, f"there is no such folder; give one with photos and {FILE}")
    if (folder / FILE).is_file():
        if split:
            raise DatasetError(
                folder, f"split {split!r}: {FILE} is one list without parts; leave the split out"
            )
        return _from_json(folder, {FILE: _document(folder, FILE)})
    files = below(folder)
    names = [path for path in files if path.count("/") <= 2 and (split is None or split in path)]
    if "data.yaml" in files or any(re.search(r"(^|/)labels/.*\.txt$", path) for path in names):
        return _from_yolo(folder, files, split)
    if xml := _voc(folder, files, names, split):
        return _from(folder, "Pascal VOC", formats.voc, {name: (folder / name).read_bytes() for name in xml})
    for suffix, tool, load in ((".jsonl", "JSON lines", _rows), (".csv", "CSV", _columns)):
        documents = {name: load(folder, name) for name in names if name.endswith(suffix)}
        if documents := {name: rows for name, rows in documents.items() if rows}:
            return _from_rows(folder, tool, documents)
    documents = {name: _document(folder, name) for name in names if name.endswith(".json")}
    if documents := {name: value for name, value in documents.items() if formats.kind(value)}:
        return _from_json(folder, documents)
    entries = [{"image": path, "labels": [], "bboxes": []} for path in files if _is_photo(path)]
    wanted = f"split {split!r} of annotations" if split else "no annotations"
    text = (
        f"{FILE} is missing beside {f'{len(entries):,}' if entries else 'no'} photos, and {wanted} of {KNOWN}"
    )
    if split or not entries:
        raise DatasetError(folder, f"{text}; write {LAYOUT}")
    return Source(folder.name, entries, "photos without annotations", notes=[f"{text}; {UNBOXED}"])


def _document(folder: Path, name: str) -> object:
    try:
        return json.loads((folder / name).read_bytes())  # UTF-8 with or without its mark, UTF-16, UTF-32
    except OSError as error:
        raise DatasetError(folder, f"{name} cannot be read: {error}") from error
    except ValueError as error:
        text = f"{name} is not one JSON document in UTF-8 ({error}); write {LAYOUT}"
        raise DatasetError(folder, text) from error


def _lines(folder: Path, name: str) -> list[str]:
    try:  # by "\n" alone: texts may hold what else ends a line in Unicode
        return (folder / name).read_text(encoding="utf-8-sig").split("\n")
    except (OSError, ValueError) as error:
        raise DatasetError(folder, f"{name} cannot be read as UTF-8: {error}; save it so") from error


def _rows(folder: Path, name: str) -> list[dict]:
    rows = []
    for number, line in enumerate(_lines(folder, name), start=1):
        try:
            rows += [json.loads(line)] if line.strip() else []
        except ValueError as error:
            text = f"{name}, line {number}, {line!r:.60}: not one JSON value ({error}); mend the line"
            raise DatasetError(folder, text) from error
    return rows


def _columns(folder: Path, name: str) -> list[dict]:
    """The rows of a CSV with boxes, and prompts or photos; none of any other."""
    table = csv.DictReader(line + "\n" for line in _lines(folder, name))
    return [*map(formats.columns, table)] if formats.has_boxes(table.fieldnames or ()) else []


def _from_rows(folder: Path, tool: str, documents: Mapping[str, list]) -> Source:
    rows = [row for rows in documents.values() for row in rows if isinstance(row, dict)]
    named = [row for row in rows if not row.keys().isdisjoint(formats.PHOTO_KEYS)]
    if named and len(named) < len(rows) and all("prompt" in row for row in rows):
        file = next(iter(documents))
        text = f"{file}: {len(named):,} of {len(rows):,} rows name a photo; give all of them one, or none"
        raise DatasetError(folder, text)
    photos = bool(named) or not rows
    source = _from(
        folder, tool if photos else f"{tool}, prompts and boxes without photos", formats.rows, documents
    )
    source.fractions, source.photos = any("locations" in row for row in rows), photos
    return source


def _from_json(folder: Path, documents: Mapping[str, object]) -> Source:
    (name, value), *_ = documents.items()
    tool = formats.kind(value)
    if tool is None:
        if not isinstance(value, list) or not value:
            text = f"{name} holds {value!r:.60}; write {LAYOUT} with at least one entry, or give {KNOWN}"
            raise DatasetError(folder, text)
        return Source(name, value, f"{name}: the study's own list", own=True)
    if tool == "COCO results":
        text = f"{name} holds COCO results, a detector's boxes without photos and classes; give {LAYOUT}"
        raise DatasetError(folder, f"{text}, or the COCO file that they were found with")
    same = {name: value for name, value in documents.items() if formats.kind(value) == tool}
    return _from(folder, tool, formats.READERS[tool], same)


def _from(folder: Path, tool: str, reader: formats.Reader, documents: Mapping[str, object]) -> Source:
    first, left_out = next(iter(documents)), Counter()
    file = first if len(documents) == 1 else f"{len(documents):,} files such as {first}"
    try:
        if tool == "COCO":
            documents = {name: _beside(folder, name, document) for name, document in documents.items()}
        entries = list(reader(documents, left_out))
    except BROKEN as error:
        why = f"{error} is missing somewhere" if isinstance(error, KeyError) else str(error)
        text = f"{file}: looks like {tool}, but cannot be followed: {why}"
        raise DatasetError(folder, f"{text}; mend it, or write {LAYOUT} into {FILE}") from error
    if not entries:
        raise DatasetError(folder, f"{file}: {tool} without a photo; give one that lists photos and boxes")
    notes = [f"{what}: {count:,}" for what, count in left_out.items() if count]
    return Source(file, entries, f"{file}: {tool}", notes=notes)


def _beside(folder: Path, name: str, document: dict) -> dict:
    """A COCO document whose photos are named from the data set's folder, where they lie beside the file."""
    place = f"{os.path.dirname(name)}/".lstrip("/")
    there = {p["file_name"] for p in document["images"] if os.path.isfile(folder / (place + p["file_name"]))}
    return document | {
        "images": [
            photo | {"file_name": place + photo["file_name"]} if photo["file_name"] in there else photo
            for photo in document["images"]
        ]
    }


def _from_yolo(folder: Path, files: list[str], split: str | None) -> Source:
    file, settings = _yolo_settings(folder, files)
    entries, problems, alone = [], [], 0
    for image in _yolo_photos(files, settings, split):
        label = _yolo_label(folder, image)
        alone += label is None
        text = _lines(folder, label) if label else []
        try:
            labels, boxes = formats.yolo(text, settings["names"], keypoints="kpt_shape" in settings)
            entries.append({"image": image, "labels": labels, "bboxes": boxes})
        except ValueError as error:
            problems.append(f"{label}, {error}")
    if problems:
        more = [f"{len(problems) - 3:,} more files like these"] if len(problems) > 3 else []
        raise DatasetError(folder, *problems[:3], *more)
    if not entries:
        raise DatasetError(folder, f"{file}: YOLO without a photo beside it")
    notes = [f"photos without a label file, taken for photos without boxes: {alone:,}"] if alone else []
    return Source(file, entries, f"{file}: YOLO", fractions=True, notes=notes)


def _yolo_settings(folder: Path, files: list[str]) -> tuple[str, dict]:
    for name in [path for path in files if "/" not in path and path.endswith((".yaml", ".yml"))]:
        text = "\n".join(_lines(folder, name))
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
        return name, {"names": dict(enumerate(line.strip() for line in _lines(folder, name) if line.strip()))}
    text = f"YOLO labels without the names of classes; add data.yaml with names, or {NAMES[0]}, a line each"
    raise DatasetError(folder, text)


def _yolo_photos(files: list[str], settings: dict, split: str | None) -> list[str]:
    """Photos of a YOLO data set, or of its split: where data.yaml says, else by the folder's name."""
    places = settings.get(split or "", [])
    places = places if isinstance(places, list) else [places]
    places = [os.path.basename(place) if os.path.isabs(place) else place for place in places]
    places = [os.path.normpath(place).strip("./") for place in places]
    photos = filter(_is_photo, files)
    if split is None:
        return [*photos]
    return [path for path in photos if split in path.split("/") or any(place in path for place in places)]


def _yolo_label(folder: Path, image: str) -> str | None:
    """The label file of a photo: in labels/ where the photo is in images/, or beside it."""
    stem = os.path.splitext(image)[0]
    places = re.sub(r"^((?:.*/)?)images/", r"\1labels/", stem), stem
    return next((f"{place}.txt" for place in places if (folder / f"{place}.txt").is_file()), None)


def _is_photo(path: str) -> bool:
    return os.path.splitext(path)[1].lower() in images.SUFFIXES


def _voc(folder: Path, files: list[str], names: list[str], split: str | None) -> list[str]:
    """Pascal VOC's files; of a split those that ImageSets/Main/SPLIT.txt names, where it is there."""
    lists = [name for name in names if split and name.endswith(f"ImageSets/Main/{split}.txt")]
    if not lists:
        return [name for name in names if name.endswith(".xml")]
    stems = {line.split()[0] for name in lists for line in _lines(folder, name) if line.split()}
    return [name for name in files if name.endswith(".xml") and Path(name).stem in stems]
