"""The squared maximum mean discrepancy (MMD) of two feature sets under a kernel. Pure, float64.

Arrays are checked (n, d) features of `distances`; memory grows with n, not with n squared. With
own_pairs=False and unbiased, this is the U-statistic of the n pairs (row i of a, row i of b), Gretton et al.
2012, eq. 4.
"""

from collections.abc import Callable

import numpy as np

BLOCK = 1024  # rows of a kernel matrix held at a time
Kernel = Callable[[np.ndarray, np.ndarray], np.ndarray]


def cubic(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(x.y / d + 1)^3 of every row of a with every row of b, (n_a, n_b)."""
    return (a @ b.T / a.shape[1] + 1) ** 3


def gaussian(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """exp(-|x - y|^2 / 200) - 1 for rows of length 1; the constant would cancel in the MMD, and round."""
    return np.expm1((a @ b.T - 1) / 100)


def value(a: np.ndarray, b: np.ndarray, kernel: Kernel, unbiased: bool, own_pairs: bool) -> float:
    """The squared MMD. unbiased: no row is counted against itself; own_pairs: row i of a meets row i of b."""
    within = 0.0
    for x in (a, b):
        total = _sums(x, x, kernel)[0].sum() - unbiased * _own(x, x, kernel).sum()
        within += total / (len(x) * (len(x) - unbiased))
    across = _sums(a, b, kernel)[0].sum() - (0 if own_pairs else _own(a, b, kernel).sum())
    return float(within - 2 * across / (len(a) * (len(b) - (not own_pairs))))


def leave_one_out(
    a: np.ndarray, b: np.ndarray, kernel: Kernel, unbiased: bool, own_pairs: bool
) -> np.ndarray:
    """`value` without row i of both sets, (n,): it takes its row and column of every matrix with it."""
    left, within = len(a) - 1, 0.0
    for x in (a, b):
        rows, own = _sums(x, x, kernel)[0], _own(x, x, kernel)
        total = rows.sum() - 2 * rows + own - unbiased * (own.sum() - own)
        within = within + total / (left * (left - unbiased))
    (rows, columns), own = _sums(a, b, kernel), _own(a, b, kernel)
    across = rows.sum() - rows - columns + own - (0 if own_pairs else own.sum() - own)
    return within - 2 * across / (left * (left - (not own_pairs)))


def swaps(a: np.ndarray, b: np.ndarray, photos: np.ndarray, kernel: Kernel, own_pairs: bool) -> np.ndarray:
    """What each scene adds to value(a, photos) - value(b, photos), unbiased, (n,): `distances.kid_swaps`."""
    n = len(photos)
    ab, ba = _sums(a, b, kernel)
    aa, bb = (_sums(x, x, kernel)[0] - _own(x, x, kernel) for x in (a, b))
    to_a, to_b = (_sums(x, photos, kernel)[0] - (0 if own_pairs else _own(x, photos, kernel)) for x in (a, b))
    return (aa - bb + ab - ba) / (n * (n - 1)) - 2 * (to_a - to_b) / (n * (n - 1 + own_pairs))


def _sums(a: np.ndarray, b: np.ndarray, kernel: Kernel) -> tuple[np.ndarray, np.ndarray]:
    """Row sums (n_a,) and column sums (n_b,) of the kernel matrix, in blocks."""
    rows, columns = np.empty(len(a)), np.zeros(len(b))
    for start in range(0, len(a), BLOCK):
        block = kernel(a[start : start + BLOCK], b)
        rows[start : start + BLOCK] = block.sum(1)
        columns += block.sum(0)
    return rows, columns


def _own(a: np.ndarray, b: np.ndarray, kernel: Kernel) -> np.ndarray:
    """The kernel of row i of a with row i of b, (n,)."""
    return np.array([kernel(x[None], y[None])[0, 0] for x, y in zip(a, b, strict=True)])
