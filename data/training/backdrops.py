"""The three places of the demo world, painted with soft gradients.

A backdrop is `paint(rng, size)` and gives a PIL RGB image of `size` x `size` pixels without objects.
"""

import numpy as np
from PIL import Image, ImageDraw

HORIZON = 0.5  # fraction of the height; objects stand below


def gradient(size: int, *stops: tuple[float, tuple[int, int, int]]) -> Image.Image:
    """A vertical gradient through (fraction of the height, RGB) stops."""
    rows = np.linspace(0, 1, size)
    at, colours = zip(*stops, strict=True)
    column = np.stack([np.interp(rows, at, [c[i] for c in colours]) for i in range(3)], 1)
    return Image.fromarray(column.astype(np.uint8)[:, None]).resize((size, size), Image.Resampling.NEAREST)


def _jitter(rng: np.random.Generator, colour: tuple[int, int, int], amount: int = 8) -> tuple[int, int, int]:
    return tuple(int(np.clip(c + rng.integers(-amount, amount + 1), 0, 255)) for c in colour)


def warehouse(rng: np.random.Generator, size: int) -> Image.Image:
    """A hall: light wall with shelves and a lamp, concrete floor with a painted lane."""
    wall, floor = _jitter(rng, (206, 200, 188)), _jitter(rng, (150, 148, 146))
    image = gradient(
        size,
        (0, tuple(c - 34 for c in wall)),
        (HORIZON - 0.005, wall),
        (HORIZON, tuple(c - 28 for c in floor)),
        (1, tuple(c + 16 for c in floor)),
    )
    pen = ImageDraw.Draw(image)
    beam, left, bays = (122, 124, 132), rng.uniform(0.0, 0.3), int(rng.integers(2, 4))
    right = left + bays * 0.2
    for y in (0.14, 0.3):
        for bay in range(bays):
            if rng.random() < 0.7:
                x, width = left + 0.2 * bay + 0.03, rng.uniform(0.08, 0.14)
                tall = rng.uniform(0.06, 0.1)
                pen.rectangle(
                    [x * size, (y - tall) * size, (x + width) * size, y * size],
                    fill=_jitter(rng, (178, 156, 126)),
                )
        pen.rectangle([left * size, y * size, right * size, (y + 0.018) * size], fill=beam)
    for bay in range(bays + 1):
        x = left + 0.2 * bay
        pen.rectangle([x * size, 0.04 * size, (x + 0.014) * size, HORIZON * size], fill=beam)
    lane = rng.uniform(0.1, 0.8)
    corners = [(lane + 0.05, HORIZON), (lane + 0.08, HORIZON), (lane + 0.02, 1.0), (lane - 0.06, 1.0)]
    pen.polygon([(x * size, y * size) for x, y in corners], fill=(206, 190, 120))
    return image


def street(rng: np.random.Generator, size: int) -> Image.Image:
    """Houses against a pale sky, a pavement, a road with a dashed line."""
    sky = _jitter(rng, (186, 212, 234))
    image = gradient(
        size,
        (0, sky),
        (HORIZON, tuple(min(c + 24, 255) for c in sky)),
        (HORIZON + 0.001, (174, 170, 164)),
        (HORIZON + 0.08, (186, 182, 176)),
        (HORIZON + 0.081, (92, 94, 100)),
        (1, (118, 120, 126)),
    )
    pen, x = ImageDraw.Draw(image), rng.uniform(-0.1, 0)
    while x < 1:
        width, top = rng.uniform(0.18, 0.32), rng.uniform(0.08, 0.28)
        front = _jitter(rng, [(196, 168, 146), (168, 172, 182), (208, 194, 168)][rng.integers(3)])
        pen.rectangle([x * size, top * size, (x + width) * size, HORIZON * size], fill=front)
        pen.rectangle(
            [x * size, top * size, (x + width) * size, (top + 0.018) * size],
            fill=tuple(c - 40 for c in front),
        )
        for row in np.arange(top + 0.05, HORIZON - 0.06, 0.1):
            for column in np.arange(x + 0.03, x + width - 0.05, 0.085):
                window = [column * size, row * size, (column + 0.04) * size, (row + 0.055) * size]
                pen.rectangle(window, fill=(108, 128, 150))
        x += width
    offset = rng.uniform(0, 0.25)
    for dash in np.arange(-0.25, 1.1, 0.25):
        a, b = dash + offset, dash + offset + 0.13
        pen.polygon(
            [(v * size, y * size) for v, y in ((a, 0.775), (b, 0.775), (b + 0.01, 0.8), (a + 0.01, 0.8))],
            fill=(226, 224, 214),
        )
    return image


def field(rng: np.random.Generator, size: int) -> Image.Image:
    """Blue sky with a sun or clouds, hills, and grass."""
    grass = _jitter(rng, (132, 164, 88))
    image = gradient(
        size,
        (0, _jitter(rng, (112, 172, 226))),
        (HORIZON, (206, 228, 240)),
        (HORIZON + 0.001, tuple(c - 14 for c in grass)),
        (1, tuple(c + 18 for c in grass)),
    )
    pen = ImageDraw.Draw(image)
    if rng.random() < 0.5:
        x, y = rng.uniform(0.1, 0.9), rng.uniform(0.08, 0.2)
        pen.ellipse(
            [(x - 0.06) * size, (y - 0.06) * size, (x + 0.06) * size, (y + 0.06) * size], fill=(255, 244, 190)
        )
    for _ in range(int(rng.integers(1, 3))):
        x, y = rng.uniform(0, 0.8), rng.uniform(0.06, 0.24)
        for dx, dy, r in ((0, 0.02, 0.04), (0.05, 0, 0.055), (0.11, 0.02, 0.04)):
            pen.ellipse(
                [
                    (x + dx - r) * size,
                    (y + dy - r * 0.6) * size,
                    (x + dx + r) * size,
                    (y + dy + r * 0.6) * size,
                ],
                fill=(250, 250, 250),
            )
    for tone in ((136, 172, 132), (120, 156, 100)):
        x, width, height = rng.uniform(-0.2, 0.7), rng.uniform(0.6, 1.0), rng.uniform(0.1, 0.22)
        hill = [x * size, (HORIZON - height / 2) * size, (x + width) * size, (HORIZON + height / 2) * size]
        pen.pieslice(hill, 180, 360, fill=_jitter(rng, tone))
    for _ in range(14):
        x, y = rng.uniform(0, 1), rng.uniform(HORIZON + 0.06, 0.98)
        pen.line(
            [x * size, y * size, (x + 0.012) * size, (y - 0.025) * size],
            fill=tuple(c - 34 for c in grass),
            width=2,
        )
    return image


BACKDROPS = {"warehouse": warehouse, "street": street, "field": field}
