"""The squared maximum mean discrepancy (MMD) of two feature sets under a kernel, without bias. Pure, float64.

Arrays are checked (n, d) features of `distances`; memory grows with n, not with n squared.
"""

from collections.abc import Callable, Iterator

import numpy as np

BLOCK = 512  # rows of a kernel matrix held at a time
Kernel = Callable[[np.ndarray, int], np.ndarray]  # of inner products of rows, overwritten, and their d


def cubic(products: np.ndarray, d: int) -> np.ndarray:
    """(x.y / d + 1)^3."""
    products /= d  # in place, as `gaussian`: a new matrix costs more than the arithmetic
    products += 1
    cubes = products * products
    cubes *= products
    return cubes


def gaussian(products: np.ndarray, d: int) -> np.ndarray:
    """exp(-|x - y|^2 / 200) - 1 for rows of length 1; the constant would cancel in the MMD, and round."""
    products -= 1
    products /= 100
    return np.expm1(products, out=products)


def paired(a: np.ndarray, b: np.ndarray, kernel: Kernel) -> tuple[float, np.ndarray, float]:
    """Of rows that belong together, which never meet: the mean over pairs of scenes i, j of

        h(i, j) = k(a_i, a_j) + k(b_i, b_j) - k(a_i, b_j) - k(b_i, a_j),

    the U-statistic of Gretton et al. 2012, eq. 4; the same without each scene, (n,); the variance of h over
    pairs.
    """
    n, sums, squares = len(a), np.zeros(len(a)), 0.0
    for start in range(0, n, BLOCK):  # h is symmetric: each block from its own place on
        rows, rest, m = slice(start, start + BLOCK), n - start, min(BLOCK, n - start)
        part = kernel(
            np.concatenate([a[rows], b[rows]]) @ np.concatenate([a[start:], b[start:]]).T, a.shape[1]
        )
        h = part[:m, :rest] + part[m:, rest:] - part[:m, rest:] - part[m:, :rest]
        h[np.arange(m), np.arange(m)] = 0
        sums[rows] += h.sum(1)
        sums[start + m :] += h[:, m:].sum(0)
        squares += np.vdot(h, h) + np.vdot(h[:, m:], h[:, m:])
    pairs, total = n * (n - 1), sums.sum()
    left_out = (total - 2 * sums) / ((n - 1) * (n - 2))
    return float(total / pairs), left_out, float(max(0, squares / pairs - (total / pairs) ** 2))


def halves(x: np.ndarray, kernel: Kernel, splits: int) -> np.ndarray:
    """The squared MMD of two random halves of one set, (splits,)."""
    rng, half, sides = np.random.default_rng(0), len(x) // 2, np.zeros((2, splits, len(x)))
    for k in range(splits):
        order = rng.permutation(len(x))
        sides[0, k, order[:half]] = sides[1, k, order[half : 2 * half]] = 1
    summed = np.zeros((2, splits, len(x)))
    for rows, block in _blocks(x, x, kernel):
        summed[:, :, rows] = sides @ block.T
    within = np.einsum("hsn,hsn->s", sides, summed) / (half * (half - 1))
    return within - 2 * np.einsum("sn,sn->s", sides[0], summed[1]) / half**2


def swaps(a: np.ndarray, b: np.ndarray, photos: np.ndarray, kernel: Kernel) -> np.ndarray:
    """What each scene adds to the difference of two `paired` values, (n,): see `distances.kid_swaps`."""
    n, same, (ab, ba) = len(a), 0.0, _sums(a, b, kernel)
    for x, sign in ((a, 1), (b, -1)):
        same = same + sign * (_sums(x, x, kernel)[0] - 2 * _sums(x, photos, kernel)[0])
    return (same + ab - ba) / (n * (n - 1))


def _sums(a: np.ndarray, b: np.ndarray, kernel: Kernel) -> tuple[np.ndarray, np.ndarray]:
    """Row sums and column sums of the kernel matrix without its entries (i, i), (n,) each."""
    rows, columns = np.empty(len(a)), np.zeros(len(b))
    for part, block in _blocks(a, b, kernel):
        rows[part], columns = block.sum(1), columns + block.sum(0)
    return rows, columns


def _blocks(a: np.ndarray, b: np.ndarray, kernel: Kernel) -> Iterator[tuple[slice, np.ndarray]]:
    """Rows of the kernel matrix, BLOCK at a time; its entries (i, i) are 0."""
    for start in range(0, len(a), BLOCK):
        block = kernel(a[start : start + BLOCK] @ b.T, a.shape[1])
        block[np.arange(len(block)), start + np.arange(len(block))] = 0
        yield slice(start, start + BLOCK), block
