"""Boxes: their geometry, and how they are drawn, into pixels or as SVG.

A box is (x_min, y_min, x_max, y_max) in fractions of the picture's width and height, origin top left. Every
function takes (n, 4) arrays, n = 0 included, and keeps their order.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache
from html import escape
from pathlib import Path

import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFont

# At least 27 apart in CIE L*a*b*, for deuteranopes and protanopes as well (simulation of Machado et al. 2009)
PALETTE = ("#3ca5ff", "#a5ff00", "#b40000", "#00c3a5", "#960f87", "#a5b42d")
PALETTE += ("#00f0ff", "#a5004b", "#96ff96", "#3c0fff", "#5ab469", "#4b4bd2")
PLACES = 30  # boxes that GLIGEN takes; it was trained with the 30 largest of a photo
FOUND, MISSED, DROPPED = "found", "missed", "not given to the model"
DASHES = {MISSED: (2.4, 1.5), DROPPED: (0.8, 1.1)}  # lengths of line and gap, in line widths
WIDTHS = (0.4, 1.1)  # of the line of a small and of a large box, in hundredths of the picture's width
GREY = "#8a8f99"
LETTER = 2.4  # width of one at the size of TEXT
OVER = "position:absolute;inset:0;width:100%;height:100%"
TEXT = 'font-size="4.4" fill="#fff" stroke="#000" stroke-opacity=".65" stroke-width=".9" paint-order="stroke"'


def clip(boxes: np.ndarray) -> np.ndarray:
    """Boxes cut off at the picture's edges: (n, 4) float32 in [0, 1]. One wholly outside keeps no area."""
    return np.clip(_rows(boxes), 0, 1).astype(np.float32)


def area(boxes: np.ndarray) -> np.ndarray:
    """Share of the picture that each box covers: (n,) float64, 0 for reversed boxes."""
    sides = np.clip(_rows(boxes)[:, 2:] - _rows(boxes)[:, :2], 0, None)
    return sides[:, 0] * sides[:, 1]


def iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of every box of a (n, 4) with every box of b (m, 4).

    Returns (n, m) float64 in [0, 1]; 0 where neither box has an area.
    """
    a, b = _rows(a)[:, None], _rows(b)[None]
    sides = np.clip(np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2]), 0, None)
    shared = sides[..., 0] * sides[..., 1]
    union = area(a)[:, None] + area(b)[None] - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def to_pixels(boxes: np.ndarray, width: int, height: int) -> np.ndarray:
    """Fractional boxes as whole pixels, clipped to the picture.

    boxes: (n, 4) in [0, 1]. Returns (n, 4) int64, rows y_min:y_max and columns x_min:x_max, one at least.
    Raises ValueError naming the first box that has no area.
    """
    boxes = _rows(clip(boxes))
    empty = np.flatnonzero(~(area(boxes) > 0))
    if len(empty):
        raise ValueError(
            f"box {empty[0]}: {boxes[empty[0]].tolist()} has no area inside the picture; "
            "boxes are (x_min, y_min, x_max, y_max), fractions of width and height"
        )
    size = np.array([width, height])
    low = np.minimum(np.rint(boxes[:, :2] * size), size - 1)
    high = np.maximum(np.rint(boxes[:, 2:] * size), low + 1)
    return np.concatenate([low, high], axis=1).astype(np.int64)


def to_fractions(boxes: np.ndarray, width: int, height: int) -> np.ndarray:
    """Pixel boxes (n, 4) of a width x height picture as fractions, clipped: (n, 4) float32."""
    return clip(_rows(boxes) / [width, height, width, height])


def largest(boxes: np.ndarray, n: int = PLACES) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the n largest boxes and of the others, both ascending; of equals, the first."""
    by_size = np.argsort(-area(boxes), kind="stable")
    return np.sort(by_size[:n]), np.sort(by_size[n:])


def colours_of(labels: Iterable[str]) -> dict[str, str]:
    """Label -> colour, "#rrggbb", in the order of PALETTE: the commonest label has the first.

    labels: one per box of all scenes that are shown together. From the 13th label on the colours repeat.
    """
    counts = Counter(labels)
    order = sorted(counts, key=lambda label: (-counts[label], label))
    return {label: PALETTE[place % len(PALETTE)] for place, label in enumerate(order)}


