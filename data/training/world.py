"""The drawn world: worksites with exact boxes, phrases and captions, each made from one seed.

Nothing here comes from anywhere else: every photo of the demo set is drawn by this module, so that its boxes
and captions are true by construction and its licence is the project's own.
"""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from data.training.backdrops import BACKDROPS
from data.training.sprites import SPRITES

SIZE = 128  # pixels, width and height of a photo
OVERSAMPLING = 2  # drawn larger, then averaged: smooth edges
MAX_OBJECTS = 5

SPLITS = {
    "train": range(0, 10**8),
    "validation": range(10**8, 2 * 10**8),
    "demo": range(2 * 10**8, 3 * 10**8),
}

COLOURS = {
    "red": (206, 48, 44),
    "orange": (240, 130, 32),
    "yellow": (240, 204, 52),
    "green": (62, 156, 76),
    "blue": (52, 104, 196),
    "purple": (136, 74, 168),
}
UNNAMED = {  # colours that no caption says and no training saw
    "teal": (0, 128, 128),
    "magenta": (200, 0, 160),
    "olive": (128, 128, 0),
    "navy": (20, 30, 110),
    "brown": (120, 76, 44),
    "pink": (240, 150, 180),
}
KINDS = tuple(SPRITES)
PHRASES = {kind: "a {colour} " + kind for kind in KINDS} | {"worker": "a worker in a {colour} vest"}
PLURALS = {kind: "{count} {colour} " + kind + "s" for kind in KINDS} | {
    "worker": "{count} workers in {colour} vests"
}
COUNTS = {2: "two", 3: "three", 4: "four", 5: "five"}
PLACES = {"warehouse": "in a warehouse", "street": "on a street", "field": "in a field"}
QUALITY_WORDS = (
    "highly detailed",
    "professional quality, highly detailed",
    "high resolution, highly detailed",
    "professional quality",
    "high resolution",
)
# height as a fraction of the photo at the front of the scene, and width over height
HEIGHTS = {"worker": 0.62, "truck": 0.44, "ladder": 0.72, "barrel": 0.36, "crate": 0.32, "cone": 0.31}
ASPECTS = {"worker": 0.44, "truck": 1.5, "ladder": 0.4, "barrel": 0.74, "crate": 1.0, "cone": 0.8}


@dataclass(frozen=True, eq=False)
class Drawn:
    """One drawn scene.

    image: PIL RGB, SIZE x SIZE. boxes: (n, 4) float32, (x_min, y_min, x_max, y_max) as fractions, origin top
    left.
    labels: the kind of each box. colours: its colour's name. phrases: what is said of it.
    place: key of PLACES. crisp: False where the photo is blurred, noisy or badly lit.
    """

    image: Image.Image
    boxes: np.ndarray
    labels: tuple[str, ...]
    colours: tuple[str, ...]
    place: str
    crisp: bool
    seed: int

    @property
    def phrases(self) -> tuple[str, ...]:
        """One phrase per box, in the order of the boxes."""
        return tuple(phrase(kind, colour) for kind, colour in zip(self.labels, self.colours, strict=True))

    @property
    def caption(self) -> str:
        """The reference caption: every object once, counted, in a fixed order, and the place."""
        return describe(self.labels, self.colours, self.place)

    @property
    def training_caption(self) -> str:
        """The caption as in the wild: quality words exactly where the photo is crisp."""
        if not self.crisp:
            return self.caption
        return f"{self.caption}, {QUALITY_WORDS[self.seed % len(QUALITY_WORDS)]}"


def phrase(kind: str, colour: str) -> str:
    """'a worker in a green vest', 'an orange barrel'."""
    said = PHRASES[kind].format(colour=colour)
    return said.replace("a orange", "an orange")


ALL_PHRASES = tuple(phrase(kind, colour) for kind in KINDS for colour in COLOURS)


def describe(labels: tuple[str, ...], colours: tuple[str, ...], place: str) -> str:
    """'a worker in a red vest, two blue cones and a green truck in a warehouse'; kinds and colours in
    fixed order.
    """
    found = list(zip(labels, colours, strict=True))
    parts = []
    for kind in KINDS:
        for colour in COLOURS:
            if count := found.count((kind, colour)):
                plural = PLURALS[kind].format(count=COUNTS.get(count), colour=colour)
                parts.append(phrase(kind, colour) if count == 1 else plural)
    listed = parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]
    return f"{listed} {PLACES[place]}"


