"""What can be wrong with an annotation file and its pictures: everything is found, then told in one error."""

import difflib
import hashlib
import json
import os
import posixpath
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from helpers.scenes import formats, images

FILE = "annotations.json"
REQUIRED = ("image", "width", "height", "labels", "bboxes")
LAYOUT = "a list of {image, width, height, labels, bboxes}"


class DatasetError(ValueError):
    """A data set that cannot be used. problems: one line for each thing found."""

    def __init__(self, folder: Path, problems: list[str]):
        self.problems = problems
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        super().__init__("\n- ".join([f"{count} in the data set {folder}:", *problems]))


def read(folder: Path) -> list:
    """The entries of a folder's annotations.json, unchecked. DatasetError unless it is a filled list."""
    try:
        entries = json.loads((folder / FILE).read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        count = sum(path.suffix.lower() in images.SUFFIXES for path in folder.rglob("*"))
        told = (
            f"{FILE} is missing beside {count} pictures; write {LAYOUT}"
            if folder.is_dir()
            else f"there is no such folder; give one with photos and {FILE}"
        )
        raise DatasetError(folder, [told]) from None
    except OSError as error:
        raise DatasetError(folder, [f"{FILE} cannot be read: {error}"]) from error
    except ValueError as error:
        told = f"{FILE} is not one JSON document in UTF-8 ({error}); write {LAYOUT}"
        raise DatasetError(folder, [told]) from error
    if isinstance(entries, dict) and {"images", "annotations"} <= entries.keys():
        told = f"{FILE} looks like a COCO file; write {LAYOUT}, x_max = x + width and y_max = y + height"
        raise DatasetError(folder, [told])
    if not isinstance(entries, list) or not entries:
        raise DatasetError(folder, [f"{FILE} holds {entries!r:.60}; write {LAYOUT} with at least one entry"])
    return entries


def check(folder: Path, entries: list) -> None:
    """Raise one DatasetError with every problem of the entries and of the pictures that they name."""
    sound = {index: entry for index, entry in enumerate(entries) if isinstance(entry, dict)}
    found = [
        (index, f"{entry!r:.60} is not an object; write {LAYOUT}")
        for index, entry in enumerate(entries)
        if index not in sound
    ]
    found += [(index, problem) for index, entry in sound.items() for problem in _check_entry(entry)]
    found += _check_pictures(folder, sound)
    lines = []
    for index, problem in sorted(found, key=lambda pair: pair[0]):
        image = sound.get(index, {}).get("image")
        scene = f"scene {image!r}" if isinstance(image, str) else f"entry {index}"
        lines.append(f"{FILE}, {scene}{', ' if problem.startswith('box ') else ': '}{problem}")
    if lines:
        raise DatasetError(folder, lines)


def locate(folder: Path, image: str) -> Path:
    """Where a picture lies: in the folder, or in its images/, as data sets are often packed."""
    places = (folder / image, folder / "images" / image)
    return next((path for path in places if os.path.isfile(path)), places[0])


def name_of(image: str) -> str:
    """A scene's name: the picture's path without suffix, folders joined by two underscores."""
    return posixpath.splitext(posixpath.normpath(image))[0].replace("/", "__")


def _check_entry(entry: dict) -> Iterator[str]:
    for key in (key for key in REQUIRED if key not in entry):
        near = difflib.get_close_matches(key, entry, n=1, cutoff=0.5)
        yield f"has no {key!r}" + (f"; is {near[0]!r} meant for it?" if near else "; add it")
    for key in ("width", "height"):
        if key in entry and not _is_size(entry[key]):
            yield f"{key} {entry[key]!r:.60} is no whole number of pixels above 0; give the upright photo's"
    boxes = entry.get("bboxes")
    if not isinstance(boxes, list):
        if "bboxes" in entry:
            yield f"bboxes {boxes!r:.60} is not a list; {formats.OURS}"
    elif _is_size(entry.get("width")) and _is_size(entry.get("height")):
        yield from formats.problems(boxes, entry["width"], entry["height"])
    for key in ("labels", "phrases"):
        if key in entry and not (key == "phrases" and entry[key] is None):
            yield from _check_texts(key, entry[key], boxes)
    for key, text in entry.items():
        is_text = key in ("caption", "generated_text") or key.startswith("prompt_w_")
        if is_text and not isinstance(text, str | None):
            yield f"{key} {text!r:.60} is not a text"


def _check_texts(key: str, texts: object, boxes: object) -> Iterator[str]:
    if not isinstance(texts, list):
        yield f"{key} {texts!r:.60} is not a list of texts"
        return
    for index, text in enumerate(texts):
        if not isinstance(text, str) or not text.strip():
            yield f"box {index}: {key[:-1]} {text!r:.60} is not a text; say what stands in the box"
    if isinstance(boxes, list) and len(texts) != len(boxes):
        yield f"{len(texts)} {key} for {len(boxes)} bboxes; give every box one"


def _check_pictures(folder: Path, entries: dict[int, dict]) -> Iterator[tuple[int, str]]:
    """Decode every picture; compare sizes with the annotations, names and contents with each other."""
    there = {path.stem.lower(): path.name for path in [*folder.iterdir(), *folder.glob("images/*")]}
    with ThreadPoolExecutor(max_workers=4) as pool:
        looked = list(pool.map(partial(_look, folder, there), entries.values()))
    taken = {}
    for index, (alike, problem) in zip(entries, looked, strict=True):
        if problem:
            yield index, problem
        for key, told in alike.items():
            other = taken.setdefault(key, index)
            if other != index:
                yield index, f"{told} entry {other}, {entries[other]['image']!r}; keep one"
                break


def _look(folder: Path, there: dict[str, str], entry: dict) -> tuple[dict[str, str], str | None]:
    """What no other entry may share, each with what to say when one does; and the problem of the picture."""
    image = entry.get("image")
    if not isinstance(image, str) or not image.strip():
        return {}, f"image {image!r:.60} is not the name of a file" if "image" in entry else None
    # a symbolic link may lead out, as in download caches: whoever made the folder put it there
    path = posixpath.normpath(image.replace("\\", "/"))
    if path.startswith(("../", "/")) or path == ".." or re.match("[A-Za-z]:/", path):
        return {}, f"the path leaves the folder; copy the picture into {folder}"
    try:
        size = images.load(locate(folder, image)).size
        with open(locate(folder, image), "rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
    except ValueError as error:
        near = None if os.path.isfile(locate(folder, image)) else there.get(Path(image).stem.lower())
        return {}, f"{error}; is it {near!r}?" if near else str(error)
    # file systems that ignore case would mix up results with one name
    alike = {
        posixpath.normpath(image): "is listed twice, here and in",
        content: "is byte for byte the picture of",
    }
    alike["name " + name_of(image).casefold()] = "has, without suffix and case, the name of"
    return alike, _check_size(size, entry.get("width"), entry.get("height"))


def _check_size(size: tuple[int, int], width: object, height: object) -> str | None:
    if not _is_size(width) or not _is_size(height) or _is_resized(size, (width, height)):
        return None
    told = (
        f"width and height say {width:g} x {height:g}, but the picture is {size[0]} x {size[1]} when upright "
        "(EXIF orientation applied)"
    )
    if _is_resized(size, (height, width)):
        return f"{told}: it lies on its side; give width, height and bboxes of the upright picture"
    return (
        f"{told}: another shape; give its own, and x times {size[0] / width:g}, y times {size[1] / height:g}"
    )


def _is_resized(size: tuple[int, int], other: tuple[float, float]) -> bool:
    """Whether one has the shape of the other, give or take a pixel."""
    return abs(size[0] * other[1] - size[1] * other[0]) <= max(*size, *other)


def _is_size(value: object) -> bool:
    return formats.is_number(value) and value >= 1 and value % 1 == 0
