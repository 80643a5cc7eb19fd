"""A picture under its boxes: as HTML for the page, and many as one raster picture for notebooks."""

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from textwrap import fill

import numpy as np
from markupsafe import Markup
from PIL import Image, ImageDraw

from helpers.parameters import threads
from helpers.scenes import boxes
from helpers.scenes.scenes import Scene
from helpers.scoring.adherence import Detections

SIDES = (256, 512)  # pixels: pictures are embedded with a longer side in this range
QUALITY = 55  # of AVIF: two fifths of the bytes of WebP at its usual quality of 80, and as good to the eye
SIDE, GAP, LINE = 240, 8, 15  # pixels in a sheet: width of a picture, between two, of a line of text
MOST_COLUMNS, WRAP = 6, 34  # pictures per row; letters per line below one


@dataclass(frozen=True)
class Figure:
    """A picture of a scene under the scene's boxes.

    name: which picture it is; lines: what stands below the name; marks: as in `boxes.overlay`; colours: of
    all labels that are shown together; data: attributes that the page's script reads; most: pixels of the
    longer side at most; found: the detector's own boxes, as `detected` gives them; ink: their colour.
    """

    image: Image.Image
    scene: Scene
    name: str
    lines: Sequence[str] = ()
    marks: Sequence[str] | None = None
    colours: Mapping[str, str] = field(default_factory=dict)
    data: Mapping[str, object] = field(default_factory=dict)
    most: int = SIDES[1]
    found: Sequence[tuple[str, np.ndarray, float]] = ()
    ink: str = "#ffffff"

    @cached_property
    def address(self) -> str:
        """The picture, encoded."""
        return as_data(self.image, self.most)

    @property
    def aspect(self) -> float:
        """Height over width."""
        return self.image.height / self.image.width

    @property
    def shades(self) -> list[str]:
        """The colour of each box."""
        known = self.colours or boxes.colours_of(self.scene.labels)
        return [known[label] for label in self.scene.labels]

    @property
    def overlay(self) -> Markup:
        """The boxes that were asked for as SVG, see `boxes.overlay`."""
        scene = self.scene
        return Markup(boxes.overlay(scene.boxes, scene.labels, self.aspect, self.shades, self.marks))

    @property
    def own_boxes(self) -> Markup:
        """The detector's own boxes as SVG of class `detected`, each with its IoU."""
        box = '<g><title>{}</title><rect x="{:.2f}" y="{:.2f}" width="{:.2f}" height="{:.2f}" fill="none" '
        box += 'stroke="{}" stroke-width=".5"/><text {} x="{:.2f}" y="{:.2f}">{:.2f}</text></g>'
        text, height, said, parts = Markup(boxes.TEXT.replace("4.4", "3.6")), 100 * self.aspect, [], []
        for label, (x, y, x_max, y_max), iou in self.found:
            said.append(f"{label}, IoU {iou:.2f}")
            place = (100 * x, height * y, 100 * (x_max - x), height * (y_max - y))
            at = (100 * x + 0.8, min(height * y_max + 3.4, height - 0.8), iou)
            parts.append(Markup(box).format(said[-1], *place, self.ink, text, *at))
        svg = '<svg class="detected" style="{}" viewBox="0 0 100 {:.2f}" role="img" aria-label="{}">{}</svg>'
        summary = f"boxes of the detector: {'; '.join(said)}"
        return Markup(svg).format(boxes.OVER, height, summary, Markup().join(parts)) if parts else Markup()


def detected(asked: Scene, found: Detections, ious: Sequence[float]) -> list[tuple[str, np.ndarray, float]]:
    """Label, box and IoU of the found boxes that were matched to asked ones; ious: of the asked boxes, 0 or
    None where nothing was."""
    overlaps, own = boxes.iou(asked.boxes, found.boxes), []
    for label, iou, row in zip(asked.labels, ious, overlaps, strict=True):
        near = [k for k, one in enumerate(found.labels) if one == label and iou and abs(row[k] - iou) < 1e-6]
        own += [(label, found.boxes[k], iou) for k in near[:1]]
    return own


def encode(figures: Iterable[Figure]) -> None:
    """Encode the pictures of all figures side by side, for whoever asks for their addresses next."""
    figures = list(figures)
    with ThreadPoolExecutor(threads()) as pool:
        addresses = pool.map(lambda one: as_data(one.image, one.most), figures)
        for figure, address in zip(figures, addresses, strict=True):
            vars(figure)["address"] = address  # until Python 3.12 all cached properties share one lock


def as_data(image: Image.Image, most: int = SIDES[1]) -> str:
    """A picture as a `data:` address: AVIF, smaller ones enlarged smoothly, larger ones reduced.

    At the lower of SIDES, where pictures are many, none is enlarged, and all are encoded fast.
    """
    longer, many = max(image.size), most == SIDES[0]
    scale = min(longer if many else max(longer, SIDES[0]), most) / longer
    size = tuple(max(1, round(side * scale)) for side in image.size)
    file = io.BytesIO()
    image.resize(size, Image.Resampling.LANCZOS).save(
        file, "AVIF", quality=QUALITY, speed=9 if many else 8, max_threads=1
    )
    return "data:image/avif;base64," + base64.b64encode(file.getvalue()).decode()


def sheet(rows: Sequence[tuple[str, Sequence[Figure]]]) -> tuple[str, bytes]:
    """A JPEG of rows of pictures, each with its boxes, name and lines. rows: title and pictures.

    A row of more than MOST_COLUMNS pictures goes on below. Returns (media type, file).
    """
    rows = [
        (title if start == 0 else "", figures[start : start + MOST_COLUMNS])
        for title, figures in rows
        for start in range(0, len(figures), MOST_COLUMNS)
    ]
    strips = [_strip(title, figures) for title, figures in rows]
    page = Image.new("RGB", (max(one.width for one in strips), sum(one.height for one in strips)), "white")
    for place, strip in enumerate(strips):
        page.paste(strip, (0, sum(one.height for one in strips[:place])))
    page.save(file := io.BytesIO(), "JPEG", quality=80)
    return "image/jpeg", file.getvalue()


def _strip(title: str, figures: Sequence[Figure]) -> Image.Image:
    """One row: the title above, and below each picture its text."""
    pictures = [_drawn(figure) for figure in figures]
    texts, top = [_text(figure) for figure in figures], LINE * bool(title) + GAP
    below = top + max(picture.height for picture in pictures) + GAP
    height = below + LINE * max(text.count("\n") + 1 for text in texts) + GAP
    strip = Image.new("RGB", (GAP + (SIDE + GAP) * len(figures), height), "white")
    draw = ImageDraw.Draw(strip)
    draw.text((GAP, GAP), title, "black", boxes.font(12))
    for place, (picture, text) in enumerate(zip(pictures, texts, strict=True)):
        x = GAP + (SIDE + GAP) * place
        strip.paste(picture, (x, top))
        draw.multiline_text((x, below), text, "black", boxes.font(11), spacing=LINE - 11)
    return strip


def _drawn(figure: Figure) -> Image.Image:
    size = SIDE, max(1, round(SIDE * figure.aspect))
    image, scene = figure.image.convert("RGB").resize(size, Image.Resampling.LANCZOS), figure.scene
    return boxes.draw_boxes(image, scene.boxes, [""] * len(scene.labels), figure.shades, figure.marks)


def _text(figure: Figure) -> str:
    lines = (line.striptags() if isinstance(line, Markup) else line for line in figure.lines)
    return "\n".join(fill(line, WRAP) for line in (figure.name, *lines))
