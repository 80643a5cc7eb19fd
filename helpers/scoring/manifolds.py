"""Precision and recall of a set of pictures (Kynkäänniemi et al. 2019), on arrays of features. Pure, float64.

The manifold of a set is the union of balls around its members, each as wide as the distance to its k-th
nearest neighbour in the set. Precision is the share of pictures in the photos' manifold (do they look like
photos?), recall the share of photos in the pictures' manifold (is every kind of photo there?).
"""

import numpy as np

from helpers.scoring.distances import checked
from helpers.scoring.intervals import Measured

NEIGHBOURS = 3  # k, as in the paper


def manifolds(pictures: np.ndarray, photos: np.ndarray) -> tuple[Measured, Measured]:
    """Precision and recall of pictures against photos, exactly, and without each scene.

    pictures, photos: (n, d), row i the same scene. A picture does not count as inside by its own photo's
    ball alone, nor a photo by its own picture's: what was made from a photo lies near it. sums: (n,) which
    ones are inside, for an interval that takes the manifolds as given. Compare only the same n. Memory is
    three n x n matrices. Raises ValueError for fewer than NEIGHBOURS + 3 scenes, unequal n or d, NaN.
    """
    a, b = checked(pictures, photos, rows=NEIGHBOURS + 3)
    centre = b.mean(0)
    a, b = a - centre, b - centre
    across = _squares(a, b)
    np.fill_diagonal(across, np.inf)
    return _share_inside(across, _squares(b, b)), _share_inside(across.T, _squares(a, a))


def _squares(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Squared distances of every row of a to every row of b, (n_a, n_b)."""
    return np.maximum(0, np.square(a).sum(1)[:, None] + np.square(b).sum(1) - 2 * a @ b.T)


def _share_inside(across: np.ndarray, within: np.ndarray) -> Measured:
    """Share of rows that lie in a ball of `within`'s set.

    across: (n, n) of row i to centre j. A scene that leaves takes its row and its ball with it, and the balls
    that it was among the k nearest of reach to the next neighbour.
    """
    n, k = len(within), NEIGHBOURS
    np.fill_diagonal(within, np.inf)
    nearest = np.argpartition(within, k, axis=1)[:, : k + 1]
    reach = np.take_along_axis(within, nearest, axis=1)
    order = np.argsort(reach, axis=1)
    nearest, reach = (np.take_along_axis(x, order, axis=1) for x in (nearest, reach))
    slack = 1 + 1e-9  # rounding: of two equal distances none is the longer one
    balls = across <= reach[:, k - 1] * slack
    count = balls.sum(1)
    left_out = np.empty(n)
    for i in range(n):
        grown = np.flatnonzero((nearest[:, :k] == i).any(1))
        inside = count - balls[:, i] > 0
        inside |= (across[:, grown] <= reach[grown, k] * slack).any(1)
        left_out[i] = (inside.sum() - inside[i]) / (n - 1)
    return Measured(float((count > 0).mean()), left_out, (count > 0).astype(float), np.ones(n))
