"""Scenes drawn again: what a measure shows where there is nothing to find. Pure."""

from collections.abc import Callable

import numpy as np

Distance = Callable[[np.ndarray, np.ndarray], float]


def split_half(distance: Distance, photos: np.ndarray, splits: int = 50, seed: int = 0) -> np.ndarray:
    """The distance between two random halves of the photos, (splits,): what equal sets of n // 2 photos show.

    Raises ValueError for fewer than 4 photos.
    """
    if len(photos) < 4:
        raise ValueError(f"{len(photos)} photos cannot be split in halves: at least 4 are needed")
    rng, half = np.random.default_rng(seed), len(photos) // 2
    orders = (rng.permutation(len(photos)) for _ in range(splits))
    return np.array([distance(photos[order[:half]], photos[order[half : 2 * half]]) for order in orders])


def swapped_sums(parts: np.ndarray, draws: int = 500, seed: int = 0) -> np.ndarray:
    """The difference of two arms that do not differ, (draws,), where it is a sum over scenes, as KID's is.

    In each draw the pictures of a scene are swapped between the arms with probability 1/2, which makes the
    arms exchangeable: what is left is the noise of the measure at this n. parts: (n,) what scene i adds to
    the difference, which changes its sign when its pictures are swapped (`distances.kid_swaps`).
    """
    rng, parts = np.random.default_rng(seed), np.asarray(parts, np.float64)
    return np.array([np.where(rng.random(len(parts)) < 0.5, -1, 1) @ parts for _ in range(draws)])


def derangement(n: int, seed: int = 0) -> np.ndarray:
    """A random order (n,) in which nothing keeps its place: whose boxes picture i is held against.

    Raises ValueError for n below 2.
    """
    if n < 2:
        raise ValueError(f"boxes cannot be shuffled between {n} scenes: at least 2 are needed")
    order = np.random.default_rng(seed).permutation(n)
    shuffled = np.empty(n, np.int64)
    shuffled[order] = np.roll(order, 1)
    return shuffled
