"""How far a set of pictures is from a set of photos, on arrays of features. Pure, float64.

Every distance has a twin `..._leave_one_out`: the same distance with row i of both sets left out, for every i
at once, which is what `intervals.jackknife` asks for. Row i of both sets is the same scene.

Picture i is made from photo i's caption and boxes and resembles it, but these distances are defined for sets
that are independent of each other: a set of pictures that resemble their own photos lies nearer to the photos
than its distribution does. Two forms are free of that: own_pairs=False of the MMDs, and `crossed_frechet`.
"""

import numpy as np

from helpers.scoring import mmd, nuclear


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Fréchet distance of normal distributions fitted to two feature sets (Heusel et al. 2017, eq. 6).

        |mean_a - mean_b|^2 + tr(S_a) + tr(S_b) - 2 tr sqrt(S_a S_b)

    The last trace is the nuclear norm of A B^T / sqrt((n_a - 1)(n_b - 1)) with A, B the centred features, so
    no d x d covariance is ever made.

    a: (n_a, d), b: (n_b, d). Never negative; exactly 0 for sets of equal rows, in whatever order.
    Biased upwards, the more the smaller n is: compare only distances of the same n.
    Raises ValueError for fewer than 2 rows, unequal d, NaN.
    """
    a, b = _checked(a, b, rows=2)
    if sorted(map(np.ndarray.tobytes, a)) == sorted(map(np.ndarray.tobytes, b)):
        return 0.0
    n_a, n_b = len(a), len(b)
    shift = a.mean(0) - b.mean(0)
    a, b = a - a.mean(0), b - b.mean(0)
    overlap = nuclear.norm(a, b)
    spread = np.vdot(a, a) / (n_a - 1) + np.vdot(b, b) / (n_b - 1)
    return max(0.0, float(shift @ shift + spread - 2 * overlap / np.sqrt((n_a - 1) * (n_b - 1))))


def frechet_leave_one_out(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """`frechet_distance` without row i of both sets, for every i, at the price of one decomposition.

    a, b: (n, d). Returns (n,) float64. Raises ValueError as `frechet_distance`, and for n below 3 or unequal
    n.
    """
    a, b = _checked(a, b, rows=3, paired=True)
    n = len(a)
    shift = a.mean(0) - b.mean(0)
    a, b = a - a.mean(0), b - b.mean(0)
    means = np.square(shift - (a - b) / (n - 1)).sum(1)
    spread = sum(np.vdot(x, x) - n / (n - 1) * np.square(x).sum(1) for x in (a, b))
    return np.maximum(0.0, means + (spread - 2 * nuclear.without_pair(a, b)) / (n - 2))


def crossed_frechet(
    pictures: np.ndarray, photos: np.ndarray, splits: int = 4, seed: int = 0
) -> tuple[float, np.ndarray]:
    """Fréchet distance of one half's pictures and the other half's photos, the mean over random halvings, and
    that mean without scene i for every i, (n,).

    No picture meets its own photo. Each halving gives two distances (each half's pictures once). The same n
    and seed halve in the same way, so that arms with their scenes in one order stay paired by scene.
    crossed_frechet(photos, photos) is what pictures that are as real as photos would get.

    pictures, photos: (n, d), row i the same scene. One decomposition of an n/2 x n/2 matrix per distance.
    Raises ValueError as `frechet_distance`, for n below 6 or unequal n.
    """
    pictures, photos = _checked(pictures, photos, rows=6, paired=True)
    n, rng = len(photos), np.random.default_rng(seed)
    values, left_out = [], np.zeros(n)
    for _ in range(splits):
        order = rng.permutation(n)
        first, second = order[: n // 2], order[n // 2 :]
        for a, b in ((first, second), (second, first)):
            value, without_a, without_b = _frechet_without_rows(pictures[a], photos[b])
            values.append(value)
            left_out[a] += without_a
            left_out[b] += without_b
    return float(np.mean(values)), left_out / len(values)


def kid(a: np.ndarray, b: np.ndarray, own_pairs: bool = True) -> float:
    """Kernel Inception distance (Bińkowski et al. 2018): unbiased squared MMD, kernel (x.y / d + 1)^3.

    All pairs are used, no subsets. a: (n_a, d), b: (n_b, d). Unbiased, so it may be negative.
    own_pairs=False leaves the pairs (i, i) out of the cross sum (the U-statistic of Gretton et al. 2012,
    lemma 6, eq. 4): unbiased also where row i of a resembles row i of b; n_a and n_b must be equal. Raises
    ValueError for fewer than 2 rows, unequal d, NaN.
    """
    return mmd.value(*_checked(a, b, 2, paired=not own_pairs), mmd.cubic, True, own_pairs)


def kid_leave_one_out(a: np.ndarray, b: np.ndarray, own_pairs: bool = True) -> np.ndarray:
    """`kid` without row i of both sets, for every i, (n,). Refuses n below 3 or unequal too.

    Where the true distance is 0, the jackknife of these is up to 1.4 times as wide as it need be: in
    simulations without own pairs its interval holds 0 in 94 to 100 %, whatever the correlation with the own
    photo.
    """
    return mmd.leave_one_out(*_checked(a, b, rows=3, paired=True), mmd.cubic, True, own_pairs)


def kid_swaps(a: np.ndarray, b: np.ndarray, photos: np.ndarray, own_pairs: bool = False) -> np.ndarray:
    """What each scene adds to kid(a, photos) - kid(b, photos), (n,): their sum is that difference.

    Where the pictures of scene i are swapped between the arms, its part changes its sign and no other part
    changes. So `intervals.sign_flip` of these parts is the exact test that a scene's two pictures could as
    well have come from each other's arm. That is more than equal realism: arms that resemble their own photos
    to different degrees fail it, so a verdict on realism rests on the jackknife.

    a, b, photos: (n, d), row i the same scene. Raises ValueError as `kid_leave_one_out`.
    """
    (a, photos), (b, _) = (_checked(x, photos, rows=3, paired=True) for x in (a, b))
    return mmd.swaps(a, b, photos, mmd.cubic, own_pairs)


def cmmd(a: np.ndarray, b: np.ndarray, unbiased: bool = True, own_pairs: bool = True) -> float:
    """1000 times the squared MMD of CLIP features, kernel exp(-|x - y|^2 / (2 * 10^2)).

    CMMD of Jayasumana et al. (2024) is the biased form (unbiased=False, which counts each picture against
    itself and is never negative) on CLIP ViT-L/14 at 336 pixels; with other features or unbiased, name them.
    a: (n_a, d), b: (n_b, d); rows are scaled to length 1 here, as in the paper. own_pairs: as `kid`.
    Raises ValueError for fewer than 2 rows, unequal d, NaN, and a row of zeros.
    """
    a, b = _unit(*_checked(a, b, 2, paired=not own_pairs))
    return 1000 * mmd.value(a, b, mmd.gaussian, unbiased, own_pairs)


def cmmd_leave_one_out(
    a: np.ndarray, b: np.ndarray, unbiased: bool = True, own_pairs: bool = True
) -> np.ndarray:
    """`cmmd` without row i of both sets, for every i, (n,). Also refuses n below 3 or unequal."""
    a, b = _unit(*_checked(a, b, rows=3, paired=True))
    return 1000 * mmd.leave_one_out(a, b, mmd.gaussian, unbiased, own_pairs)


def _frechet_without_rows(a: np.ndarray, b: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """`frechet_distance`, and the same without each row of a (n_a,) and without each row of b (n_b,)."""
    sizes, shift = (len(a), len(b)), a.mean(0) - b.mean(0)
    a, b = a - a.mean(0), b - b.mean(0)
    overlap, *without = nuclear.without_row(a, b)
    squares = [np.square(x).sum(1) for x in (a, b)]
    spreads = [x.sum() / (n - 1) for x, n in zip(squares, sizes, strict=True)]
    value = shift @ shift + sum(spreads) - 2 * overlap / np.sqrt(np.prod([n - 1.0 for n in sizes]))
    left_out = []
    for k, (rows, sign) in enumerate(((a, -1), (b, 1))):
        n, other = sizes[k], sizes[1 - k]
        means = np.square(shift + sign * rows / (n - 1)).sum(1)
        spread = (squares[k].sum() - n / (n - 1) * squares[k]) / (n - 2) + spreads[1 - k]
        left_out.append(np.maximum(0, means + spread - 2 * without[k] / np.sqrt((n - 2.0) * (other - 1))))
    return max(0.0, float(value)), *left_out


def _checked(a: np.ndarray, b: np.ndarray, rows: int, paired: bool = False) -> tuple[np.ndarray, np.ndarray]:
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
    if paired and len(a) != len(b):
        raise ValueError(
            f"row i of both sets must be the same scene, but there are {len(a)} and {len(b)} rows"
        )
    return a, b


def _unit(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    lengths = [np.linalg.norm(x, axis=1, keepdims=True) for x in (a, b)]
    for name, length in zip(("first", "second"), lengths, strict=True):
        if not length.all():
            raise ValueError(f"the {name} set has zeros only in row {int(np.argmin(length))}: no direction")
    return a / lengths[0], b / lengths[1]
