"""How far a set of pictures is from a set of photos, on arrays of features. Pure, float64.

Every distance has a twin `..._leave_one_out`: the same distance with row i of both sets left out, for every i
at once, which is what `intervals.jackknife` asks for. Row i of both sets is the same scene.
"""

from collections.abc import Callable

import numpy as np

KERNEL_BLOCK = 1024  # rows of a kernel matrix held at a time: memory grows with n, not with n squared
Kernel = Callable[[np.ndarray, np.ndarray], np.ndarray]


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
    overlap = np.linalg.svd(_reduced(a) @ _reduced(b).T, compute_uv=False).sum()
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
    return np.maximum(0.0, means + (spread - 2 * _nuclear_norms_without_each(a, b)) / (n - 2))


def kid(a: np.ndarray, b: np.ndarray) -> float:
    """Kernel Inception distance (Bińkowski et al. 2018): unbiased squared MMD, kernel (x.y / d + 1)^3.

    All pairs are used, no subsets. a: (n_a, d), b: (n_b, d). Unbiased, so it may be negative.
    Raises ValueError for fewer than 2 rows, unequal d, NaN.
    """
    return _mmd(*_checked(a, b, rows=2), _cubic, unbiased=True)


def kid_leave_one_out(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """`kid` without row i of both sets, for every i, (n,). Refuses n below 3 or unequal too."""
    return _mmd_leave_one_out(*_checked(a, b, rows=3, paired=True), _cubic, unbiased=True)


def cmmd(a: np.ndarray, b: np.ndarray, unbiased: bool = True) -> float:
    """CLIP MMD (Jayasumana et al. 2024): 1000 times the squared MMD, kernel exp(-|x - y|^2 / (2 * 10^2)).

    a: (n_a, d), b: (n_b, d) CLIP features; rows are scaled to length 1 here, as in the paper.
    unbiased=False is the paper's form, which counts each picture against itself and is never negative.
    Raises ValueError for fewer than 2 rows, unequal d, NaN, and a row of zeros.
    """
    return 1000 * _mmd(*_unit(*_checked(a, b, rows=2)), _gaussian, unbiased)


def cmmd_leave_one_out(a: np.ndarray, b: np.ndarray, unbiased: bool = True) -> np.ndarray:
    """`cmmd` without row i of both sets, for every i, (n,). Also refuses n below 3 or unequal."""
    return 1000 * _mmd_leave_one_out(*_unit(*_checked(a, b, rows=3, paired=True)), _gaussian, unbiased)


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


def _reduced(centred: np.ndarray) -> np.ndarray:
    """At most d rows with the same scatter matrix: the R of a QR decomposition where there are more."""
    return np.linalg.qr(centred, mode="r") if len(centred) > centred.shape[1] else centred


def _factored(centred: np.ndarray) -> tuple[np.ndarray | None, np.ndarray]:
    return np.linalg.qr(centred) if len(centred) > centred.shape[1] else (None, centred)


def _nuclear_norms_without_each(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Nuclear norms of A_i B_i^T for every i: a, b without row i, centred again. a, b: centred.

    With v the centred and normalised unit vector e_i, A_i B_i^T has the singular values of P M P, M = a b^T
    and P = I - v v^T. From sum(s) = 1/pi * integral over t > 0 of ln det(I + M M^T / t^2) and Jacobi's
    identity for complementary minors, with M = U diag(s) V^T, p = U^T v and q = V^T v,

        |P M P|_* = |M|_* + 1/pi * integral of ln(alpha beta + gamma^2) dt,
        alpha = 1 - sum p^2 s^2 / (t^2 + s^2),  beta the same with q,  gamma = t * sum p q s / (t^2 + s^2).

    Substituting t = s_max e^u makes the trapezoidal rule exact to rounding at a step of 0.25.
    """
    n = len(a)
    (q_a, a), (q_b, b) = _factored(a), _factored(b)
    u, s, vt = np.linalg.svd(a @ b.T, full_matrices=False)
    kept = s > n * np.finfo(float).eps * s.max(initial=0)
    if not kept.any():
        return np.zeros(n)
    u, s, v = u[:, kept], s[kept], vt[kept].T
    p, q = ((x if base is None else base @ x) * np.sqrt(n / (n - 1)) for base, x in ((q_a, u), (q_b, v)))
    outside = [
        0.0 if len(s) == n - 1 else np.maximum(0, 1 - np.square(x).sum(1, keepdims=True)) for x in (p, q)
    ]
    step = 0.25
    t = s[0] * np.exp(np.arange(-32, 32, step))
    near, far = (x / (t**2 + s[:, None] ** 2) for x in (t**2, s[:, None] ** 2))
    alpha, beta = (np.square(x) @ near + rest for x, rest in zip((p, q), outside, strict=True))
    lost_a, lost_b = np.square(p) @ far, np.square(q) @ far  # 1 - alpha, 1 - beta without cancellation
    gamma = (p * q * s) @ (t / (t**2 + s[:, None] ** 2))
    product = alpha * beta + gamma**2
    small = lost_a * lost_b - lost_a - lost_b + gamma**2
    logs = np.where(
        product < 0.5, np.log(np.where(product < 0.5, product, 1)), np.log1p(np.maximum(small, -0.6))
    )
    return s.sum() + step / np.pi * logs @ t


def _cubic(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a @ b.T / a.shape[1] + 1) ** 3


def _gaussian(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """exp(-|x - y|^2 / 200) - 1 for rows of length 1; the constant would cancel in the MMD, and round."""
    return np.expm1((a @ b.T - 1) / 100)


def _kernel_sums(a: np.ndarray, b: np.ndarray, kernel: Kernel) -> tuple[np.ndarray, np.ndarray]:
    """Row sums (n_a,) and column sums (n_b,) of the kernel matrix, in blocks."""
    rows, columns = np.empty(len(a)), np.zeros(len(b))
    for start in range(0, len(a), KERNEL_BLOCK):
        block = kernel(a[start : start + KERNEL_BLOCK], b)
        rows[start : start + KERNEL_BLOCK] = block.sum(1)
        columns += block.sum(0)
    return rows, columns


def _own(a: np.ndarray, b: np.ndarray, kernel: Kernel) -> np.ndarray:
    """The kernel of row i of a with row i of b, (n,)."""
    return np.array([kernel(x[None], y[None])[0, 0] for x, y in zip(a, b, strict=True)])


def _mmd(a: np.ndarray, b: np.ndarray, kernel: Kernel, unbiased: bool) -> float:
    within = 0.0
    for x in (a, b):
        total = _kernel_sums(x, x, kernel)[0].sum() - unbiased * _own(x, x, kernel).sum()
        within += total / (len(x) * (len(x) - unbiased))
    return float(within - 2 * _kernel_sums(a, b, kernel)[0].mean() / len(b))


def _mmd_leave_one_out(a: np.ndarray, b: np.ndarray, kernel: Kernel, unbiased: bool) -> np.ndarray:
    """A row that leaves takes its row and its column of every kernel matrix with it."""
    left, within = len(a) - 1, 0.0
    for x in (a, b):
        rows, own = _kernel_sums(x, x, kernel)[0], _own(x, x, kernel)
        total = rows.sum() - 2 * rows + own - unbiased * (own.sum() - own)
        within = within + total / (left * (left - unbiased))
    rows, columns = _kernel_sums(a, b, kernel)
    return within - 2 * (rows.sum() - rows - columns + _own(a, b, kernel)) / left**2
