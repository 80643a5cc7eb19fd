"""What can be wrong with the entries of a data set: keys, texts, sizes, and the numbers of boxes."""

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from helpers.scenes.photos import Photo
from helpers.scenes.problems import Problem

REQUIRED = ("image", "width", "height", "labels", "bboxes")
OURS = "boxes are [x_min, y_min, x_max, y_max] in pixels"
SLACK = 0.02  # of a side, or 2 pixels: by so much boxes leave the picture through rounding
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
    found, objects = [], {}
    for index, entry in enumerate(entries):
        if not isinstance(entry, dict):
            found.append(
                Problem(index, f"{entry!r:.60} is not an object; write {', '.join(REQUIRED)} in braces")
            )
            continue
        objects[index] = entry
        found += [Problem(index, text, box) for text, box in _check_entry(entry)]
        size = entry.get("width"), entry.get("height")
        if index in photos and (text := _check_size(photos[index], *size)):
            found.append(Problem(index, text))
    return [*found, *_check_boxes(objects)]


def is_number(value: object) -> bool:
    """Whether a value from a JSON file can be a coordinate: finite, no boolean, no integer beyond floats."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e9


def is_size(value: object) -> bool:
    """Whether a value from a JSON file can be a width or height in pixels."""
    return is_number(value) and value >= 1 and value % 1 == 0


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


def _check_entry(entry: dict) -> Iterator[tuple[str, str]]:
    """What is wrong with an entry but for the numbers of its boxes: the text, and the box or ""."""
    for key in (key for key in REQUIRED if key not in entry):
        near = difflib.get_close_matches(key, entry, n=1, cutoff=0.5)
        yield f"has no {key!r}" + (f"; is {near[0]!r} meant for it?" if near else "; add it"), ""
    for key in ("width", "height"):
        if key in entry and not is_size(entry[key]):
            yield (
                f"{key} {entry[key]!r:.60} is no whole number of pixels above 0; give the upright photo's",
                "",
            )
    boxes = entry.get("bboxes")
    if "bboxes" in entry and not isinstance(boxes, list):
        yield f"bboxes {boxes!r:.60} is not a list; {OURS}", ""
    for key in ("labels", "phrases"):
        if key in entry and not (key == "phrases" and entry[key] is None):
            yield from _check_texts(key, entry[key], boxes)
    for key, text in entry.items():
        is_text = key in ("caption", "generated_text") or key.startswith("prompt_w_")
        if is_text and text is not None and not _is_text(text):
            yield f"{key} {text!r:.60} is not a text", ""


def _check_texts(key: str, texts: object, boxes: object) -> Iterator[tuple[str, str]]:
    if not isinstance(texts, list):
        yield f"{key} {texts!r:.60} is not a list of texts", ""
        return
    for index, text in enumerate(texts):
        if not _is_text(text) or not text.strip():
            yield f"{key[:-1]} {text!r:.60} is not a text; say what stands in the box", f"box {index}"
    if isinstance(boxes, list) and len(texts) != len(boxes):
        yield f"{len(texts)} {key} for {len(boxes)} bboxes; give every box one", ""


def _is_text(value: object) -> bool:
    """Whether a value is a text that a file can hold; half of a surrogate pair (a cut emoji) is none."""
    return isinstance(value, str) and not re.search(r"[\ud800-\udfff]", value)


def _check_size(photo: Photo, width: object, height: object) -> str | None:
    size = photo.width, photo.height
    if not is_size(width) or not is_size(height) or _is_resized(size, (width, height)):
        return None
    said = (
        f"width and height say {width:g} x {height:g}, but the picture is {size[0]} x {size[1]} when upright"
    )
    said += " (EXIF orientation applied)"
    if _is_resized(size, (height, width)):
        return f"{said}: it lies on its side; give width, height and bboxes of the upright picture"
    scales = f"x times {size[0] / width:g}, y times {size[1] / height:g}"
    return f"{said}: another shape; give its own, and {scales}"


def _is_resized(size: tuple[int, int], other: tuple[float, float]) -> bool:
    """Whether one has the shape of the other, give or take a pixel."""
    return abs(size[0] * other[1] - size[1] * other[0]) <= max(*size, *other)


class _Boxes(NamedTuple):
    """The boxes of one entry that are four numbers, by their place in it, and what is wrong with them."""

    size: tuple[int, int]
    sound: dict[int, list]
    wrong: dict[int, str]

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        boxes = np.array(list(self.sound.values()), dtype=np.float64).reshape(-1, 4)
        return boxes, np.full((len(boxes), 2), self.size, dtype=np.float64)


def _check_boxes(entries: Mapping[int, dict]) -> Iterator[Problem]:
    """What is wrong with the numbers of all boxes; their format is judged over the whole data set first."""
    scenes: dict[int, _Boxes] = {}
    for index, entry in entries.items():
        size, boxes = (entry.get("width"), entry.get("height")), entry.get("bboxes")
        if not (all(map(is_size, size)) and isinstance(boxes, list)):
            continue
        sound = {number: box for number, box in enumerate(boxes) if _is_box(box)}
        wrong = {number: text for number, box in sound.items() if (text := _problem(box, *size))}
        scenes[index] = _Boxes(size, sound, wrong)
        for number in (number for number in range(len(boxes)) if number not in sound):
            yield Problem(index, f"{boxes[number]!r:.80} is not four finite numbers; {OURS}", f"box {number}")
    other, alike = _in_other_format(scenes)
    if alike:
        first = next((index for index in alike if scenes[index].wrong), alike[0])
        (problem,) = _scene_problems(first, scenes[first], other)
        count = f"all {len(alike):,}" if len(alike) == len(scenes) else f"{len(alike):,} of {len(scenes):,}"
        where = f", in {count} scenes, also where it does not show" if len(alike) > 1 else ""
        yield problem._replace(text=problem.text + where)
    for index in scenes.keys() - set(alike):
        yield from _scene_problems(index, scenes[index])


def _in_other_format(scenes: dict[int, _Boxes]) -> tuple[str | None, list[int]]:
    """Another format in which nearly all of a data set's boxes are right, if there is one, and the scenes
    where all are."""
    filled = {index: scene for index, scene in scenes.items() if scene.sound}
    if not filled:
        return None, []
    arrays = {index: scene.arrays() for index, scene in filled.items()}
    boxes, sizes = (np.concatenate(parts) for parts in zip(*arrays.values(), strict=True))
    other = guess(boxes, sizes, WHOLE)
    wrong = sum(len(scene.wrong) for scene in filled.values())
    if other is None or (other in PIXELS and wrong < BROKEN * len(boxes)):
        return None, []
    alike = [index for index, (boxes, sizes) in arrays.items() if _fits(other, boxes, sizes).all()]
    shown = other in FRACTIONS or any(scenes[index].wrong for index in alike)
    return (other, alike) if shown else (None, [])


def _scene_problems(index: int, scene: _Boxes, other: str | None = None) -> Iterator[Problem]:
    """What is wrong with an entry's boxes, in one problem where all are right in another format."""
    tiny = all(max(box) <= 1 + SLACK for box in scene.sound.values())
    other = other or (guess(*scene.arrays()) if scene.wrong or tiny else None)
    if other in FRACTIONS or (other and scene.wrong):
        numbers = list(scene.wrong or scene.sound)
        box = scene.sound[numbers[0]]
        text = scene.wrong.get(numbers[0], f"{box} lies in one pixel of {scene.size[0]} x {scene.size[1]}")
        named = ", ".join(map(str, numbers))
        yield Problem(index, f"{text}; {OURS}, these look like {other}", f"box {named}")
    else:
        yield from (Problem(index, f"{text}; {OURS}", f"box {k}") for k, text in scene.wrong.items())


def _is_box(box: object) -> bool:
    return isinstance(box, list) and len(box) == 4 and all(map(is_number, box))


def _problem(box: list, width: float, height: float) -> str | None:
    for axis, low, high, side in (("x", box[0], box[2], "right of"), ("y", box[1], box[3], "below")):
        if low > high:
            return f"{axis}_min {low:g} is {side} {axis}_max {high:g} in {box}"
        if high - low < SMALLEST_SIDE:
            return f"{axis}_min {low:g} and {axis}_max {high:g} leave {box} empty"
    across, down = min(box[2], width) - max(box[0], 0), min(box[3], height) - max(box[1], 0)
    inside = max(across, 0) * max(down, 0)
    share = inside / ((box[2] - box[0]) * (box[3] - box[1]))
    if share < 0.5:
        where = "wholly" if inside == 0 else "mostly"
        return f"{box} lies {where} outside the {width:g} x {height:g} picture ({share:.0%} inside)"
    return None
