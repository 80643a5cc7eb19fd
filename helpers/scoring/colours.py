"""The colour of the object in a box: measured in a photo, compared with that in a picture. Pure, float64."""

from collections.abc import Iterable, Sequence

import numpy as np

from helpers.scenes import boxes as rectangles
from helpers.scoring.alignment import COLOURS

CHROMA = 40  # of 255, largest less smallest channel: from here on a pixel is saturated
SURROUNDINGS = 0.15  # of its sides, by which a box is grown for them
CELL = 32  # of 255: colours that fall into one such cell of RGB are taken for the same
COMMON = 0.03  # share of the surroundings that a cell of their colours has at least
LEAST = 0.02  # share of a box's pixels that the object's have to be

Colour = tuple[int, int, int] | str  # sRGB, 0 to 255, or why there is none


def object_pixels(picture: np.ndarray, box: Sequence[float]) -> np.ndarray:
    """The pixels (k, 3) of a picture (h, w, 3) uint8 that show the object in a box of fractions.

    Those that are saturated, lie in the ellipse that touches the box's sides, and have a colour that the
    surroundings of the box have not.
    """
    box, (height, width) = np.asarray(box, np.float64), picture.shape[:2]
    sides = np.tile(box[2:] - box[:2], 2) * SURROUNDINGS * np.array([-1, -1, 1, 1])
    (x0, y0, x1, y1), around = rectangles.to_pixels(np.stack([box, box + sides]), width, height)
    part = picture[around[1] : around[3], around[0] : around[2]].astype(int)
    y, x = np.mgrid[around[1] : around[3], around[0] : around[2]] + 0.5
    outside = (x < x0) | (x > x1) | (y < y0) | (y > y1)
    ellipse = ((2 * x - x0 - x1) / (x1 - x0)) ** 2 + ((2 * y - y0 - y1) / (y1 - y0)) ** 2 <= 1
    cells = (part // CELL) @ np.array([64, 8, 1])
    common = np.bincount(cells[outside], minlength=512) > COMMON * outside.sum()
    return part[ellipse & (np.ptp(part, axis=2) >= CHROMA) & ~common[cells]]


def object_colour(picture: np.ndarray, box: Sequence[float]) -> Colour:
    """The median of the object's pixels, or why it has none. picture, box: as of `object_pixels`."""
    pixels, (x0, y0, x1, y1) = object_pixels(picture, box), np.asarray(box, np.float64)
    least = LEAST * (x1 - x0) * (y1 - y0) * picture.shape[0] * picture.shape[1]
    if len(pixels) < max(1, least):
        return (
            f"{len(pixels)} pixels are saturated and unlike the surroundings, at least {least:.0f} are needed"
        )
    return tuple(int(value) for value in np.median(pixels, axis=0))


def rgb_distance(picture: np.ndarray, box: Sequence[float], target: Colour) -> float:
    """Mean Euclidean distance of the object's pixels to the target, in RGB from 0 to 1 (Ge et al. 2023).

    NaN where there is no target. Where the picture has no pixel of an object, that of all pixels of the box.
    """
    if isinstance(target, str):
        return float("nan")
    pixels = object_pixels(picture, box)
    if not len(pixels):
        x0, y0, x1, y1 = rectangles.to_pixels(np.asarray(box)[None], *picture.shape[1::-1])[0]
        pixels = picture[y0:y1, x0:x1].reshape(-1, 3).astype(int)
    return float(np.linalg.norm(pixels - np.array(target), axis=1).mean() / 255)


def nearest_name(target: tuple[int, int, int], names: Iterable[str] = COLOURS) -> str:
    """The name, of `alignment.COLOURS`, whose colour is nearest to sRGB target."""
    return min(names, key=lambda name: np.linalg.norm(np.subtract(COLOURS[name], target)))
