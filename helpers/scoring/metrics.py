"""The table of metrics, by the names that people read; whether one applies, what it measures of an arm, and
its interval."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from weakref import WeakKeyDictionary

import numpy as np

from helpers.models.sets import extractor_name
from helpers.scenes.boxes import PLACES
from helpers.scoring import adherence, alignment, box_values, classification, distances, edits, intervals
from helpers.scoring.attributes import divergence
from helpers.scoring.intervals import Estimate, Measured
from helpers.scoring.manifolds import NEIGHBOURS, manifolds
from helpers.scoring.measurements import Measurements
from helpers.scoring.shares import share_interval

REALISM, BOXES, PROMPT = "Realism", "Following the boxes", "Following the prompt"
CAPTIONS, SEEDS, EDITS, ATTRIBUTES = "Captions", "Two seeds", "Edits", "Attributes"
NOT_JUDGED = "not judged"  # what the reason of a withheld score starts with
FOUND = "found at IoU 0.5"
COMMON = f"{FOUND}, of the {PLACES} largest boxes"  # which every model is given
SHARE, OWN_PHOTOS = (0, 1), "to their own photos"
REWARDED = "a picture resembles the photo that it is made from, and this distance rewards that"

# precision and recall come from one computation, also where arms are measured side by side
_manifolds: WeakKeyDictionary[Measurements, dict[tuple[str, str], tuple[Measured, Measured]]]
_manifolds = WeakKeyDictionary()


@dataclass(frozen=True)
class Metric:
    """A score of an arm: how it is computed, from what, and how people read it.

    needs: the fields of Measurements without which there is no such score. group: the heading of its table.
    digits: decimals that people read. limits: what it never leaves, where an interval ends. share: whether it
    is a share of boxes or photos, sums of counts. fewest: scenes that leave enough when one is left out.
    no_verdict: why no arm is called better by it. halves: what two random halves of the photos get, photos
    (n, d) and number of splits -> (splits,). crowded: only where a scene has more than PLACES boxes.
    """

    measure: Callable[[Measurements], Measured]
    needs: tuple[str, ...]
    group: str
    lower_is_better: bool = False
    digits: int = 3
    limits: tuple[float, float] = (-np.inf, np.inf)
    share: bool = False
    fewest: int = 3
    no_verdict: str = ""
    halves: Callable[[np.ndarray, int], np.ndarray] | None = None
    crowded: bool = False


def withheld(metric: Metric, measurements: Measurements) -> str:
    """Why the metric is not judged; "" where it is, or where it does not apply."""
    reasons = (measurements.withheld.get(field, "") for field in metric.needs)
    return next(filter(None, reasons), "")


def applies(metric: Metric, measurements: Measurements) -> bool:
    """Whether the arm has what the metric looks at: the fields, a box where it looks at boxes, a phrase that
    names a colour where it looks at colours."""
    if any(getattr(measurements, field) is None for field in metric.needs):
        return False
    if metric.needs in (("colours",), ("rgb",)):
        return any(np.isfinite(rows).any() for rows in getattr(measurements, *metric.needs))
    least = PLACES + 1 if metric.crowded else 1
    return "layouts" not in metric.needs or any(len(one.boxes) >= least for one in measurements.layouts)


def measure(metric: Metric, measurements: Measurements) -> Measured:
    """Raises TooFew where leaving one scene out leaves nothing to measure."""
    if (n := len(measurements.scenes)) < metric.fewest:
        raise intervals.TooFew(f"{n} scenes, at least {metric.fewest} are needed")
    return metric.measure(measurements)


def interval(metric: Metric, measured: Measured) -> Estimate:
    """The value with its interval: of shares one that is never without width, of means over pairs one that
    holds 0 as often as it says, of others the jackknife's."""
    if measured.pair_variance is not None:
        facts = measured.left_out, measured.pair_variance, measured.bias or 0
        return intervals.quadratic(measured.value, *facts).within(*metric.limits)
    estimate = intervals.jackknife(measured.value, measured.left_out).within(*metric.limits)
    if not metric.share:
        return estimate
    share = replace(share_interval(measured.sums, measured.counts), n=estimate.n)
    given = metric.group == REALISM and share.standard_error < estimate.standard_error
    return estimate if given else share  # an interval that takes the manifolds as given may be too narrow


