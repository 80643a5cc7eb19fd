"""Whether pictures show what the texts say, on arrays of CLIP features and on pixels. Pure, float64."""

import re
from collections.abc import Sequence

import numpy as np

from helpers.scenes.scenes import words

# the basic colour terms of English, as sRGB
COLOURS = {
    "red": (206, 40, 40),
    "orange": (240, 130, 32),
    "yellow": (240, 204, 52),
    "green": (56, 150, 70),
    "blue": (48, 100, 196),
    "purple": (136, 74, 168),
    "pink": (240, 150, 180),
    "brown": (120, 76, 44),
    "black": (20, 20, 20),
    "white": (245, 245, 245),
    "grey": (128, 128, 128),
    "gray": (128, 128, 128),
}
_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
_D65 = np.array([0.95047, 1.0, 1.08883])


def clip_score(images: np.ndarray, texts: np.ndarray) -> np.ndarray:
    """100 times the cosine of image i and text i, at least 0, (n,) (Hessel et al. 2021, scaled to 100).

    images, texts: (n, d) CLIP features of any length above 0.
    """
    return 100 * np.maximum(0, similarity(images, texts))


def similarity(images: np.ndarray, texts: np.ndarray) -> np.ndarray:
    """Cosine of row i and row i, (n,) in [-1, 1]. images, texts: (n, d)."""
    images, texts = unit(images), unit(texts)
    if images.shape != texts.shape:
        raise ValueError(
            f"row i of both belongs together, but the shapes are {images.shape} and {texts.shape}"
        )
    return np.einsum("nd,nd->n", images, texts)


def r_precision(images: np.ndarray, texts: np.ndarray, others: int = 99) -> np.ndarray:
    """Chance that an image is nearer to its own text than to `others` texts drawn from the rest, (n,).

    The chance is computed, not drawn (hypergeometric). Texts equally near are in random order. With fewer
    than `others` other texts all of them are used, so the level of pure chance is 1 / (1 + min(others, n -
    1)). images, texts: (n, d), text i is the own one of image i.
    """
    images, texts = unit(images), unit(texts)
    n = len(texts)
    others = min(others, n - 1)
    nearness = images @ texts.T
    own = np.diag(nearness)[:, None]
    nearer = (nearness > own + 1e-9).sum(1)
    ties = (nearness >= own - 1e-9).sum(1) - nearer - 1
    # none_drawn[k]: chance that none of k given texts is among the `others` drawn from n - 1
    drawn = np.arange(others)
    rest = n - 1 - np.arange(n)[:, None] - drawn
    none_drawn = np.prod(np.maximum(0, rest) / (n - 1 - drawn), axis=1)
    total = np.concatenate([[0.0], np.cumsum(none_drawn)])
    return (total[nearer + ties + 1] - total[nearer]) / (ties + 1)


def crop_correct(crops: np.ndarray, phrases: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Whether the crop of box i is nearest to its own phrase among all distinct phrases, (n,) bool.

    crops: (n, d); phrases: (m, d), each distinct phrase once; own: (n,) index of the phrase of box i.
    A tie with another phrase counts as wrong: such a crop does not tell them apart.
    """
    nearness = unit(crops) @ unit(phrases).T
    own = np.asarray(own)
    mine = np.take_along_axis(nearness, own[:, None], axis=1)
    rivals = (nearness >= mine - 1e-9).sum(1) - 1
    return rivals == 0


def named_colour(phrase: str) -> str | None:
    """The only colour that the phrase names as a whole word; None for no colour and for several."""
    found = {word for word in re.findall(r"[a-z]+", phrase.lower()) if word in COLOURS}
    return found.pop() if len(found) == 1 else None


def colour_distance(crop: np.ndarray, colour: str, share: float = 0.1) -> float:
    """How far the crop is from showing the colour: the CIE76 distance within which `share` of its pixels lie.

    crop: (h, w, 3) uint8 RGB; colour: one of COLOURS. About 0 to 20 reads as that colour, above 40 as
    another.
    """
    gap = lab(crop.reshape(-1, 3)) - lab(np.array([COLOURS[colour]], np.uint8))
    return float(np.quantile(np.linalg.norm(gap, axis=1), share))


def lab(colours: np.ndarray) -> np.ndarray:
    """sRGB uint8 (n, 3) as CIE L*a*b* (n, 3) float64 under D65."""
    c = np.asarray(colours, np.float64) / 255
    linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
    x = linear @ _XYZ.T / _D65
    f = np.where(x > (6 / 29) ** 3, np.cbrt(x), x / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=1)


def labels_named(text: str, labels: Sequence[str]) -> float:
    """Share of the distinct labels that the text names as whole words, singular or plural, in [0, 1]; NaN for
    no labels.

    Labels are compared as `words`: `Hard_Hat` is named by `a hard hat`, `Person` is not by `a man`.
    """
    if not (distinct := set(map(words, labels))):
        return float("nan")
    named = (
        re.search(rf"\b{re.escape(label.removesuffix('s'))}(s|es)?\b", text.lower()) for label in distinct
    )
    return sum(match is not None for match in named) / len(distinct)


def unit(features: np.ndarray) -> np.ndarray:
    """Features (n, d) at length 1, float64. Raises ValueError for NaN and for a row of zeros."""
    x = np.asarray(features, np.float64)
    if x.ndim != 2 or not np.isfinite(x).all():
        raise ValueError(f"features of shape {x.shape} must be (n, d) and finite")
    length = np.linalg.norm(x, axis=1, keepdims=True)
    if not length.all():
        raise ValueError(f"row {int(np.argmin(length))} is all zeros and has no direction")
    return x / length
