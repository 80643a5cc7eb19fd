"""What is wrong with the boxes of one scene, and which other format their numbers look like."""

from collections.abc import Iterator

import numpy as np

from helpers.scenes import boxes as rectangles

OURS = "boxes are [x_min, y_min, x_max, y_max] in pixels"
SLACK = 0.02  # of a side, or 2 pixels: by so much boxes leave the picture through rounding
SMALLEST_SIDE = 1e-3  # of a pixel: what float32 fractions can still tell apart

# Other formats, turned into left top and right bottom corners in pixels. a, b: the first and the last two
# columns, (n, 2); size: (width, height). First those whose numbers are fractions, then those with pixels.
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


def problems(boxes: list, width: float, height: float) -> Iterator[str]:
    """One line for each box of a width x height picture that cannot be used, naming it and its numbers.

    Not four finite numbers, reversed, empty, more than half outside. Boxes that are right in another format
    share a line; boxes that leave the picture and are otherwise right are no problem.
    """
    wrong = {index: told for index, box in enumerate(boxes) if (told := _problem(box, width, height))}
    sound = [index for index, box in enumerate(boxes) if _is_box(box)]
    numbers = [index for index in sound if index in wrong]
    other = guess(np.array([boxes[index] for index in sound]), width, height)
    if other in FRACTIONS or (other and numbers):
        numbers = numbers or sound
        first = wrong.get(numbers[0], f"{boxes[numbers[0]]} lies in one pixel of {width:g} x {height:g}")
        named = ", ".join(map(str, numbers))
        yield f"box {named}: {first}; {OURS}, these look like {other}"
        wrong = {index: told for index, told in wrong.items() if index not in sound}
    for index, told in wrong.items():
        yield f"box {index}: {told}; {OURS}"


def guess(boxes: np.ndarray, width: float, height: float) -> str | None:
    """The first other format in which all boxes (n, 4) are right, with the way out of it; else None.

    Right is: not reversed, and leaving the picture by at most SLACK of a side or 2 pixels. Where all lie
    in the picture's first pixel, formats with fractions are tried, elsewhere those with pixels.
    """
    if len(boxes) == 0:
        return None
    size = np.array([width, height], dtype=np.float64)
    slack = np.maximum(SLACK * size, 2)

    def fits(low: np.ndarray, high: np.ndarray) -> bool:
        return bool((low < high).all() and (low >= -slack).all() and (high <= size + slack).all())

    tiny = size.min() > 8 and boxes.min() >= -SLACK and boxes.max() <= 1 + SLACK
    others = FRACTIONS if tiny else PIXELS
    return next(
        (name for name, turn in others.items() if fits(*turn(boxes[:, :2], boxes[:, 2:], size))), None
    )


def is_number(value: object) -> bool:
    """Whether a value from a JSON file can be a coordinate: finite, no boolean, no integer beyond floats."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e9


def _is_box(box: object) -> bool:
    return isinstance(box, list) and len(box) == 4 and all(map(is_number, box))


def _problem(box: object, width: float, height: float) -> str | None:
    if not _is_box(box):
        return f"{box!r:.80} is not four finite numbers"
    for axis, low, high, side in (("x", box[0], box[2], "right of"), ("y", box[1], box[3], "below")):
        if low > high:
            return f"{axis}_min {low:g} is {side} {axis}_max {high:g} in {box}"
        if high - low < SMALLEST_SIDE:
            return f"{axis}_min {low:g} and {axis}_max {high:g} leave {box} empty"
    inside = rectangles.area(rectangles.to_fractions(box, width, height))[0] * width * height
    share = inside / ((box[2] - box[0]) * (box[3] - box[1]))
    if share < 0.5:
        where = "wholly" if inside == 0 else "mostly"
        return f"{box} lies {where} outside the {width:g} x {height:g} picture ({share:.0%} inside)"
    return None
