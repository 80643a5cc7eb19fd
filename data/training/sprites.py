"""The six things that stand on the demo worksite, each drawn so that it touches all four sides of its box.

A sprite is `draw(canvas, box, colour, rng)`: `canvas` an `ImageDraw.ImageDraw`, `box` four floats (x_min,
y_min, x_max, y_max) in canvas pixels, `colour` an RGB tuple in 0..255, `rng` a numpy Generator for small
variations. All coordinates inside a sprite are fractions of its box, origin top left.
"""

from collections.abc import Callable

import numpy as np
from PIL import ImageDraw

Colour = tuple[int, int, int]
SKIN = [(241, 205, 172), (214, 163, 122), (164, 112, 78), (112, 74, 52)]
TROUSERS = [(52, 62, 88), (70, 70, 74), (92, 78, 62)]
METAL, TYRE, GLASS = (198, 203, 208), (38, 38, 44), (178, 214, 232)


def shade(colour: Colour, factor: float) -> Colour:
    """`colour` made darker (factor below 1) or mixed with white (above 1, at most 2)."""
    if factor <= 1:
        return tuple(int(c * factor) for c in colour)
    return tuple(int(c + (255 - c) * (factor - 1)) for c in colour)


class Pen:
    """Draws shapes given in fractions of one box; keeps the sprites below free of pixel arithmetic."""

    def __init__(self, canvas: ImageDraw.ImageDraw, box: np.ndarray):
        self.canvas, (self.x, self.y, x_max, y_max) = canvas, box
        self.width, self.height = x_max - self.x - 1, y_max - self.y - 1

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Canvas pixels of the fraction (x, y) of the box."""
        return self.x + x * self.width, self.y + y * self.height

    def polygon(self, colour: Colour, *points: tuple[float, float]) -> None:
        """A filled polygon through `points`."""
        self.canvas.polygon([self.at(*p) for p in points], fill=colour)

    def rectangle(
        self, colour: Colour, x0: float, y0: float, x1: float, y1: float, radius: float = 0
    ) -> None:
        """A filled rectangle; `radius` of its corners as a fraction of the box's smaller side."""
        rounding = radius * min(self.width, self.height)
        self.canvas.rounded_rectangle([*self.at(x0, y0), *self.at(x1, y1)], rounding, fill=colour)

    def ellipse(self, colour: Colour, x0: float, y0: float, x1: float, y1: float) -> None:
        """A filled ellipse."""
        self.canvas.ellipse([*self.at(x0, y0), *self.at(x1, y1)], fill=colour)

    def line(self, colour: Colour, thickness: float, *points: tuple[float, float]) -> None:
        """A line; `thickness` as a fraction of the box's width."""
        self.canvas.line(
            [self.at(*p) for p in points], fill=colour, width=max(2, round(thickness * self.width))
        )

    def drum(self, colour: Colour, x0: float, y0: float, x1: float, y1: float, strips: int = 12) -> None:
        """A rectangle shaded like a standing cylinder, light from the left."""
        for i in range(strips):
            a, b = i / strips, (i + 1) / strips
            light = 0.62 + 0.62 * np.exp(-(((a + b) / 2 - 0.32) ** 2) / 0.075)
            self.rectangle(shade(colour, min(light, 1.35)), x0 + (x1 - x0) * a, y0, x0 + (x1 - x0) * b, y1)


