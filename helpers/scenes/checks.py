"""What can be wrong with the entries of a data set: keys, texts, sizes, and the numbers of boxes."""

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple

import numpy as np

from helpers.scenes.photos import Photo
from helpers.scenes.problems import Problem

PROMPT = "prompt_w_"  # how the keys of prompts begin in annotation files
TEXTS = ("caption", "generated_text")
SIDES = ("width", "height")
REQUIRED = ("image", *SIDES, "labels", "bboxes")
OURS = "boxes are [x_min, y_min, x_max, y_max] in pixels"
SLACK = 0.02  # of a side, or 2 pixels: by so much boxes leave the picture through rounding
NUMBERS, LARGEST = {int, float}, 1e9  # types and size of coordinates; a JSON file may hold more
SMALLEST_SIDE = 1e-3  # of a pixel: what float32 fractions can still tell apart

# Other formats, turned into left top and right bottom corners in pixels. a, b: the first and the last two
# columns, (n, 2); size: (width, height) of each row. First those with fractions, then those with pixels.
FRACTIONS = {
    "fractions (x_min, y_min, x_max, y_max), so multiply x by the width and y by the height": (
        lambda a, b, size: (a * size, b * size)
    ),
    "YOLO's fractions (x_centre, y_centre, width, height), so go half a side each way and multiply": (
        lambda a, b, size: ((a - b / 2) * size, (a + b / 2) * size)
    ),
}
PIXELS = {
    "COCO's (x_min, y_min, width, height), so x_max is x_min + width and y_max is y_min + height": (
        lambda a, b, size: (a, a + b)
    ),
    "(x_centre, y_centre, width, height), so go half a side each way from the centre": (
        lambda a, b, size: (a - b / 2, a + b / 2)
    ),
    "(y_min, x_min, y_max, x_max), so swap x and y": lambda a, b, size: (a[:, ::-1], b[:, ::-1]),
}
WHOLE = 0.95  # share of a data set's boxes that must be right in another format, and its
BROKEN = 0.2  # share that must be wrong in ours, before the whole data set is taken for the other


def check(entries: Sequence, photos: Mapping[int, Photo]) -> list[Problem]:
    """What is wrong with the entries. photos: what is known of their photos, by the entry's index."""
    found = []
    for index, entry in enumerate(entries):
        if isinstance(entry, dict):
            found += [Problem(index, *problem) for problem in _check_entry(entry, photos.get(index))]
        else:
            text = f"{entry!r:.60} is not an object; write {', '.join(REQUIRED)} in braces"
            found.append(Problem(index, text))
    return [*found, *_check_boxes(entries)]


def is_box(box: object) -> bool:
    """Whether a value from a JSON file is four numbers that float64 can hold; booleans are none."""
    if type(box) is not list or len(box) != 4 or not NUMBERS.issuperset(map(type, box)):
        return False
    a, b, c, d = box
    return -LARGEST < a < LARGEST > b > -LARGEST < c < LARGEST > d > -LARGEST


def guess(boxes: np.ndarray, sizes: np.ndarray, share: float = 1) -> str | None:
    """The first other format in which that share of all boxes (n, 4) is right, with the way out of it.

    sizes: (n, 2), width and height of each box's picture. Right is: not reversed, and leaving the picture by
    at most SLACK of a side or 2 pixels. Where boxes lie in the picture's first pixel, formats with fractions
    are tried, elsewhere those with pixels.
    """
    if len(boxes) == 0:
        return None
    tiny = (sizes.min(axis=1) > 8) & (boxes.min(axis=1) >= -SLACK) & (boxes.max(axis=1) <= 1 + SLACK)
    others = FRACTIONS if tiny.mean() >= share else PIXELS
    return next((name for name in others if _fits(name, boxes, sizes).mean() >= share), None)