def metrics(inception: bool) -> dict[str, Metric]:
    """All metrics, in the order of the table; the first is what verdicts on realism rest on. inception:
    whether pytorch-fid's Inception sees realism, so that there is a FID, and the published CLIP a CMMD."""
    found, crops = ("layouts", "detections"), ("layouts", "crops", "phrases")
    prompt = "image_embeds", "text_embeds"
    beside = _realism(extractor_name(), ("efficientnet_pictures", "efficientnet_photos"))
    beside["CMMD (CLIP ViT-L/14, 224 px, unbiased)"] = _of_sets(
        distances.paired_cmmd, ("image_embeds", "photo_embeds"), halves=distances.cmmd_halves
    )
    boxes, share = {"group": BOXES, "limits": SHARE}, partial(_mean, limits=SHARE, share=True)
    edited, nearness = ("edited", "crops", "phrases"), ("edited", "image_embeds")
    return {
        **_realism(extractor_name(inception), ("pictures", "photos")),
        **(beside if inception else {}),
        "mean IoU": _mean(lambda e: e.ious, found, **boxes),
        FOUND: share(box_values.found, found, BOXES),
        COMMON: share(box_values.found_of_common, found, BOXES, crowded=True),
        **{
            name: Metric(lambda e, name=name: Measured(*e.precision.over[name]), found, **boxes)
            for name in adherence.PRECISIONS
        },
        "crop accuracy": share(box_values.crop_correct, crops, BOXES),
        "crop similarity": _mean(box_values.crop_similarity, crops, BOXES, limits=(-1, 1)),
        "colour distance": _mean(lambda e: e.colours, ("colours",), BOXES, True, 1, (0, np.inf)),
        "CAS (linear)": share(lambda e: classification.named(*e.patches), ("layouts", "patches"), BOXES),
        "RGB distance": _mean(lambda e: e.rgb, ("rgb",), BOXES, True, limits=(0, np.sqrt(3))),
        "CLIP score": _mean(
            lambda e: alignment.clip_score(e.image_embeds, e.text_embeds), prompt, PROMPT, False, 2, (0, 100)
        ),
        "R-precision": share(lambda e: alignment.r_precision(e.image_embeds, e.text_embeds), prompt, PROMPT),
        "variety": _mean(_variety, ("sibling_embeds",), SEEDS, limits=(0, 2)),
        "edit done": share(
            lambda e: edits.done(e.edited, box_values.crop_correct(e), e.image_embeds), edited, EDITS
        ),
        "kept outside (dB)": _mean(lambda e: e.edited.psnr, ("edited",), EDITS, digits=1),
        "others spared": share(lambda e: edits.spared(e.edited, box_values.crop_correct(e)), edited, EDITS),
        "CLIP direction": _mean(
            lambda e: edits.direction(e.edited, e.image_embeds), nearness, EDITS, limits=(-1, 1)
        ),
        "CLIP image": _mean(
            lambda e: alignment.similarity(e.image_embeds, e.edited.photos), nearness, EDITS, limits=(-1, 1)
        ),
        "attribute KL": Metric(
            lambda e: divergence(e.categories), ("categories",), ATTRIBUTES, True, 3, (0, np.inf)
        ),
        "hit rate": share(lambda e: e.hits, ("hits",), ATTRIBUTES),
        "labels named": share(lambda e: e.named, ("named",), CAPTIONS),
    }


def _realism(network: str, fields: tuple[str, str]) -> dict[str, Metric]:
    """Distances of pictures and photos, and how far their manifolds overlap, as the network sees them."""
    frechet = "FID" if network == "Inception" else f"Fréchet distance ({network})"
    share = {"needs": fields, "group": REALISM, "limits": SHARE, "share": True, "fewest": NEIGHBOURS + 3}
    share["no_verdict"] = "no test of it was tried"
    digits = {"digits": 1, "limits": (0, np.inf)}
    return {
        f"KID × 1000 ({network})": _of_sets(
            distances.paired_kid,
            fields,
            1000,
            digits=2 if network == "Inception" else 1,
            halves=lambda photos, splits: 1000 * distances.kid_halves(photos, splits),
        ),
        f"{frechet} {OWN_PHOTOS}": _of_sets(distances.paired_frechet, fields, no_verdict=REWARDED, **digits),
        f"{frechet} crossed": _of_sets(distances.crossed_frechet, fields, fewest=6, **digits),
        f"precision ({network})": Metric(partial(_inside, fields=fields, which=0), **share),
        f"recall ({network})": Metric(partial(_inside, fields=fields, which=1), **share),
    }


def _of_sets(
    distance: Callable[..., tuple], fields: tuple[str, str], scale: float = 1, **options: object
) -> Metric:
    """A distance of pictures and photos; fields: the features of both; options: other fields of Metric."""

    def measured(e: Measurements) -> Measured:
        value, left_out, *variance = distance(*(getattr(e, field) for field in fields))
        variance = scale**2 * variance[0] if variance else None
        return Measured(scale * value, scale * left_out, pair_variance=variance)

    return Metric(measured, fields, REALISM, lower_is_better=True, **options)


def _inside(e: Measurements, fields: tuple[str, str], which: int) -> Measured:
    """Precision (0) or recall (1)."""
    known = _manifolds.setdefault(e, {})
    if fields not in known:
        known[fields] = manifolds(*(getattr(e, field) for field in fields))
    return known[fields][which]


def _mean(rows: Callable[[Measurements], Sequence[np.ndarray]], *facts: object, **options: object) -> Metric:
    """A mean over boxes, rows (k,) of each photo, or over photos, rows (n,); a photo leaves with all of its
    boxes, and NaN is not counted. facts, options: the other fields of Metric."""

    def measured(e: Measurements) -> Measured:
        parts = [np.ravel(one) for one in rows(e)]
        photos, values = np.repeat(np.arange(len(parts)), [len(one) for one in parts]), np.concatenate(parts)
        there = np.isfinite(values)
        sums, counts = (
            np.bincount(photos[there], weights, len(parts)).astype(float) for weights in (values[there], None)
        )
        return Measured(*intervals.ratio_left_out(sums, counts), sums, counts)

    return Metric(measured, *facts, **options)


def _variety(e: Measurements) -> np.ndarray:
    """1 - cosine to the picture with the smaller seed; NaN, which is not counted, where there is none."""
    there = np.isfinite(e.sibling_embeds).all(1)
    values = np.full(len(there), np.nan)
    values[there] = 1 - alignment.similarity(e.image_embeds[there], e.sibling_embeds[there])
    return values
