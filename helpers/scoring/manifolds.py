"""Precision and recall of a set of pictures (Kynkäänniemi et al. 2019), on arrays of features. Pure, float64.

The manifold of a set is the union of balls around its members, each as wide as the distance to its k-th
nearest neighbour in the set. Precision is the share of pictures in the photos' manifold (do they look like
photos?), recall the share of photos in the pictures' manifold (is every kind of photo there?).
"""

from dataclasses import dataclass

import numpy as np

NEIGHBOURS = 3  # k, as in the paper


@dataclass(frozen=True, eq=False)
class Manifolds:
    """precision, recall: in [0, 1]; ..._left_out: (n,) without scene i, for `intervals.jackknife`.

    inside: (2, n) bool, picture i in the photos' manifold and photo i in the pictures', for
    `shares.share_interval(inside[k], np.ones(n))`, which takes the manifolds themselves as given.
    """

    precision: float
    recall: float
    precision_left_out: np.ndarray
    recall_left_out: np.ndarray
    inside: np.ndarray


def manifolds(
    pictures: np.ndarray, photos: np.ndarray, k: int = NEIGHBOURS, own_pairs: bool = True
) -> Manifolds:
    """Precision and recall of pictures against photos, exactly, and without each scene.

    pictures, photos: (n, d), row i the same scene. own_pairs=False: a picture does not count as inside by its
    own photo's ball alone, nor a photo by its own picture's: what was made from a photo lies near it. Compare
    only the same n and k. Memory is three n x n matrices. Raises ValueError for fewer than k + 3 scenes,
    shapes that differ, NaN.
    """
    a, b = (np.asarray(x, np.float64) for x in (pictures, photos))
    if a.ndim != 2 or a.shape != b.shape:
        raise ValueError(
            f"row i of both sets must be the same scene, but the shapes are {a.shape} and {b.shape}"
        )
    if len(a) < k + 3:
        raise ValueError(f"manifolds of {k} neighbours need at least {k + 3} scenes, got {len(a)}")
    for name, x in (("pictures", a), ("photos", b)):
        if not (finite := np.isfinite(x).all(1)).all():
            raise ValueError(f"the {name} have NaN or infinite features in row {int(np.argmin(finite))}")
    centre = b.mean(0)
    a, b = a - centre, b - centre
    across = _squares(a, b)
    if not own_pairs:
        np.fill_diagonal(across, np.inf)
    precision, recall = _share_inside(across, _squares(b, b), k), _share_inside(across.T, _squares(a, a), k)
    return Manifolds(precision[0], recall[0], precision[1], recall[1], np.stack([precision[2], recall[2]]))


def _squares(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Squared distances of every row of a to every row of b, (n_a, n_b)."""
    return np.maximum(0, np.square(a).sum(1)[:, None] + np.square(b).sum(1) - 2 * a @ b.T)


def _share_inside(across: np.ndarray, within: np.ndarray, k: int) -> tuple[float, np.ndarray, np.ndarray]:
    """Share of rows that lie in a ball of `within`'s set, the same without each scene, and which rows do.

    across: (n, n) of row i to centre j. A scene that leaves takes its row and its ball with it, and the balls
    that it was among the k nearest of reach to the next neighbour.
    """
    n = len(within)
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
    return float((count > 0).mean()), left_out, count > 0
