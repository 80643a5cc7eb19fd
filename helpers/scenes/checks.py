"""What can be wrong with the entries of a data set: keys, texts, sizes, and the numbers of boxes."""

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence

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


class _Boxes:
    """All boxes of a data set that are four numbers: rows as they are written, boxes (n, 4), the width and
    height of their pictures, sizes (n, 2), the index of their entries, owner (n,), ascending, and their
    numbers there; wrong: (n,) bool. scenes: entries that have a list of boxes. problems: of other boxes."""

    def __init__(self, entries: Sequence) -> None:
        places, self.rows, self.problems, self.scenes = [], [], [], 0
        for index, entry in enumerate(entries):
            boxes, *size = map(entry.get, ("bboxes", *SIDES)) if isinstance(entry, dict) else (None,)
            if not isinstance(boxes, list) or not all(map(_is_size, size)):
                continue
            self.scenes += 1
            for number, box in enumerate(boxes):
                if is_box(box):
                    self.rows.append(box)
                    places.append((index, number, *size))
                else:
                    text = f"{box!r:.80} is not four finite numbers; {OURS}"
                    self.problems.append(Problem(index, text, f"box {number}"))
        self.owner, self.numbers, *sizes = np.array(places, dtype=float).reshape(-1, 4).T
        self.owner, self.sizes = self.owner.astype(int), np.stack(sizes, axis=1)
        self.boxes = np.array(self.rows, dtype=float).reshape(-1, 4)
        low, high = self.boxes[:, :2], self.boxes[:, 2:]
        inside = np.clip(np.minimum(high, self.sizes) - np.maximum(low, 0), 0, None)
        reversed_or_empty = (high - low < SMALLEST_SIDE).any(axis=1)
        self.wrong = reversed_or_empty | (inside.prod(axis=1) < (high - low).prod(axis=1) / 2)

    def of_entry(self, index: int, other: str | None = None) -> Iterator[Problem]:
        """What is wrong with an entry's boxes, in one problem where all are right in another format."""
        places = range(*np.searchsorted(self.owner, [index, index + 1]))
        boxes, sizes = self.boxes[places], self.sizes[places]
        wrong = [place for place in places if self.wrong[place]]
        other = other or guess(boxes, sizes)
        if other in FRACTIONS or (other and wrong):
            shown = wrong or places
            box, size = self.rows[shown[0]], sizes[0]
            text = _problem(box, *size) if wrong else f"{box} lies in one pixel of {size[0]:g} x {size[1]:g}"
            named = ", ".join(f"{self.numbers[place]:g}" for place in shown)
            yield Problem(index, f"{text}; {OURS}, these look like {other}", f"box {named}")
            return
        for place in wrong:
            text = f"{_problem(self.rows[place], *self.sizes[place])}; {OURS}"
            yield Problem(index, text, f"box {self.numbers[place]:g}")

    def in_other_format(self) -> tuple[str | None, list[int]]:
        """Another format in which nearly all boxes are right, or None, and the entries where all are."""
        other = guess(self.boxes, self.sizes, WHOLE)
        if other is None or (other in PIXELS and self.wrong.mean() < BROKEN):
            return None, []
        strange = set(self.owner[~_fits(other, self.boxes, self.sizes)].tolist())
        alike = [index for index in np.unique(self.owner).tolist() if index not in strange]
        shown = other in FRACTIONS or self.wrong[np.isin(self.owner, alike)].any()
        return (other, alike) if shown else (None, [])


def _check_boxes(entries: Sequence) -> list[Problem]:
    """What is wrong with the numbers of all boxes; their format is judged over the whole data set first."""
    table = _Boxes(entries)
    tiny = table.boxes.max(axis=1, initial=-np.inf) <= 1 + SLACK
    wrong = set(table.owner[table.wrong].tolist())
    suspects = wrong | set(table.owner.tolist()).difference(table.owner[~tiny].tolist())
    (other, alike), found = table.in_other_format(), table.problems
    if alike:
        first = next((index for index in alike if index in wrong), alike[0])
        (problem,) = table.of_entry(first, other)
        count = f"all {len(alike):,}" if len(alike) == table.scenes else f"{len(alike):,} of {table.scenes:,}"
        where = f", in {count} scenes, also where it does not show" if len(alike) > 1 else ""
        found.append(problem._replace(text=problem.text + where, also=tuple(alike)))
    return found + [one for index in sorted(suspects.difference(alike)) for one in table.of_entry(index)]


def _problem(box: list, width: float, height: float) -> str:
    for axis, low, high, side in (("x", box[0], box[2], "right of"), ("y", box[1], box[3], "below")):
        if low > high:
            return f"{axis}_min {low:g} is {side} {axis}_max {high:g} in {box}"
        if high - low < SMALLEST_SIDE:
            return f"{axis}_min {low:g} and {axis}_max {high:g} leave {box} empty"
    across, down = min(box[2], width) - max(box[0], 0), min(box[3], height) - max(box[1], 0)
    inside = max(across, 0) * max(down, 0)
    share, where = inside / ((box[2] - box[0]) * (box[3] - box[1])), "mostly" if inside else "wholly"
    return f"{box} lies {where} outside the {width:g} x {height:g} picture ({share:.0%} inside)"
