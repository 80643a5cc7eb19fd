"""Boxes on pictures, and pictures in grids."""

import colorsys
import hashlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFont

from helpers.scenes import boxes as rectangles


def colour_of(label: str) -> str:
    """A strong colour for a label, "#rrggbb", the same in every picture, run and session."""
    digest = hashlib.sha256(label.encode()).digest()
    hue, lightness = digest[0] / 256, (0.38, 0.5, 0.62)[digest[1] % 3]
    return "#" + "".join(f"{round(255 * part):02x}" for part in colorsys.hls_to_rgb(hue, lightness, 0.85))


def draw_boxes(
    image: Image.Image, boxes: np.ndarray, labels: Sequence[str], colours: Sequence[str] | None = None
) -> Image.Image:
    """A copy of a picture with its boxes (n, 4) as outlines and a tag with the label on each.

    An empty label has no tag. colours: one a box; left out, each label has its own. Small boxes are drawn
    over large ones. A tag takes a free place at its box; in a crowd without one the colour alone tells the
    label.
    Raises ValueError when labels or colours are not as many as the boxes.
    """
    boxes = rectangles.clip(boxes)
    colours = [colour_of(label) for label in labels] if colours is None else colours
    if not len(boxes) == len(labels) == len(colours):
        raise ValueError(
            f"{len(boxes)} boxes, {len(labels)} labels and {len(colours)} colours; give one a box"
        )
    image = image.convert("RGB")
    pen, font = ImageDraw.Draw(image), _font(max(10, min(image.size) // 40))
    line, taken = max(1, min(image.size) // 200), []
    corners = rectangles.to_pixels(boxes, *image.size).tolist()
    order = np.argsort(-rectangles.area(boxes), kind="stable")
    for index in order:
        x_min, y_min, x_max, y_max = corners[index]
        pen.rectangle((x_min, y_min, x_max - 1, y_max - 1), outline=colours[index], width=line)
    for index in (
        index for index in order[::-1] if labels[index]
    ):  # the small boxes have fewer places for a tag, so they choose first
        tag = _place_tag(corners[index], _tag_size(labels[index], font), image.size, taken)
        if tag is not None:
            taken.append(tag)
            pen.rectangle(tag, fill=colours[index])
            pen.text((tag[0] + 2, tag[1] + 1), labels[index], fill=_ink_on(colours[index]), font=font)
    return image


def grid(
    images: Sequence[Image.Image], columns: int, captions: Sequence[str] | None = None, padding: int = 8
) -> Image.Image:
    """Pictures in rows of `columns`, on white, each centred in a cell of the largest one's size.

    captions: one a picture, written below it and wrapped to its cell. padding: pixels around every cell.
    Raises ValueError without pictures, without columns, or when captions are not as many as the pictures.
    """
    if not images or columns < 1 or (captions is not None and len(captions) != len(images)):
        raise ValueError(
            f"{len(images)} pictures in {columns} columns with "
            f"{'no' if captions is None else len(captions)} captions; give one a picture"
        )
    columns = min(columns, len(images))
    width, height = max(image.width for image in images), max(image.height for image in images)
    font = _font(max(10, width // 32))
    texts = [_wrap(caption, font, width) for caption in captions] if captions else [""] * len(images)
    line = _tag_size("Ag", font)[1] + 2
    below = max(text.count("\n") + 1 for text in texts) * line if captions else 0
    rows = -(-len(images) // columns)
    step = (width + padding, height + below + padding)
    sheet = Image.new("RGB", (columns * step[0] + padding, rows * step[1] + padding), "white")
    pen = ImageDraw.Draw(sheet)
    for index, (image, text) in enumerate(zip(images, texts, strict=True)):
        left, top = padding + index % columns * step[0], padding + index // columns * step[1]
        sheet.paste(
            image.convert("RGB"), (left + (width - image.width) // 2, top + (height - image.height) // 2)
        )
        pen.multiline_text((left, top + height + 2), text, fill="#333333", font=font)
    return sheet


def _place_tag(
    box: list[int], size: tuple[int, int], picture: tuple[int, int], taken: list[tuple[int, int, int, int]]
) -> tuple[int, int, int, int] | None:
    """The first place above, below or in the box that no other tag has; None when all are taken."""
    x_min, y_min, x_max, y_max = box
    width, height = size
    for x in (x_min, x_max - width, (x_min + x_max - width) // 2):
        for y in (y_min - height, y_max, y_min, y_max - height):
            left = min(max(x, 0), max(picture[0] - width, 0))
            top = min(max(y, 0), max(picture[1] - height, 0))
            place = (left, top, left + width - 1, top + height - 1)
            if not any(_overlap(place, other) for other in taken):
                return place
    return None


def _overlap(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> bool:
    return a[0] <= b[2] and b[0] <= a[2] and a[1] <= b[3] and b[1] <= a[3]


def _tag_size(text: str, font: ImageFont.FreeTypeFont) -> tuple[int, int]:
    ascent, descent = font.getmetrics()
    return round(font.getlength(text)) + 4, ascent + descent + 2


def _ink_on(colour: str) -> str:
    red, green, blue = ImageColor.getrgb(colour)[:3]
    return "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else "white"


def _wrap(text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= width or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    return "\n".join(lines)


@lru_cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    # matplotlib brings DejaVu Sans, so pictures look alike on machines with and without fonts
    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf"), size)