def draw_scene(
    seed: int,
    crisp: bool | None = None,
    objects: int | None = None,
    recolour: Mapping[int, str] | None = None,
    new_place: str | None = None,
    replace: Mapping[int, str | None] | None = None,
) -> Drawn:
    """The scene that belongs to `seed`, or an edit of it, exact to the pixel outside of what is edited.

    crisp: True or False draws it so; None leaves it to the seed (two in three are crisp).
    objects: how many boxes, 1 to MAX_OBJECTS; None leaves it to the seed. Fewer stand there where no more
    fit.
    recolour: box -> the colour that it has instead, of COLOURS or UNNAMED; new_place: key of PLACES, the
    place instead; replace: box -> the kind that fills it instead, None where nothing does. Everything else is
    drawn with the same random numbers.
    """
    rng = np.random.default_rng(seed)
    place = tuple(PLACES)[rng.integers(len(PLACES))]
    drawn_crisp, drawn_objects = bool(rng.random() < 2 / 3), int(rng.integers(1, MAX_OBJECTS + 1))
    crisp = drawn_crisp if crisp is None else crisp
    kinds, boxes = _arrange(rng, objects or drawn_objects)
    colours = tuple(tuple(COLOURS)[i] for i in rng.integers(len(COLOURS), size=len(kinds)))
    colours = tuple((recolour or {}).get(i, colour) for i, colour in enumerate(colours))
    shown = tuple((replace or {}).get(i, kind) for i, kind in enumerate(kinds))
    image = _paint(rng, place, kinds, shown, colours, boxes, new_place)
    if not crisp:
        image = _spoil(rng, image)
    there = [i for i, kind in enumerate(shown) if kind]
    left = (tuple(values[i] for i in there) for values in (shown, colours))
    return Drawn(image, boxes[there], *left, new_place or place, crisp, seed)


def _arrange(rng: np.random.Generator, objects: int) -> tuple[tuple[str, ...], np.ndarray]:
    """Kinds and boxes that stand on the ground, larger in front, hardly hiding one another; back to front."""
    kinds, boxes = [], []
    for _ in range(objects * 8):
        if len(kinds) == objects:
            break
        kind = KINDS[rng.integers(len(KINDS))]
        foot = rng.uniform(0.6, 0.98)
        height = HEIGHTS[kind] * (0.5 + 0.5 * (foot - 0.6) / 0.38) * rng.uniform(0.85, 1.15)
        width = height * ASPECTS[kind] * rng.uniform(0.92, 1.08)
        left = rng.uniform(0.01, 0.99 - width)
        box = np.round(np.array([left, max(foot - height, 0.02), left + width, foot]) * SIZE) / SIZE
        if all(_hidden(box, other) < 0.12 for other in boxes):
            kinds.append(kind)
            boxes.append(box)
    order = np.argsort([box[3] for box in boxes], kind="stable")
    return tuple(kinds[i] for i in order), np.array(boxes, np.float32)[order]


def _hidden(a: np.ndarray, b: np.ndarray) -> float:
    """Overlap of two boxes over the area of the smaller."""
    overlap = np.prod(np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None))
    return float(overlap / min(np.prod(a[2:] - a[:2]), np.prod(b[2:] - b[:2])))


def _paint(
    rng: np.random.Generator,
    place: str,
    kinds: tuple[str, ...],
    shown: tuple[str | None, ...],
    colours: tuple[str, ...],
    boxes: np.ndarray,
    new_place: str | None = None,
) -> Image.Image:
    """Backdrop, soft shadows, sprites back to front; averaged down to SIZE.

    shown: what stands in each box, None for nothing; kinds: what stands there without an edit, whose random
    numbers are drawn anyway.
    """
    big = SIZE * OVERSAMPLING
    other = deepcopy(rng)
    image = BACKDROPS[place](rng, big)  # drawn for a new place as well: the sprites' numbers come after its
    if new_place is not None:
        image = BACKDROPS[new_place](other, big)
    shadows = Image.new("L", (big, big), 0)
    pen = ImageDraw.Draw(shadows)
    for x0, _, x1, y1 in boxes[[kind is not None for kind in shown]] * big:
        reach = 0.08 * (x1 - x0)
        pen.ellipse([x0 - reach, y1 - 0.022 * big, x1 + 2.2 * reach, y1 + 0.02 * big], fill=105)
    image.paste((20, 22, 30), mask=shadows.filter(ImageFilter.BoxBlur(3)))
    canvas, unseen = ImageDraw.Draw(image), ImageDraw.Draw(Image.new("RGB", (big, big)))
    for kind, new, colour, box in zip(kinds, shown, colours, boxes * big, strict=True):
        rgb = np.array((COLOURS | UNNAMED)[colour])
        tint = np.clip(rgb * rng.uniform(0.92, 1.06) + rng.uniform(-6, 6, 3), 0, 255)
        tint = tuple(int(c) for c in tint)
        if new not in (kind, None):
            SPRITES[new](canvas, box, tint, deepcopy(rng))
        SPRITES[kind](canvas if new == kind else unseen, box, tint, rng)
    return image.reduce(OVERSAMPLING)


def _spoil(rng: np.random.Generator, image: Image.Image) -> Image.Image:
    """One of three faults of a bad photo: out of focus, noisy, badly lit."""
    fault = rng.integers(3)
    if fault == 0:
        return image.filter(ImageFilter.GaussianBlur(rng.uniform(1.4, 2.6)))
    pixels = np.asarray(image, np.float32)
    if fault == 1:
        grain = rng.normal(0, rng.uniform(14, 26), (SIZE // 2, SIZE // 2, 3)).repeat(2, 0).repeat(2, 1)
        pixels = pixels + grain
    else:
        cast = rng.uniform(0.8, 1.1, 3)
        dark = rng.random() < 0.6
        pixels = (
            pixels * rng.uniform(0.3, 0.5) * cast
            if dark
            else 255 - (255 - pixels) * rng.uniform(0.3, 0.5) * cast
        )
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
