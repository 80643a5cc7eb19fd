"""Scenes drawn again: what a measure shows where there is nothing to find. Pure."""

import numpy as np


def swapped_sums(parts: np.ndarray, draws: int = 500, seed: int = 0) -> np.ndarray:
    """The difference of two arms that do not differ, (draws,), where it is a sum over scenes, as KID's is.

    In each draw the pictures of a scene are swapped between the arms with probability 1/2, which makes the
    arms exchangeable: what is left is the noise of the measure at this n. parts: (n,) what scene i adds to
    the difference, which changes its sign when its pictures are swapped (`distances.kid_swaps`).
    """
    parts, swapped = np.asarray(parts, np.float64), np.random.default_rng(seed).random((draws, len(parts)))
    return parts.sum() - 2 * (swapped < 0.5) @ parts


def derangement(n: int, seed: int = 0) -> np.ndarray:
    """A random permutation without fixed points, (n,): whose boxes picture i is held against.

    Raises ValueError for n below 2.
    """
    if n < 2:
        raise ValueError(f"boxes cannot be shuffled between {n} scenes: at least 2 are needed")
    order = np.random.default_rng(seed).permutation(n)
    shuffled = np.empty(n, np.int64)
    shuffled[order] = np.roll(order, 1)
    return shuffled
