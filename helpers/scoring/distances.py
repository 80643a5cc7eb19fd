"""How far a set of pictures is from a set of photos, on arrays of features. Pure, float64.

Distances of arms come with their values without scene i (row i of both sets), for every i at once, which is
what `intervals.jackknife` asks for.

Picture i is made from photo i's caption and boxes and resembles it, but these distances are defined for sets
that are independent of each other: a set of pictures that resemble their own photos lies nearer to the photos
than its distribution does. Three forms are free of that: `paired_kid`, `paired_cmmd`, `crossed_frechet`.
"""

import numpy as np

from helpers.scoring import mmd, nuclear
from helpers.scoring.alignment import unit


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Fréchet distance of normal distributions fitted to two feature sets (Heusel et al. 2017, eq. 6).

        |mean_a - mean_b|^2 + tr(S_a) + tr(S_b) - 2 tr sqrt(S_a S_b)

    The last trace is the nuclear norm of A B^T / (n - 1) with A, B the centred features, so no d x d
    covariance is ever made.

    a, b: (n, d). Never negative; exactly 0 for sets of equal rows, in whatever order.
    Biased upwards, the more the smaller n is: compare only distances of the same n.
    Raises ValueError for fewer than 2 rows, unequal n or d, NaN.
    """
    a, b = checked(a, b, rows=2)
    return 0.0 if _same_rows(a, b) else _frechet(a, b, nuclear.norm(a - a.mean(0), b - b.mean(0)))


def paired_frechet(a: np.ndarray, b: np.ndarray) -> tuple[float, np.ndarray]:
    """`frechet_distance`, and the same without row i of both sets, for every i, (n,), at the price of one
    decomposition. Raises ValueError as that, and for n below 3.
    """
    a, b = checked(a, b, rows=3)
    n, shift, (x, y) = len(a), a.mean(0) - b.mean(0), (a - a.mean(0), b - b.mean(0))
    overlap, without = nuclear.without_pair(x, y)
    means = np.square(shift - (x - y) / (n - 1)).sum(1)
    spread = sum(np.vdot(z, z) - n / (n - 1) * np.square(z).sum(1) for z in (x, y))
    left_out = np.maximum(0.0, means + (spread - 2 * without) / (n - 2))
    return 0.0 if _same_rows(a, b) else _frechet(a, b, overlap), left_out


def crossed_frechet(pictures: np.ndarray, photos: np.ndarray) -> tuple[float, np.ndarray]:
    """Fréchet distance of one half's pictures and the other half's photos, the mean over random halvings, and
    that mean without scene i for every i, (n,).

    No picture meets its own photo. Each halving gives two distances (each half's pictures once). The same n
    halves in the same way, so that arms with their scenes in one order stay paired by scene.
    crossed_frechet(photos, photos) is what pictures that are as real as photos would get.

    pictures, photos: (n, d), row i the same scene. Raises ValueError as `frechet_distance`, for n below 6.
    """
    pictures, photos = checked(pictures, photos, rows=6)
    n, rng = len(photos), np.random.default_rng(0)
    values, left_out = [], np.zeros(n)
    # a halving's luck falls with n and its price, two decompositions of n/2 x n/2 matrices, rises
    for _ in range(min(4, max(1, 2000 // n))):
        order = rng.permutation(n)
        first, second = order[: n // 2], order[n // 2 :]
        for a, b in ((first, second), (second, first)):
            value, without_a, without_b = _frechet_without_rows(pictures[a], photos[b])
            values.append(value)
            left_out[a] += without_a
            left_out[b] += without_b
    return float(np.mean(values)), left_out / len(values)


def paired_kid(pictures: np.ndarray, photos: np.ndarray) -> tuple[float, np.ndarray, float]:
    """Kernel Inception distance (Bińkowski et al. 2018): unbiased squared MMD, kernel (x.y / d + 1)^3, all
    pairs and no subsets; the same without scene i for every i, (n,); and the variance over pairs of scenes of
    what a pair adds, for `intervals.quadratic`.

    No picture meets its own photo, so it is unbiased also where row i of one set resembles row i of the
    other; it may be negative. pictures, photos: (n, d), row i the same scene. Raises ValueError for n below
    3, unequal n or d, NaN.
    """
    return mmd.paired(*checked(pictures, photos, rows=3), mmd.cubic)


def kid_halves(photos: np.ndarray, splits: int) -> np.ndarray:
    """KID between two random halves of the photos, (splits,): what equal sets of n // 2 photos show.

    Raises ValueError for fewer than 4 photos.
    """
    return mmd.halves(checked(photos, photos, rows=4)[0], mmd.cubic, splits)


def kid_swaps(a: np.ndarray, b: np.ndarray, photos: np.ndarray) -> np.ndarray:
    """What each scene adds to the `paired_kid` of a less that of b, (n,): their sum is that difference.

    Where the pictures of scene i are swapped between the arms, its part changes its sign and no other part
    changes. So `intervals.sign_flip` of these parts is the exact test that a scene's two pictures could as
    well have come from each other's arm. That is more than equal realism: arms that resemble their own photos
    to different degrees fail it, so a verdict on realism rests on the jackknife.

    a, b, photos: (n, d), row i the same scene. Raises ValueError as `paired_kid`.
    """
    (a, photos), (b, _) = (checked(x, photos, rows=3) for x in (a, b))
    return mmd.swaps(a, b, photos, mmd.cubic)


def paired_cmmd(pictures: np.ndarray, photos: np.ndarray) -> tuple[float, np.ndarray, float]:
    """1000 times the unbiased squared MMD of CLIP features, kernel exp(-|x - y|^2 / (2 * 10^2)), with what
    `paired_kid` gives; rows are scaled to length 1 here.

    CMMD of Jayasumana et al. (2024) is the biased form, on CLIP ViT-L/14 at 336 pixels; so name this one by
    its features. Raises ValueError as `paired_kid`, and for a row of zeros.
    """
    value, left_out, spread = mmd.paired(*map(unit, checked(pictures, photos, rows=3)), mmd.gaussian)
    return 1000 * value, 1000 * left_out, 1000**2 * spread


def cmmd_halves(photos: np.ndarray, splits: int) -> np.ndarray:
    """The same squared MMD between two random halves of the photos, as `kid_halves`."""
    return 1000 * mmd.halves(unit(checked(photos, photos, rows=4)[0]), mmd.gaussian, splits)


def _same_rows(a: np.ndarray, b: np.ndarray) -> bool:
    return sorted(map(np.ndarray.tobytes, a)) == sorted(map(np.ndarray.tobytes, b))


def _frechet(a: np.ndarray, b: np.ndarray, overlap: float) -> float:
    """overlap: the nuclear norm of the centred sets."""
    shift, freedom = a.mean(0) - b.mean(0), np.sqrt((len(a) - 1.0) * (len(b) - 1.0))
    spread = a.var(0, ddof=1).sum() + b.var(0, ddof=1).sum()
    return max(0.0, float(shift @ shift + spread - 2 * overlap / freedom))


def _frechet_without_rows(a: np.ndarray, b: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """The Fréchet distance, and the same without each row of a (n_a,) and without each row of b (n_b,)."""
    centred, shift = (a - a.mean(0), b - b.mean(0)), a.mean(0) - b.mean(0)
    overlap, *without = nuclear.without_row(*centred)
    squares, sizes, left_out = [np.square(x).sum(1) for x in centred], (len(a), len(b)), []
    for k, sign in enumerate((-1, 1)):
        n, other = sizes[k], sizes[1 - k]
        means = np.square(shift + sign * centred[k] / (n - 1)).sum(1)
        spread = (squares[k].sum() - n / (n - 1) * squares[k]) / (n - 2) + squares[1 - k].sum() / (other - 1)
        left_out.append(np.maximum(0, means + spread - 2 * without[k] / np.sqrt((n - 2.0) * (other - 1))))
    return _frechet(a, b, overlap), *left_out


def checked(a: np.ndarray, b: np.ndarray, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Both sets as float64 (n, d). Raises ValueError for fewer rows, unequal n or d, NaN."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    for name, x in (("first", a), ("second", b)):
        if x.ndim != 2:
            raise ValueError(f"the {name} set has shape {x.shape}; features are (pictures, dimensions)")
        if len(x) < rows:
            raise ValueError(f"the {name} set has too few pictures: {len(x)}, at least {rows} are needed")
        if not (finite := np.isfinite(x).all(1)).all():
            raise ValueError(f"the {name} set has NaN or infinite features in row {int(np.argmin(finite))}")
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"features of different extractors: {a.shape[1]} and {b.shape[1]} dimensions")
    if len(a) != len(b):
        raise ValueError(
            f"row i of both sets must be the same scene, but there are {len(a)} and {len(b)} rows"
        )
    return a, b
