"""The table of metrics, by the names that people read."""

from collections.abc import Callable, Sequence
from functools import partial
from weakref import WeakKeyDictionary

import numpy as np

from helpers.models.sets import extractor_name
from helpers.scenes.boxes import PLACES
from helpers.scoring import adherence, alignment, box_values, classification, distances, edits, intervals
from helpers.scoring.attributes import divergence
from helpers.scoring.manifolds import NEIGHBOURS, Manifolds, manifolds
from helpers.scoring.measurements import Measurements
from helpers.scoring.metric import (
    ATTRIBUTES,
    BOXES,
    CAPTIONS,
    EDITS,
    PROMPT,
    REALISM,
    SEEDS,
    Measured,
    Metric,
)

FOUND = "found at IoU 0.5"
COMMON = f"{FOUND}, of the {PLACES} largest boxes"  # which every model is given
SHARE, OWN_PHOTOS = (0, 1), "to their own photos"
REWARDED = "a picture resembles the photo that it is made from, and this distance rewards that"

# precision and recall come from one computation, also where arms are measured side by side
_manifolds: WeakKeyDictionary[Measurements, dict[tuple[str, str], Manifolds]] = WeakKeyDictionary()


def metrics(inception: bool) -> dict[str, Metric]:
    """All metrics, in the order of the table; the first is what verdicts on realism rest on. inception:
    whether pytorch-fid's Inception sees realism, so that there is a FID, and the published CLIP a CMMD."""
    found, crops = ("layouts", "detections"), ("layouts", "crops", "phrases")
    prompt = "image_embeds", "text_embeds"
    boxes, share = {"group": BOXES, "limits": SHARE}, {"limits": SHARE, "share": True}
    return {
        **_realism(extractor_name(inception), ("pictures", "photos")),
        **(_published() if inception else {}),
        "mean IoU": Metric(_mean(lambda e: e.ious), found, **boxes),
        FOUND: Metric(_mean(box_values.found), found, BOXES, **share),
        COMMON: Metric(_mean(box_values.found_of_common), found, BOXES, **share, crowded=True),
        **{
            name: Metric(lambda e, name=name: Measured(*e.precision.over[name]), found, **boxes)
            for name in adherence.PRECISIONS
        },
        "crop accuracy": Metric(_mean(box_values.crop_correct), crops, BOXES, **share),
        "crop similarity": Metric(_mean(box_values.crop_similarity), crops, BOXES, limits=(-1, 1)),
        "colour distance": Metric(_mean(lambda e: e.colours), ("colours",), BOXES, True, 1, (0, np.inf)),
        "CAS (linear)": Metric(
            _mean(lambda e: classification.named(*e.patches)), ("layouts", "patches"), BOXES, **share
        ),
        "RGB distance": Metric(_mean(lambda e: e.rgb), ("rgb",), BOXES, True, limits=(0, np.sqrt(3))),
        "CLIP score": Metric(_mean(_pairs(alignment.clip_score)), prompt, PROMPT, digits=2, limits=(0, 100)),
        "R-precision": Metric(_mean(_pairs(alignment.r_precision)), prompt, PROMPT, **share),
        "variety": Metric(_mean(_variety), ("sibling_embeds",), SEEDS, limits=(0, 2)),
        **_edits(),
        "attribute KL": Metric(
            lambda e: divergence(e.categories), ("categories",), ATTRIBUTES, True, 3, (0, np.inf)
        ),
        "hit rate": Metric(_mean(lambda e: e.hits), ("hits",), ATTRIBUTES, **share),
        "labels named": Metric(_mean(lambda e: e.named), ("named",), CAPTIONS, **share),
    }


def _edits() -> dict[str, Metric]:
    """Of an arm of an edit set: what was to change has changed, and nothing else has."""
    crops = "edited", "crops", "phrases"
    clip = {"needs": ("edited", "image_embeds"), "group": EDITS, "limits": (-1, 1)}

    def done(e: Measurements) -> np.ndarray:
        return edits.done(e.edited, box_values.crop_correct(e), e.image_embeds)

    def spared(e: Measurements) -> tuple[np.ndarray, ...]:
        return edits.spared(e.edited, box_values.crop_correct(e))

    def direction(e: Measurements) -> np.ndarray:
        return edits.direction(e.image_embeds, e.edited.photos, e.edited.target, e.edited.source)

    return {
        "edit done": Metric(_mean(done), crops, EDITS, limits=SHARE, share=True),
        "kept outside (dB)": Metric(_mean(lambda e: e.edited.psnr), ("edited",), EDITS, digits=1),
        "others spared": Metric(_mean(spared), crops, EDITS, limits=SHARE, share=True),
        "CLIP direction": Metric(_mean(direction), **clip),
        "CLIP image": Metric(_mean(lambda e: alignment.similarity(e.image_embeds, e.edited.photos)), **clip),
    }