def _fits(other: str, boxes: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    low, high = (FRACTIONS | PIXELS)[other](boxes[:, :2], boxes[:, 2:], sizes)
    slack = np.maximum(SLACK * sizes, 2)
    return ((low < high) & (low >= -slack) & (high <= sizes + slack)).all(axis=1)


def _is_text(value: object) -> bool:
    """Whether a value is a text that a file can hold; half of a surrogate pair (a cut emoji) is none."""
    return isinstance(value, str) and (value.isascii() or not re.search(r"[\ud800-\udfff]", value))


def _is_size(value: object) -> bool:
    return type(value) in NUMBERS and 1 <= value < LARGEST and value % 1 == 0


RULES = dict.fromkeys(TEXTS, (lambda value: value is None or _is_text(value), "is not a text"))
RULES |= dict.fromkeys(SIDES, (_is_size, "is no whole number of pixels above 0; give the upright photo's"))
RULES |= {  # key -> whether its value is right, and what is wrong with any other
    "bboxes": (lambda value: isinstance(value, list), f"is not a list; {OURS}"),
    "labels": (lambda value: isinstance(value, list), "is not a list of texts"),
    "phrases": (lambda value: value is None or isinstance(value, list), "is not a list of texts"),
}


def _check_entry(entry: dict, photo: Photo | None) -> Iterator[tuple[str, ...]]:
    """What is wrong with an entry but for the numbers of its boxes: a text, and the box where it is one's."""
    for key in REQUIRED:
        if key not in entry:
            near = difflib.get_close_matches(key, entry, n=1, cutoff=0.5)
            yield (f"has no {key!r}" + (f"; is {near[0]!r} meant for it?" if near else "; add it"),)
    for key, value in entry.items():
        is_right, text = RULES.get("caption" if key.startswith(PROMPT) else key, (None, ""))
        if is_right and not is_right(value):
            yield (f"{key} {value!r:.60} {text}",)
        elif key in ("labels", "phrases") and value is not None:
            for index, one in enumerate(value):
                if not _is_text(one) or not one.strip():
                    yield f"{key[:-1]} {one!r:.60} is not a text; say what stands in the box", f"box {index}"
            boxes = entry.get("bboxes")
            if isinstance(boxes, list) and len(value) != len(boxes):
                yield (f"{len(value)} {key} for {len(boxes)} bboxes; give every box one",)
    size = entry.get("width"), entry.get("height")
    if photo and all(map(_is_size, size)) and not _is_resized(photo[:2], size):
        yield (_other_shape(photo[:2], *size),)


def _is_resized(size: tuple[int, int], other: tuple[float, float]) -> bool:
    """Whether one has the shape of the other, give or take a pixel."""
    return abs(size[0] * other[1] - size[1] * other[0]) <= max(*size, *other)


def _other_shape(size: tuple[int, int], width: float, height: float) -> str:
    text = f"width and height say {width:g} x {height:g}, but the picture is {size[0]} x {size[1]}"
    text += " when upright (EXIF orientation applied)"
    if _is_resized(size, (height, width)):
        return f"{text}: it lies on its side; give width, height and bboxes of the upright picture"
    x, y = size[0] / width, size[1] / height
    return f"{text}: another shape; give its own, and x times {x:g}, y times {y:g}"


class _Box(NamedTuple):
    """Four numbers of an entry's box. size: of the picture. problem: what is wrong with them, or ""."""

    index: int
    number: int
    numbers: list
    size: tuple[float, float]
    problem: str


def _check_boxes(entries: Sequence) -> list[Problem]:
    """What is wrong with the numbers of all boxes; their format is judged over the whole data set first."""
    found, rows, scenes = [], [], 0
    for index, entry in enumerate(entries):
        boxes, *size = map(entry.get, ("bboxes", *SIDES)) if isinstance(entry, dict) else (None,)
        if not isinstance(boxes, list) or not all(map(_is_size, size)):
            continue
        scenes += 1
        for number, box in enumerate(boxes):
            if is_box(box):
                rows.append(_Box(index, number, box, size, _problem(box, *size)))
            else:
                text = f"{box!r:.80} is not four finite numbers; {OURS}"
                found.append(Problem(index, text, f"box {number}"))
    table = {index: list(boxes) for index, boxes in groupby(rows, attrgetter("index"))}
    other, alike, told = guess(*_arrays(rows), WHOLE), [], set()
    wrong = {box.index for box in rows if box.problem}
    if other in FRACTIONS or (other and np.mean([bool(box.problem) for box in rows]) >= BROKEN):
        right = zip(rows, _fits(other, *_arrays(rows)), strict=True)
        strange = {box.index for box, fits in right if not fits}
        alike = [index for index in table if index not in strange]
    if alike and (other in FRACTIONS or not wrong.isdisjoint(alike)):
        first = next((index for index in alike if index in wrong), alike[0])
        (problem,) = _of_entry(table[first], other)
        count = f"all {len(alike):,}" if len(alike) == scenes else f"{len(alike):,} of {scenes:,}"
        where = f", in {count} scenes, also where it does not show" if len(alike) > 1 else ""
        found.append(problem._replace(text=problem.text + where, also=tuple(alike)))
        told = set(alike)
    alone = [boxes for index, boxes in table.items() if index not in told]
    return found + [problem for boxes in alone for problem in _of_entry(boxes)]


def _of_entry(boxes: list[_Box], other: str | None = None) -> Iterator[Problem]:
    """What is wrong with an entry's boxes, in one problem where all are right in another format."""
    wrong = [box for box in boxes if box.problem]
    if wrong or all(max(box.numbers) <= 1 + SLACK for box in boxes):
        other = other or guess(*_arrays(boxes))
    if other in FRACTIONS or (other and wrong):
        shown = wrong or boxes
        width, height = shown[0].size
        text = shown[0].problem or f"{shown[0].numbers} lies in one pixel of {width:g} x {height:g}"
        named = ", ".join(str(box.number) for box in shown)
        yield Problem(boxes[0].index, f"{text}; {OURS}, these look like {other}", f"box {named}")
    else:
        yield from (Problem(box.index, f"{box.problem}; {OURS}", f"box {box.number}") for box in wrong)


def _arrays(boxes: Sequence[_Box]) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (n, 4) and the sizes of their pictures (n, 2)."""
    rows = np.array([(*box.numbers, *box.size) for box in boxes], dtype=float).reshape(-1, 6)
    return rows[:, :4], rows[:, 4:]


def _problem(box: list, width: float, height: float) -> str:
    x_min, y_min, x_max, y_max = box
    across, down = x_max - x_min, y_max - y_min
    if min(across, down) >= SMALLEST_SIDE and x_min >= 0 <= y_min and x_max <= width and y_max <= height:
        return ""  # as nearly all are
    for axis, low, high, side in (("x", x_min, x_max, "right of"), ("y", y_min, y_max, "below")):
        if low > high:
            return f"{axis}_min {low:g} is {side} {axis}_max {high:g} in {box}"
        if high - low < SMALLEST_SIDE:
            return f"{axis}_min {low:g} and {axis}_max {high:g} leave {box} empty"
    inside = max(min(x_max, width) - max(x_min, 0), 0) * max(min(y_max, height) - max(y_min, 0), 0)
    share = inside / (across * down)
    if share >= 0.5:
        return ""
    where = "mostly" if inside else "wholly"
    return f"{box} lies {where} outside the {width:g} x {height:g} picture ({share:.0%} inside)"