def worker(canvas: ImageDraw.ImageDraw, box: np.ndarray, colour: Colour, rng: np.random.Generator) -> None:
    """A standing person in a vest of `colour` and a white or yellow helmet."""
    pen, skin = Pen(canvas, box), SKIN[rng.integers(len(SKIN))]
    trousers = TROUSERS[rng.integers(len(TROUSERS))]
    helmet = [(246, 246, 240), (250, 214, 70)][rng.integers(2)]
    sleeve = (96, 108, 128)
    pen.polygon(
        trousers,
        (0.24, 0.56),
        (0.76, 0.56),
        (0.82, 0.95),
        (0.56, 0.95),
        (0.5, 0.68),
        (0.44, 0.95),
        (0.18, 0.95),
    )
    pen.rectangle(TYRE, 0.1, 0.94, 0.46, 1.0, 0.05)
    pen.rectangle(TYRE, 0.54, 0.94, 0.9, 1.0, 0.05)
    pen.polygon(sleeve, (0.2, 0.27), (0.3, 0.25), (0.22, 0.56), (0.0, 0.56), (0.04, 0.4))
    pen.polygon(shade(sleeve, 0.8), (0.8, 0.27), (0.7, 0.25), (0.78, 0.56), (1.0, 0.56), (0.96, 0.4))
    pen.ellipse(skin, 0.0, 0.53, 0.2, 0.61)
    pen.ellipse(skin, 0.8, 0.53, 1.0, 0.61)
    pen.polygon(colour, (0.22, 0.25), (0.78, 0.25), (0.8, 0.6), (0.2, 0.6))
    pen.polygon(shade(colour, 0.78), (0.62, 0.25), (0.78, 0.25), (0.8, 0.6), (0.66, 0.6))
    pen.rectangle((244, 244, 226), 0.2, 0.45, 0.8, 0.5)
    pen.rectangle((244, 244, 226), 0.34, 0.25, 0.42, 0.45)
    pen.rectangle((232, 232, 214), 0.6, 0.25, 0.68, 0.45)
    pen.ellipse(skin, 0.29, 0.05, 0.71, 0.25)
    pen.canvas.pieslice([*pen.at(0.24, 0.0), *pen.at(0.76, 0.22)], 180, 360, fill=helmet)
    pen.rectangle(shade(helmet, 0.86), 0.18, 0.095, 0.82, 0.125, 0.02)


def cone(canvas: ImageDraw.ImageDraw, box: np.ndarray, colour: Colour, rng: np.random.Generator) -> None:
    """A traffic cone of `colour` with two white bands."""
    pen = Pen(canvas, box)
    left = lambda y: 0.5 - 0.07 - 0.28 * y  # noqa: E731 - the slanted side, as x over y
    pen.rectangle(shade(colour, 0.7), 0.0, 0.88, 1.0, 1.0, 0.06)
    pen.polygon(colour, (left(0), 0.0), (1 - left(0), 0.0), (1 - left(0.9), 0.92), (left(0.9), 0.92))
    for top, bottom in ((0.26, 0.42), (0.58, 0.74)):
        sides = (left(top), top), (1 - left(top), top), (1 - left(bottom), bottom), (left(bottom), bottom)
        pen.polygon((248, 246, 240), *sides)
    pen.polygon(shade(colour, 0.66), (0.56, 0.0), (1 - left(0), 0.0), (1 - left(0.9), 0.92), (0.68, 0.92))
    for top, bottom in ((0.26, 0.42), (0.58, 0.74)):
        inner = lambda y: 0.56 + 0.13 * y  # noqa: E731 - where the shaded side begins
        sides = (inner(top), top), (1 - left(top), top), (1 - left(bottom), bottom), (inner(bottom), bottom)
        pen.polygon((206, 204, 200), *sides)


def crate(canvas: ImageDraw.ImageDraw, box: np.ndarray, colour: Colour, rng: np.random.Generator) -> None:
    """A boarded crate of `colour` with a cross on its front."""
    pen, frame, dark = Pen(canvas, box), shade(colour, 1.22), shade(colour, 0.62)
    pen.rectangle(shade(colour, 0.86), 0.0, 0.0, 1.0, 1.0)
    for y in (0.33, 0.66):
        pen.line(dark, 0.03, (0.0, y), (1.0, y))
    for a, b in (((0.1, 0.1), (0.9, 0.9)), ((0.9, 0.1), (0.1, 0.9))):
        pen.line(dark, 0.17, a, b)
        pen.line(frame, 0.11, a, b)
    for x0, y0, x1, y1 in ((0, 0, 1, 0.13), (0, 0.87, 1, 1), (0, 0, 0.13, 1), (0.87, 0, 1, 1)):
        pen.rectangle(frame, x0, y0, x1, y1)
    pen.rectangle(shade(colour, 1.4), 0.0, 0.0, 1.0, 0.04)
    pen.rectangle(dark, 0.0, 0.96, 1.0, 1.0)
    pen.rectangle(dark, 0.97, 0.0, 1.0, 1.0)


