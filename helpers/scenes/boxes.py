"""Rectangles and nothing else.

A box is (x_min, y_min, x_max, y_max) in fractions of the picture's width and height, origin top left. Every
function takes (n, 4) arrays, n = 0 included, and keeps their order.
"""

import numpy as np


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


def largest(boxes: np.ndarray, n: int = 30) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the n largest boxes and of the others, both ascending; among equals the first ones are kept.

    GLIGEN has 30 places for boxes and was trained with the 30 largest.
    """
    by_size = np.argsort(-area(boxes), kind="stable")
    return np.sort(by_size[:n]), np.sort(by_size[n:])


def reproject(boxes: np.ndarray, window: tuple[float, float, float, float]) -> np.ndarray:
    """Boxes as fractions of a window (itself a box) of the picture, clipped to it: (n, 4) float32.

    Boxes outside the window keep no area.
    """
    x_min, y_min, x_max, y_max = window
    width, height = x_max - x_min, y_max - y_min
    return clip((_rows(boxes) - [x_min, y_min, x_min, y_min]) / [width, height, width, height])


def _rows(boxes: np.ndarray) -> np.ndarray:
    # float64 for the arithmetic: float32 sums of fractions are off by a visible part of a pixel at 512
    boxes = np.asarray(boxes, dtype=np.float64)
    if boxes.size and boxes.shape[-1] != 4:
        raise ValueError(f"boxes have the shape {boxes.shape}; (n, 4) is needed")
    return boxes.reshape(-1, 4)