def _realism(network: str, fields: tuple[str, str]) -> dict[str, Metric]:
    """Distances of pictures and photos, and how far their manifolds overlap, as the network sees them."""
    frechet = "FID" if network == "Inception" else f"Fréchet distance ({network})"
    lower = {"needs": fields, "group": REALISM, "lower_is_better": True}
    share = {"needs": fields, "group": REALISM, "limits": SHARE, "share": True, "fewest": NEIGHBOURS + 3}
    share |= {"no_verdict": "no test of it was tried"}
    digits = {"digits": 1, "limits": (0, np.inf)}
    return {
        f"KID × 1000 ({network})": Metric(
            _of_sets(distances.paired_kid, fields, 1000),
            digits=2 if network == "Inception" else 1,
            halves=lambda photos, splits: 1000 * distances.kid_halves(photos, splits),
            **lower,
        ),
        f"{frechet} {OWN_PHOTOS}": Metric(
            _of_sets(distances.paired_frechet, fields), no_verdict=REWARDED, **lower, **digits
        ),
        f"{frechet} crossed": Metric(
            _of_sets(distances.crossed_frechet, fields), fewest=6, **lower, **digits
        ),
        f"precision ({network})": Metric(partial(_inside, fields=fields, which=0), **share),
        f"recall ({network})": Metric(partial(_inside, fields=fields, which=1), **share),
    }


def _published() -> dict[str, Metric]:
    """What stands beside Inception's measures where all published networks are there."""
    clip = "image_embeds", "photo_embeds"
    cmmd = Metric(_of_sets(distances.paired_cmmd, clip), clip, REALISM, True, halves=distances.cmmd_halves)
    seen = _realism(extractor_name(), ("efficientnet_pictures", "efficientnet_photos"))
    return seen | {"CMMD (CLIP ViT-L/14, 224 px, unbiased)": cmmd}


def _of_sets(
    distance: Callable[..., tuple], fields: tuple[str, str], scale: float = 1
) -> Callable[[Measurements], Measured]:
    """A distance of pictures and photos; fields: the features of both."""

    def measured(e: Measurements) -> Measured:
        value, left_out, *variance = distance(*(getattr(e, field) for field in fields))
        variance = scale**2 * variance[0] if variance else None
        return Measured(scale * value, scale * left_out, pair_variance=variance)

    return measured


def _inside(e: Measurements, fields: tuple[str, str], which: int) -> Measured:
    """Precision (0) or recall (1), where the own photo's ball alone does not count."""
    known = _manifolds.setdefault(e, {})
    if fields not in known:
        known[fields] = manifolds(*(getattr(e, field) for field in fields), own_pairs=False)
    m = known[fields]
    value, left_out = ((m.precision, m.precision_left_out), (m.recall, m.recall_left_out))[which]
    return Measured(value, left_out, m.inside[which].astype(float), np.ones(len(left_out)))


def _precision(name: str, e: Measurements) -> Measured:
    return Measured(*e.precision.over[name])


def _mean(rows: Callable[[Measurements], Sequence[np.ndarray]]) -> Callable[[Measurements], Measured]:
    """A mean over boxes, rows (k,) of each photo, or over photos, rows (n,); a photo leaves with all of its
    boxes, and NaN is not counted."""

    def measured(e: Measurements) -> Measured:
        parts = [np.ravel(one) for one in rows(e)]
        photos, values = np.repeat(np.arange(len(parts)), [len(one) for one in parts]), np.concatenate(parts)
        there = np.isfinite(values)
        sums, counts = (
            np.bincount(photos[there], weights, len(parts)).astype(float) for weights in (values[there], None)
        )
        return Measured(*intervals.ratio_left_out(sums, counts), sums, counts)

    return measured


def _pairs(score: Callable[..., np.ndarray]) -> Callable[[Measurements], np.ndarray]:
    return lambda e: score(e.image_embeds, e.text_embeds)


def _variety(e: Measurements) -> np.ndarray:
    """1 - cosine to the picture with the smaller seed; NaN, which is not counted, where there is none."""
    there = np.isfinite(e.sibling_embeds).all(1)
    values = np.full(len(there), np.nan)
    values[there] = 1 - alignment.similarity(e.image_embeds[there], e.sibling_embeds[there])
    return values


def _precision(name: str, e: Measurements) -> Measured:
    return Measured(*e.precision.over[name])