def barrel(canvas: ImageDraw.ImageDraw, box: np.ndarray, colour: Colour, rng: np.random.Generator) -> None:
    """A steel drum of `colour` with two ribs and a lid."""
    pen = Pen(canvas, box)
    pen.ellipse(shade(colour, 0.6), 0.0, 0.84, 1.0, 1.0)
    pen.drum(colour, 0.0, 0.08, 1.0, 0.92)
    for y in (0.36, 0.64):
        pen.rectangle(shade(colour, 0.55), 0.0, y, 1.0, y + 0.035)
        pen.rectangle(shade(colour, 1.45), 0.0, y - 0.03, 1.0, y)
    pen.ellipse(shade(colour, 1.3), 0.0, 0.0, 1.0, 0.16)
    pen.ellipse(shade(colour, 0.72), 0.1, 0.025, 0.9, 0.135)


def truck(canvas: ImageDraw.ImageDraw, box: np.ndarray, colour: Colour, rng: np.random.Generator) -> None:
    """A lorry seen from the side, cab and box of `colour`, facing left or right."""
    pen = Pen(canvas, box)
    flip = rng.integers(2) == 1
    x = (lambda v: 1 - v) if flip else (lambda v: v)
    span = lambda a, b: sorted((x(a), x(b)))  # noqa: E731 - an interval, mirrored where the lorry is
    for (a, b), (top, bottom), tone in (
        (span(0.0, 0.66), (0.0, 0.74), 1.0),
        (span(0.0, 0.66), (0.0, 0.07), 1.4),
        (span(0.0, 0.66), (0.64, 0.74), 0.7),
        (span(0.69, 1.0), (0.42, 0.82), 0.92),
    ):
        pen.rectangle(shade(colour, tone), a, top, b, bottom)
    for v in (0.165, 0.33, 0.495):
        pen.line(shade(colour, 0.8), 0.012, (x(v), 0.09), (x(v), 0.63))
    pen.polygon(
        shade(colour, 1.08), (x(0.69), 0.2), (x(0.88), 0.2), (x(1.0), 0.46), (x(1.0), 0.8), (x(0.69), 0.8)
    )
    pen.polygon(GLASS, (x(0.74), 0.26), (x(0.86), 0.26), (x(0.945), 0.46), (x(0.74), 0.46))
    a, b = span(0.0, 1.0)
    pen.rectangle((70, 72, 78), a, 0.76, b, 0.84)
    a, b = span(0.96, 1.0)
    pen.rectangle((252, 236, 150), a, 0.62, b, 0.7)
    wheel = 0.3 * pen.height / pen.width
    for centre in (0.16, 0.46, 0.84):
        pen.ellipse(TYRE, x(centre) - wheel / 2, 0.7, x(centre) + wheel / 2, 1.0)
        pen.ellipse(METAL, x(centre) - wheel / 5, 0.79, x(centre) + wheel / 5, 0.91)


def ladder(canvas: ImageDraw.ImageDraw, box: np.ndarray, colour: Colour, rng: np.random.Generator) -> None:
    """A free-standing ladder of `colour`, seen from the front, wider at its foot."""
    pen, rail = Pen(canvas, box), 0.13
    for y in np.linspace(0.1, 0.9, 6):
        inset = 0.12 * (1 - y)
        pen.line(shade(colour, 0.72), 0.13, (inset + 0.06, y + 0.012), (1 - inset - 0.06, y + 0.012))
        pen.line(shade(colour, 1.15), 0.07, (inset + 0.06, y), (1 - inset - 0.06, y))
    pen.polygon(colour, (0.12, 0.0), (0.12 + rail, 0.0), (rail, 1.0), (0.0, 1.0))
    pen.polygon(shade(colour, 0.8), (0.88 - rail, 0.0), (0.88, 0.0), (1.0, 1.0), (1 - rail, 1.0))


SPRITES: dict[str, Callable[..., None]] = {
    "worker": worker,
    "truck": truck,
    "ladder": ladder,
    "barrel": barrel,
    "crate": crate,
    "cone": cone,
}
