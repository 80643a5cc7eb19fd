"""Nuclear norms of A B^T for centred feature sets, and what they become when a row leaves. Pure, float64.

The nuclear norm |M|_* is the sum of the singular values of M = A B^T. A set that loses row i is centred
again: that is P A with P = I - v v^T, v the unit vector e_i centred and normalised. All norms below come from
one decomposition M = U diag(s) V^T, by

    sum(s) = 1/pi * integral over t > 0 of ln det(I + M M^T / t^2)

and Jacobi's identity for complementary minors. With p = U^T v and q = V^T v,

    |P M P|_* = |M|_* + 1/pi * integral of ln(alpha beta + gamma^2) dt,      |P M|_* the same of ln(alpha),
    alpha = 1 - sum p^2 s^2 / (t^2 + s^2),  beta the same with q,  gamma = t * sum p q s / (t^2 + s^2).

Substituting t = s_max e^u makes the trapezoidal rule exact to rounding at a step of 0.25.
"""

import numpy as np

_STEP = 0.25


def norm(a: np.ndarray, b: np.ndarray) -> float:
    """|A B^T|_*. a: (n_a, d), b: (n_b, d), both centred."""
    a, b = (np.linalg.qr(x, mode="r") if len(x) > x.shape[1] else x for x in (a, b))
    return float(np.linalg.svd(a @ b.T, compute_uv=False).sum())


def without_pair(a: np.ndarray, b: np.ndarray) -> tuple[float, np.ndarray]:
    """|A B^T|_*, and |A_i B_i^T|_* for every i: both sets without row i, (n,). a, b: (n, d), centred."""
    s, p, q, t = _decomposed(a, b)
    (alpha, lost_a), (beta, lost_b) = (_alpha(x, s, t) for x in (p, q))
    gamma = (p * q * s) @ (t / (t**2 + s[:, None] ** 2))
    product, small = alpha * beta + gamma**2, lost_a * lost_b - lost_a - lost_b + gamma**2
    return float(s.sum()), s.sum() + _STEP / np.pi * _log(product, small) @ t


def without_row(a: np.ndarray, b: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """|A B^T|_*, |A_i B^T|_* for every row i of a (n_a,), and |A B_i^T|_* for every row i of b (n_b,).

    a: (n_a, d), b: (n_b, d), both centred.
    """
    s, p, q, t = _decomposed(a, b)
    parts = (_alpha(x, s, t) for x in (p, q))
    left, right = (s.sum() + _STEP / np.pi * _log(alpha, -lost) @ t for alpha, lost in parts)
    return float(s.sum()), left, right


def _decomposed(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, ...]:
    """The singular values that are not 0, (r,), p (n_a, r) and q (n_b, r) of every row, and the grid of t."""
    sizes = len(a), len(b)
    (base_a, a), (base_b, b) = (np.linalg.qr(x) if len(x) > x.shape[1] else (None, x) for x in (a, b))
    u, s, vt = np.linalg.svd(a @ b.T, full_matrices=False)
    kept = s > max(sizes) * np.finfo(float).eps * s.max(initial=0)
    sides = zip((base_a, base_b), (u[:, kept], vt[kept].T), sizes, strict=True)
    p, q = ((x if base is None else base @ x) * np.sqrt(n / (n - 1)) for base, x, n in sides)
    return s[kept], p, q, (s.max(initial=0) or 1.0) * np.exp(np.arange(-32, 32, _STEP))


def _alpha(p: np.ndarray, s: np.ndarray, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """alpha and 1 - alpha, each without cancellation, (n, t). What of v lies outside of M's range stays."""
    near, far = (x / (t**2 + s[:, None] ** 2) for x in (t**2, s[:, None] ** 2))
    squares = np.square(p)
    full = p.shape[1] == len(p) - 1
    outside = 0.0 if full else np.maximum(0, 1 - squares.sum(1, keepdims=True))
    return squares @ near + outside, squares @ far


def _log(value: np.ndarray, minus_one: np.ndarray) -> np.ndarray:
    """ln(value), from value - 1 where that is the more exact."""
    low = value < 0.5
    return np.where(low, np.log(np.where(low, value, 1)), np.log1p(np.maximum(minus_one, -0.6)))