def draw_boxes(
    image: Image.Image,
    boxes: np.ndarray,
    labels: Sequence[str],
    colours: Sequence[str] | None = None,
    marks: Sequence[str] | None = None,
) -> Image.Image:
    """A copy of a picture with its boxes (n, 4) as outlines and the label in each, small boxes over large.

    An empty label is not written. colours: one per box; None for those of `colours_of(labels)`. marks: as in
    `overlay`.
    Raises ValueError when labels, colours or marks are not as many as the boxes, and for a box without area.
    """
    boxes, known, picture = clip(boxes), colours_of(labels), image.convert("RGB")
    colours = [known[label] for label in labels] if colours is None else colours
    marks = [""] * len(labels) if marks is None else marks
    if not len(boxes) == len(labels) == len(colours) == len(marks):
        counts = f"{len(labels)} labels, {len(colours)} colours and {len(marks)} marks"
        raise ValueError(f"{len(boxes)} boxes, {counts}; give one per box")
    draw, letters = ImageDraw.Draw(picture), font(max(10, min(image.size) // 40))
    corners, aspect = to_pixels(boxes, *image.size) - [0, 0, 1, 1], image.height / image.width
    for index in np.argsort(-area(boxes), kind="stable"):
        colour = GREY if marks[index] == DROPPED else colours[index]
        width = max(1, round(_stroke(boxes[index], aspect) * image.width / 100))
        _outline(draw, corners[index].tolist(), colour, width, DASHES.get(marks[index]))
        if label := labels[index]:
            place = tuple((corners[index, :2] + width).tolist())
            left, top, right, bottom = draw.textbbox(place, label, letters)
            draw.rectangle((left - 1, top - 1, right + 1, bottom + 1), fill=colour)
            draw.text(place, label, _ink_on(colour), letters)
    return picture


def _outline(
    draw: ImageDraw.ImageDraw,
    corners: Sequence[int],
    colour: str,
    width: int,
    dashes: tuple[float, float] | None,
) -> None:
    """Lines inside of the corners (x_min, y_min, x_max, y_max), which are pixels of the box themselves.

    dashes: lengths of line and gap in line widths; None for a full line.
    """
    x_min, y_min, x_max, y_max = corners
    if dashes is None:
        return draw.rectangle(corners, outline=colour, width=width)
    line, gap = (max(1, round(length * width)) for length in dashes)
    for x in range(x_min, x_max + 1, line + gap):
        for y in (y_min, max(y_min, y_max - width + 1)):
            draw.rectangle((x, y, min(x + line - 1, x_max), min(y + width - 1, y_max)), fill=colour)
    for y in range(y_min, y_max + 1, line + gap):
        for x in (x_min, max(x_min, x_max - width + 1)):
            draw.rectangle((x, y, min(x + width - 1, x_max), min(y + line - 1, y_max)), fill=colour)


@cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans as matplotlib brings it: the same on every machine, and with more than Latin letters."""
    import matplotlib  # here, because who only computes with boxes does not wait for it

    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf"), size)


def overlay(
    boxes: np.ndarray,
    labels: Sequence[str],
    aspect: float,
    colours: Sequence[str],
    marks: Sequence[str] | None = None,
) -> str:
    """Boxes (n, 4) as SVG to lie over a picture, small ones on top, so that they can be pointed at.

    aspect: height over width of the picture. colours: one per box. marks: per box FOUND (full line), MISSED
    (dashed), DROPPED (grey, dotted) or "" (full line).
    """
    height, marks = 100 * aspect, [""] * len(labels) if marks is None else marks
    texts = [escape(f"{label}, {mark}" if mark else label) for label, mark in zip(labels, marks, strict=True)]
    parts = []
    for index in np.argsort(-area(boxes), kind="stable"):
        x_min, y_min, x_max, y_max = boxes[index] * np.float32([100, height, 100, height])
        stroke = _stroke(boxes[index], aspect)
        lengths = " ".join(f"{length * stroke:.2f}" for length in DASHES.get(marks[index], ()))
        dash = f' stroke-dasharray="{lengths}"' if lengths else ""
        beyond = x_min + 1 + LETTER * len(labels[index]) > 100  # a long label would be cut at the right edge
        at = 'x="99" text-anchor="end"' if beyond else f'x="{x_min + 1:.2f}"'
        label, colour = escape(labels[index]), GREY if marks[index] == DROPPED else colours[index]
        parts.append(
            f'<g><title>{texts[index]}</title><rect x="{x_min:.2f}" y="{y_min:.2f}" '
            f'width="{x_max - x_min:.2f}" height="{y_max - y_min:.2f}" rx="0.8" fill="none" '
            f'stroke-width="{stroke:.2f}" stroke="{colour}"{dash}/>'
            f'<text {TEXT} {at} y="{max(y_min - 1, 4.6):.2f}">{label}</text></g>'
        )
    summary = f"boxes: {'; '.join(texts) or 'none'}"
    return (
        f'<svg style="{OVER}" viewBox="0 0 100 {height:.2f}" role="img" aria-label="{summary}">'
        f"{''.join(parts)}</svg>"
    )


def _stroke(box: np.ndarray, aspect: float) -> float:
    """Width of the line of a box in hundredths of the picture's width: thinner where the box is small."""
    width, height = box[2] - box[0], aspect * (box[3] - box[1])
    return float(np.clip(100 / 8 * min(width, height), *WIDTHS))


def _ink_on(colour: str) -> str:
    red, green, blue = ImageColor.getrgb(colour)[:3]
    return "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else "white"


def _rows(boxes: np.ndarray) -> np.ndarray:
    # float64 for the arithmetic: float32 sums of fractions are off by a visible part of a pixel at 512
    boxes = np.asarray(boxes, dtype=np.float64)
    if boxes.size and boxes.shape[-1] != 4:
        raise ValueError(f"boxes have the shape {boxes.shape}; (n, 4) is needed")
    return boxes.reshape(-1, 4)
