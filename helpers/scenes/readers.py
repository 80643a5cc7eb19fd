"""What a data set's folder holds: annotations, recognised by their content, as the study's entries."""

import csv
import json
import os
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from helpers.scenes import formats, images, yolo
from helpers.scenes.photos import below
from helpers.scenes.problems import DatasetError, read_lines

FILE = "annotations.json"
LAYOUT = "a list of {image, width, height, labels, bboxes}"
KNOWN = "COCO, YOLO, Pascal VOC, LabelMe, CreateML, Label Studio, VIA, JSON lines or CSV"
UNBOXED = f"they can be captioned and drawn without grounding; for a study, write {LAYOUT}"
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
        file, entries, notes = yolo.read(folder, files, [*filter(_is_photo, files)], split)
        return Source(file, entries, f"{file}: YOLO", fractions=True, notes=notes)
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


def _rows(folder: Path, name: str) -> list[dict]:
    rows = []
    for number, line in enumerate(read_lines(folder, name), start=1):
        try:
            rows += [json.loads(line)] if line.strip() else []
        except ValueError as error:
            text = f"{name}, line {number}, {line!r:.60}: not one JSON value ({error}); mend the line"
            raise DatasetError(folder, text) from error
    return rows


def _columns(folder: Path, name: str) -> list[dict]:
    """The rows of a CSV with boxes, and prompts or photos; none of any other."""
    table = csv.DictReader(line + "\n" for line in read_lines(folder, name))
    names = {*(table.fieldnames or ())}
    is_list = not names.isdisjoint(formats.TEXTS[1:]) and not names.isdisjoint(("bboxes", "bbox1"))
    return [*map(formats.columns, table)] if is_list else []


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


def _is_photo(path: str) -> bool:
    return os.path.splitext(path)[1].lower() in images.SUFFIXES


def _voc(folder: Path, files: list[str], names: list[str], split: str | None) -> list[str]:
    """Pascal VOC's files; of a split those that ImageSets/Main/SPLIT.txt names, where it is there."""
    lists = [name for name in names if split and name.endswith(f"ImageSets/Main/{split}.txt")]
    if not lists:
        return [name for name in names if name.endswith(".xml")]
    stems = {line.split()[0] for name in lists for line in read_lines(folder, name) if line.split()}
    return [name for name in files if name.endswith(".xml") and Path(name).stem in stems]
