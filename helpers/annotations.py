"""What can be wrong with an annotation file and its pictures: everything is found, then told in one error."""

import difflib
import hashlib
import json
import math
import os
import posixpath
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from helpers import boxes as rectangles
from helpers import images

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
    """The entries of a folder's annotations.json, unchecked. Raises DatasetError when it is not a filled list."""
    if not folder.is_dir():
        raise DatasetError(folder, ["there is no such folder; give the folder with the photos and " + FILE])
    try:
        entries = json.loads((folder / FILE).read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        count = sum(path.suffix.lower() in images.SUFFIXES for path in folder.rglob("*"))
        raise DatasetError(folder, [f"{FILE} is missing beside {count} pictures; write {LAYOUT}"]) from None
    except OSError as error:
        raise DatasetError(folder, [f"{FILE} cannot be read: {error}"]) from error
    except ValueError as error:
        raise DatasetError(folder, [f"{FILE} is not one JSON document in UTF-8 ({error}); write {LAYOUT}"]) from error
    if isinstance(entries, dict) and {"images", "annotations"} <= entries.keys():
        raise DatasetError(folder, [f"{FILE} looks like a COCO file; turn it into {LAYOUT}, "
                                    "with x_max = x + width and y_max = y + height"])
    if not isinstance(entries, list) or not entries:
        raise DatasetError(folder, [f"{FILE} holds {entries!r:.60}; write {LAYOUT} with at least one entry"])
    return entries


def check(folder: Path, entries: list) -> None:
    """Raise one DatasetError with every problem of the entries and of the pictures that they name."""
    found = [(index, message) for index, entry in enumerate(entries) for message in _check_entry(folder, entry)]
    found += _check_repeats(entries) + _check_pictures(folder, entries)
    if found:
        raise DatasetError(folder, [f"{FILE}, {_called(entries[index], index)}{'' if text.startswith(', ') else ': '}"
                                    f"{text}" for index, text in sorted(found, key=lambda pair: pair[0])])


def locate(folder: Path, image: str) -> Path:
    """Where a picture lies: in the folder, or in its images/, as data sets are often packed."""
    inside = folder / "images" / image
    return inside if not os.path.isfile(folder / image) and os.path.isfile(inside) else folder / image


def name_of(image: str) -> str:
    """A scene's name: the picture's path without suffix, folders joined by two underscores."""
    return posixpath.splitext(posixpath.normpath(image))[0].replace("/", "__")


def _called(entry: object, index: int) -> str:
    image = entry.get("image") if isinstance(entry, dict) else None
    return f"scene {image!r}" if isinstance(image, str) else f"entry {index}"


def _check_entry(folder: Path, entry: object) -> Iterator[str]:
    if not isinstance(entry, dict):
        yield f"{entry!r:.60} is not an object; write {LAYOUT}"
        return
    for key in REQUIRED:
        if key not in entry:
            near = difflib.get_close_matches(key, entry, n=1, cutoff=0.5)
            yield f"has no {key!r}" + (f"; is {near[0]!r} meant for it?" if near else "; add it")
    if "image" in entry:
        yield from _check_path(folder, entry["image"])
    sizes = [key for key in ("width", "height") if key in entry and not _is_size(entry[key])]
    for key in sizes:
        yield f"{key} {entry[key]!r} is not a whole number of pixels above 0; give the upright photo's size"
    yield from _check_texts(entry)
    boxes = entry.get("bboxes", [])
    if not isinstance(boxes, list):
        yield f"bboxes {boxes!r:.60} is not a list of [x_min, y_min, x_max, y_max]"
    elif not sizes and "width" in entry and "height" in entry:
        yield from _check_boxes(boxes, entry["width"], entry["height"])


def _is_size(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 1 and value % 1 == 0


def _check_path(folder: Path, image: object) -> Iterator[str]:
    if not isinstance(image, str) or not image.strip():
        yield f"image {image!r} is not the name of a file"
    elif _leaves(image):
        yield f"the path {image!r} leaves the folder; copy the picture into {folder}"
    elif not os.path.isfile(locate(folder, image)):
        names = {path.name for path in [*folder.iterdir(), *folder.glob("images/*")]}
        near = [name for name in names if name.lower() == image.lower()] or difflib.get_close_matches(image, names, 1)
        yield f"{folder / image} is missing, also under images/" + (f"; is it {near[0]!r}?" if near else "; add it")


def _leaves(image: str) -> bool:
    # a symbolic link may lead out, as in download caches: it was put there by whoever made the folder
    path = posixpath.normpath(image.replace("\\", "/"))
    return path.startswith(("../", "/")) or path == ".." or re.match("[A-Za-z]:/", path) is not None


def _check_texts(entry: dict) -> Iterator[str]:
    count = len(entry["bboxes"]) if isinstance(entry.get("bboxes"), list) else None
    for key in ("labels", "phrases"):
        texts = entry.get(key)
        if texts is None and (key == "phrases" or key not in entry):
            continue
        if not isinstance(texts, list):
            yield f"{key} {texts!r:.60} is not a list of texts"
            continue
        for index, text in enumerate(texts):
            if not isinstance(text, str) or not text.strip():
                yield f", box {index}: {key[:-1]} {text!r:.60} is not a text; say what stands in the box"
        if count is not None and len(texts) != count:
            yield f"{len(texts)} {key} for {count} bboxes; give every box one"
    for key, text in entry.items():
        if (key in ("caption", "generated_text") or key.startswith("prompt_w_")) and not isinstance(text, str | None):
            yield f"{key} {text!r:.60} is not a text"


def _check_boxes(boxes: list, width: float, height: float) -> Iterator[str]:
    """Problems of one scene's boxes; those that another format explains share one line."""
    wrong = {index: problem for index, box in enumerate(boxes) if (problem := _check_box(box, width, height))}
    sound = np.array([box for box in boxes if _is_box(box)], dtype=np.float64).reshape(-1, 4)
    other = rectangles.guess_format(sound, width, height)
    explained = [index for index, box in enumerate(boxes) if _is_box(box) and (index in wrong or other)]
    if other:
        numbers = [index for index in explained if index in wrong] or explained
        first = wrong.get(numbers[0], f"{boxes[numbers[0]]} does not fit the {width:g} x {height:g} picture")
        yield f", box {', '.join(map(str, numbers))}: {first}; the scene's {len(sound)} boxes look like {other}"
        wrong = {index: problem for index, problem in wrong.items() if index not in explained}
    for index, problem in wrong.items():
        yield f", box {index}: {problem}; boxes are [x_min, y_min, x_max, y_max] in pixels"


def _is_box(box: object) -> bool:
    return isinstance(box, list) and len(box) == 4 and all(
        isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) for value in box)


def _check_box(box: object, width: float, height: float) -> str | None:
    if not isinstance(box, list) or len(box) != 4:
        return f"{box!r:.80} is not a list of four numbers"
    if not _is_box(box):
        return f"{box} holds something else than finite numbers"
    for axis, low, high, side in (("x", box[0], box[2], "right of"), ("y", box[1], box[3], "below")):
        if low > high:
            return f"{axis}_min {low:g} is {side} {axis}_max {high:g} in {box}"
        if low == high:
            return f"{axis}_min and {axis}_max are both {low:g} in {box}, so the box is empty"
    inside = rectangles.area(rectangles.to_fractions(box, width, height))[0] * width * height
    share = inside / ((box[2] - box[0]) * (box[3] - box[1]))
    if share < 0.5:
        where = "wholly" if inside == 0 else "mostly"
        return f"{box} lies {where} outside the {width:g} x {height:g} picture ({share:.0%} inside)"
    return None


def _check_repeats(entries: list) -> list[tuple[int, str]]:
    found, first = [], {}
    for index, entry in enumerate(entries):
        image = entry.get("image") if isinstance(entry, dict) else None
        if not isinstance(image, str):
            continue
        name = name_of(image).casefold()  # file systems that ignore case would mix up the results
        if name in first:
            other = entries[first[name]]["image"]
            same = posixpath.normpath(other) == posixpath.normpath(image)
            found.append((index, f"is listed twice, as entries {first[name]} and {index}; join them" if same else
                          f"its results would overwrite those of {other!r}; rename one of the two"))
        first.setdefault(name, index)
    return found


def _check_pictures(folder: Path, entries: list) -> list[tuple[int, str]]:
    """Decode every picture; compare sizes with the annotations and contents with each other."""
    paths = {index: locate(folder, entry["image"]) for index, entry in enumerate(entries)
             if isinstance(entry, dict) and isinstance(entry.get("image"), str)
             and not _leaves(entry["image"]) and os.path.isfile(locate(folder, entry["image"]))}
    with ThreadPoolExecutor(max_workers=4) as pool:
        results = dict(zip(paths, pool.map(_inspect, paths.values()), strict=True))
    found, owners = [], {}
    for index, (size, digest, problem) in results.items():
        owner = owners.setdefault(digest, index)
        if problem:
            found.append((index, problem))
        elif paths[owner] != paths[index]:
            found.append((index, f"is the same picture as {entries[owner]['image']!r}, byte for byte; keep one"))
        elif all(_is_size(entries[index].get(key)) for key in ("width", "height")):
            found += [(index, text) for text in _check_size(size, entries[index]["width"], entries[index]["height"])]
    return found


def _inspect(path: Path) -> tuple[tuple[int, int], str, str]:
    try:
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return images.load(path).size, digest, ""
    except (OSError, ValueError) as error:
        return (0, 0), str(path), str(error)


def _check_size(size: tuple[int, int], width: float, height: float) -> Iterator[str]:
    if _same_shape(size, (width, height)):
        return
    told = (f"the picture is {size[0]} x {size[1]} when upright (EXIF orientation applied), but width and height say "
            f"{width:g} x {height:g}")
    if _same_shape(size, (height, width)):
        yield f"{told}, which is the picture on its side; width, height and bboxes must be those of the upright picture"
    else:
        yield (f"{told}, another shape; set them to the picture's and multiply the boxes' x by "
               f"{size[0] / width:g} and y by {size[1] / height:g} if it was squashed")


def _same_shape(size: tuple[int, int], other: tuple[float, float]) -> bool:
    """Whether one is the other resized, give or take the rounding of a side to whole pixels."""
    scale = size[0] / other[0]
    return abs(other[1] * scale - size[1]) <= (max(scale, 1) if scale != 1 else 0)
