"""Where a picture shows what its prompt says: segments of self-attention, given to words by cross-attention
(Ge et al. 2023, arXiv 2304.06720, section 3.1)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

import numpy as np
import scipy.linalg
from diffusers.models.attention_processor import Attention
from scipy.cluster.vq import kmeans, vq

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel

MOST_PLACES = 32 * 32  # of the layers that are read: the affinity of all places of finer ones is too large
FIRST = 0.25  # share of the UNet calls, the first ones, whose attention is not read: they show noise
SEGMENTS = 9


class Recorder:
    """Self- and cross-attention of the first n rows of each UNet call, averaged over heads, layers and calls.

    Layers count that have the most places of at most MOST_PLACES. Records while it is entered.
    """

    def __init__(self, unet: "UNet2DConditionModel", n: int) -> None:
        self.n, self.share, self.sums = n, 0.0, {}
        named = unet.named_modules()
        self.layers = {
            one: name.endswith("attn2") for name, one in named if name.endswith(("attn1", "attn2"))
        }

    def __enter__(self) -> Self:
        self.handles = [one.register_forward_pre_hook(self._read, with_kwargs=True) for one in self.layers]
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self.handles:
            handle.remove()

    def step(self, done: int, total: int) -> None:
        """To be called after each UNet call."""
        self.share = done / total

    def maps(self) -> tuple[np.ndarray, np.ndarray]:
        """Self-attention (n, places, places) and cross-attention (n, places, tokens), rows of sum 1."""
        places = max(places for places, _ in self.sums)
        both = (self.sums[places, crossed].double().cpu().numpy() for crossed in (False, True))
        return tuple(sums / sums.sum(-1, keepdims=True) for sums in both)

    def _read(self, layer: Attention, inputs: tuple, options: dict) -> None:
        x, crossed = inputs[0][: self.n], self.layers[layer]
        if self.share < FIRST or x.shape[1] > MOST_PLACES:
            return
        context = options["encoder_hidden_states"][: self.n] if crossed else x
        query, key = (layer.head_to_batch_dim(made) for made in (layer.to_q(x), layer.to_k(context)))
        scores = layer.get_attention_scores(query, key).float()
        key = x.shape[1], crossed
        self.sums[key] = self.sums.get(key, 0) + scores.unflatten(0, (self.n, -1)).mean(1)


def segments(attention: np.ndarray, count: int = SEGMENTS) -> np.ndarray:
    """The segment (places,) of each place, from 0: spectral clustering of self-attention (places, places).

    k-means on the leading eigenvectors of the symmetric normalised affinity, each place's row scaled to
    length 1 (Ng, Jordan and Weiss 2001).
    """
    affinity = (attention + attention.T) / 2
    degrees = affinity.sum(1) ** -0.5
    many, count = len(affinity), min(count, len(affinity))
    leading = {"subset_by_index": (many - count, many - 1)}
    vectors = scipy.linalg.eigh(degrees[:, None] * affinity * degrees, **leading)[1]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    centres = kmeans(vectors, count, rng=np.random.default_rng(0))[0]
    return vq(vectors, centres)[0]


def token_maps(
    self_attention: np.ndarray, cross_attention: np.ndarray, spans: Sequence[Sequence[int]], threshold: float
) -> np.ndarray:
    """The map (k, places) in [0, 1] of each of k spans of tokens; where they add to less than 1, the rest is
    background.

    A segment belongs to a span where the mean of one of its tokens over the segment, the token's attention
    scaled from 0 to 1 over all places, is above the threshold; without such a segment, the one that comes
    nearest does. Spans share a segment equally.
    """
    own = segments(self_attention)
    low, high = cross_attention.min(0), cross_attention.max(0)
    scaled = (cross_attention - low) / np.maximum(high - low, 1e-12)
    means = np.stack([scaled[own == one].mean(0) for one in range(own.max() + 1)])
    of_spans = np.stack([means[:, list(span)].max(1) for span in spans])
    belongs = of_spans >= np.minimum(threshold, of_spans.max(1, keepdims=True))
    return (belongs / np.maximum(belongs.sum(0), 1))[:, own]
