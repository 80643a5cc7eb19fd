"""Entries of a data set, put in order: one per photo, one spelling per label, each box once."""

import gc
import posixpath
import random
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from itertools import chain
from pathlib import Path

import numpy as np

from helpers.scenes.checks import PROMPT, TEXTS, is_box
from helpers.scenes.photos import Folder, Photo, normal
from helpers.scenes.problems import Problem, examples

NUMBERS = "box numbers"  # before any is left out, by which what is said of a box elsewhere finds it again
LISTS = ("labels", "bboxes", "phrases", NUMBERS)  # what an entry has one of per box
LONGEST = 251  # bytes of a scene's name: file systems take 255, and its pictures are called NAME.png
CLASHES = (  # of an entry with an earlier one: in path, in content, in the scene's name
    "is listed twice with other sizes or texts, here and as {}; join their boxes in one",
    "is byte for byte the picture of {}; keep one of the two, with all boxes",
    "has, without suffix and case, the name of {}; rename it",
)
NEAR = 0.5  # pixels: boxes with one label whose sides differ by less are one box


@contextmanager
def rare_collection() -> Iterator[None]:
    """Garbage is collected a hundred times less often: 100,000 entries, which are none, are else gone through
    again and again, for a third of the time."""
    before = gc.get_threshold()
    gc.set_threshold(100 * before[0], *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


def join(entries: Sequence) -> tuple[list, str | None]:
    """Entries with those of one photo joined, as lists with an entry per box need it; and what to say of it.

    Entries of one photo that contradict each other in size or texts, or have no lists, stay as they are.
    """
    groups: dict[object, list[int]] = {}
    for index, entry in enumerate(entries):
        image = entry.get("image") if isinstance(entry, dict) else None
        key = normal(image) if isinstance(image, str) and image.strip() else index
        groups.setdefault(key, []).append(index)
    joined, photos = dict(enumerate(entries)), 0
    for indices in (indices for indices in groups.values() if len(indices) > 1):
        group = [entries[index] for index in indices]
        if _agree(group):
            photos += 1
            lists = {key: [one for entry in group for one in entry[key]] for key in ("labels", "bboxes")}
            if any(entry.get("phrases") for entry in group):
                lists["phrases"] = [p for entry in group for p in entry.get("phrases") or entry["labels"]]
            joined[indices[0]] = {key: value for one in reversed(group) for key, value in one.items()} | lists
            for index in indices[1:]:
                del joined[index]
    note = f"photos that stand in several entries, whose boxes were joined: {photos:,}" if photos else None
    return list(joined.values()), note


def _agree(group: Sequence[dict]) -> bool:
    for entry in group:
        lists = [entry[key] for key in LISTS if entry.get(key) is not None]
        if len(lists) < 2 or not all(isinstance(one, list) and len(one) == len(lists[0]) for one in lists):
            return False
    keys = [key for key in set(chain(*group)) if key in ("width", "height", *TEXTS) or key.startswith(PROMPT)]
    return all(len({repr(e[key]) for e in group if e.get(key) is not None}) <= 1 for key in keys)


@lru_cache(maxsize=2**18)
def name_of(image: str) -> str:
    """A scene's name: the picture's path without suffix, folders joined by two underscores."""
    return posixpath.splitext(normal(image))[0].replace("/", "__")


def locate(folder: Path, entries: Sequence, photos: bool) -> tuple[dict[int, Path | None], list[Problem]]:
    """Index of an entry -> the file of its photo, or None where there are no photos; and what is wrong with
    the names of the others."""
    files, paths, problems = Folder(folder), {}, []
    for index, entry in enumerate(entries):
        if not isinstance(entry, dict) or "image" not in entry:
            continue
        image, text, path = entry["image"], "", None
        if not isinstance(image, str) or not image.strip():
            text = f"image {image!r:.60} is not the name of a file"
        # a symbolic link may lead out, as in download caches: whoever made the folder put it there
        elif re.match(r"\.\./|/|\.\.$|[A-Za-z]:/", normal(image)):
            text = f"the path leaves the folder; copy the picture into {folder}"
        elif photos and isinstance(path := files.find(image), str):
            text = path
        elif (length := len(name_of(image).encode())) > LONGEST:
            text = f"the name is too long, {length} bytes with its folders; rename it to at most {LONGEST}"
        if text:
            problems.append(Problem(index, text))
        else:
            paths[index] = path
    return paths, problems


def complete(entry: dict, photo: Photo | None, fractions: bool) -> dict:
    """An entry of another tool with the photo's size where it says none, and boxes in pixels; without a photo
    that can be read an entry that fits, because the photo is the problem."""
    if photo is None:
        unknown = fractions or not {"width", "height"} <= entry.keys()
        return {"width": 1, "height": 1} | entry | ({"labels": [], "bboxes": []} if unknown else {})
    entry = {"width": photo.width, "height": photo.height} | entry
    if fractions and isinstance(entry["bboxes"], list):
        sides, boxes = np.array(photo[:2] * 2), entry["bboxes"]
        entry["bboxes"] = [(box * sides).tolist() if is_box(box) else box for box in boxes]
    return entry


def clashes(entries: Sequence[dict], photos: Mapping[int, Photo]) -> list[Problem]:
    """Entries that share a photo, its content, or, but for suffix and case, its name with an earlier one."""
    found, taken = [], {}
    for index, photo in photos.items():
        image = entries[index]["image"]
        # names in lower case: file systems that ignore case would mix up results with one name
        keys = normal(image), photo.content or index, ("name", name_of(image).casefold())
        for key, text in zip(keys, CLASHES, strict=True):
            if (other := taken.setdefault(key, index)) != index:
                first = entries[other]["image"]
                text = text.format(f"entry {other}, {first!r}")
                found.append(Problem(index, text, pair=f"{image!r} and {first!r}"))
                break
    return found


def sample(entries: list, limit: int | None, seed: int) -> list:
    """So many entries at most, drawn at random by the seed, in the order of the file; None for all."""
    if limit is None:
        return entries
    chosen = random.Random(seed).sample(range(len(entries)), min(limit, len(entries)))
    return [entries[index] for index in sorted(chosen)]


def rename(entries: Sequence[dict], names: Mapping[str, str | None]) -> Sequence[dict]:
    """Entries with other labels. names: label -> its new name, or None to drop its boxes.

    Raises ValueError naming labels that no box has.
    """
    if not names:
        return entries
    there = {label for entry in entries for label in entry["labels"]}
    if strange := sorted(names.keys() - there):
        raise ValueError(f"labels {strange} stand on no box; the labels are {sorted(there)}")
    new = [[names.get(label, label) for label in entry["labels"]] for entry in entries]
    return [
        _only(entry | {"labels": labels}, [i for i, label in enumerate(labels) if label is not None])
        for entry, labels in zip(entries, new, strict=True)
    ]


def spell(entries: Sequence[dict]) -> tuple[Sequence[dict], list[str]]:
    """Entries in which labels that differ only in case, blanks, "_", "-" or the Unicode form of letters are
    spelled alike, as most boxes have it; and what to say of it."""
    counts = Counter(chain.from_iterable(entry["labels"] for entry in entries))
    groups: dict[str, Counter] = {}
    for label in counts:
        key = " ".join(re.sub(r"[_-]", " ", _composed(label)).split()).casefold()
        groups.setdefault(key, Counter())[_composed(label)] += counts[label]
    best = {spelling: group.most_common(1)[0][0] for group in groups.values() for spelling in group}
    others: dict[str, list[str]] = {}
    for label in counts:
        if label != best[_composed(label)]:
            others.setdefault(best[_composed(label)], []).append(label)
    notes = [
        f"labels read as {name!r}, because nothing but case, blanks, _ or - differs: "
        + ", ".join(f"{label!r} ({counts[label]:,})" for label in labels)
        for name, labels in others.items()
    ]
    return rename(entries, {label: name for name, labels in others.items() for label in labels}), notes


@lru_cache(maxsize=2**16)
def words(label: str) -> str:
    """A class name as words of a text: `Hard-Hat`, `hard_hat` and `HardHat` are "hard hat"."""
    parted = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", label)
    return " ".join(re.sub(r"[_-]+", " ", parted).lower().split()) or label


def once(entries: Sequence[dict]) -> tuple[list[dict], str | None]:
    """Entries without boxes that stand twice with one label; and what to say of it."""
    changed, copies, places = [], 0, []
    for entry in entries:
        labels, boxes, kept = entry["labels"], entry["bboxes"], []
        for i, label in enumerate(labels):
            alike = (boxes[k] for k in kept if label == labels[k])
            if not any(all(abs(a - b) < NEAR for a, b in zip(boxes[i], one, strict=True)) for one in alike):
                kept.append(i)
        if len(kept) < len(labels):
            copies += len(labels) - len(kept)
            places.append(entry["image"])
            entry = _only(entry, kept)
        changed.append(entry)
    said = f"boxes that stood twice with one label, used once: {copies:,}, in {examples(places)}"
    return changed, said if copies else None


def _only(entry: dict, kept: Sequence[int]) -> dict:
    return entry | {key: [entry[key][i] for i in kept] for key in LISTS if entry.get(key)}


def _composed(label: str) -> str:
    return " ".join(unicodedata.normalize("NFC", label).split())
