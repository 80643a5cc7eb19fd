"""The squared maximum mean discrepancy (MMD) of two feature sets under a kernel, without bias. Pure, float64.

Arrays are checked (n, d) features of `distances`; memory grows with n, not with n squared.
"""

from collections.abc import Callable, Iterator

import numpy as np

BLOCK = 512  # rows of a kernel matrix held at a time
Kernel = Callable[[np.ndarray, int], np.ndarray]  # of inner products of rows, and their d


def cubic(products: np.ndarray, d: int) -> np.ndarray:
    """(x.y / d + 1)^3."""
    x = products / d + 1
    return x * x * x


def gaussian(products: np.ndarray, d: int) -> np.ndarray:
    """exp(-|x - y|^2 / 200) - 1 for rows of length 1; the constant would cancel in the MMD, and round."""
    return np.expm1((products - 1) / 100)


def value(a: np.ndarray, b: np.ndarray, kernel: Kernel) -> float:
    """Of independent sets: no row meets itself, every row of a meets every row of b."""
    within = sum(_sums(x, x, kernel)[0].sum() / (len(x) * (len(x) - 1)) for x in (a, b))
    return float(within - 2 * _sums(a, b, kernel, own=True)[0].sum() / (len(a) * len(b)))


def paired(a: np.ndarray, b: np.ndarray, kernel: Kernel) -> tuple[float, np.ndarray, float]:
    """Of rows that belong together, which never meet: the mean over pairs of scenes i, j of

        h(i, j) = k(a_i, a_j) + k(b_i, b_j) - k(a_i, b_j) - k(b_i, a_j),

    the U-statistic of Gretton et al. 2012, eq. 4; the same without each scene, (n,); the variance of h over
    pairs.
    """
    n, both, sums, squares = len(a), np.concatenate([a, b]), np.empty(len(a)), 0.0
    for start in range(0, n, BLOCK):
        rows = slice(start, start + BLOCK)
        part = kernel(np.concatenate([a[rows], b[rows]]) @ both.T, a.shape[1])
        m = len(part) // 2
        h = part[:m, :n] + part[m:, n:] - part[:m, n:] - part[m:, :n]
        h[np.arange(m), start + np.arange(m)] = 0
        sums[rows], squares = h.sum(1), squares + np.vdot(h, h)
    pairs, total = n * (n - 1), sums.sum()
    left_out = (total - 2 * sums) / ((n - 1) * (n - 2))
    return float(total / pairs), left_out, float(max(0, squares / pairs - (total / pairs) ** 2))


def halves(x: np.ndarray, kernel: Kernel, splits: int, seed: int) -> np.ndarray:
    """`value` of two random halves of one set, (splits,)."""
    rng, half, sides = np.random.default_rng(seed), len(x) // 2, np.zeros((2, splits, len(x)))
    for k in range(splits):
        order = rng.permutation(len(x))
        sides[0, k, order[:half]] = sides[1, k, order[half : 2 * half]] = 1
    summed = np.zeros((2, splits, len(x)))
    for rows, block in _blocks(x, x, kernel, own=False):
        summed[:, :, rows] = sides @ block.T
    within = np.einsum("hsn,hsn->s", sides, summed) / (half * (half - 1))
    return within - 2 * np.einsum("sn,sn->s", sides[0], summed[1]) / half**2


def swaps(a: np.ndarray, b: np.ndarray, photos: np.ndarray, kernel: Kernel) -> np.ndarray:
    """What each scene adds to the difference of two `paired` values, (n,): see `distances.kid_swaps`."""
    (ab, ba), pairs = _sums(a, b, kernel), len(a) * (len(a) - 1)
    aa, bb, to_a, to_b = (_sums(x, y, kernel)[0] for x, y in ((a, a), (b, b), (a, photos), (b, photos)))
    return (aa - bb + ab - ba - 2 * (to_a - to_b)) / pairs


def _sums(a: np.ndarray, b: np.ndarray, kernel: Kernel, own: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Row sums (n_a,) and column sums (n_b,) of the kernel matrix."""
    rows, columns = np.empty(len(a)), np.zeros(len(b))
    for part, block in _blocks(a, b, kernel, own):
        rows[part], columns = block.sum(1), columns + block.sum(0)
    return rows, columns


def _blocks(a: np.ndarray, b: np.ndarray, kernel: Kernel, own: bool) -> Iterator[tuple[slice, np.ndarray]]:
    """Rows of the kernel matrix, BLOCK at a time; own: with the entries (i, i), else they are 0."""
    for start in range(0, len(a), BLOCK):
        block = kernel(a[start : start + BLOCK] @ b.T, a.shape[1])
        if not own:
            block[np.arange(len(block)), start + np.arange(len(block))] = 0
        yield slice(start, start + BLOCK), block
