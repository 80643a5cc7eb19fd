"""Every score by the name that people read: what it needs, which way is good, and how it is computed."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from helpers.models.sets import extractor_name
from helpers.scoring import alignment, box_values, distances, edits, intervals
from helpers.scoring.intervals import Estimate
from helpers.scoring.manifolds import NEIGHBOURS, manifolds
from helpers.scoring.measurements import Measurements
from helpers.scoring.resampling import Distance
from helpers.scoring.shares import share_interval

REALISM, BOXES, PROMPT = "Realism", "Following the boxes", "Following the prompt"
CAPTIONS, SEEDS, EDITS = "Captions", "Two seeds", "Edits"
NOT_JUDGED = "not judged"  # what the reason of a withheld score starts with
SHARE = (0, 1)
OWN_PHOTOS = "to their own photos"
REWARDED = "a picture resembles the photo that it is made from, and this distance rewards that"


@dataclass(frozen=True, eq=False)
class Measured:
    """One metric of one arm. value: from all n scenes; left_out: (n,) without scene i.

    sums, counts: (n,) where the metric is a mean, of photos or of boxes, with value = sum(sums) /
    sum(counts).
    """

    value: float
    left_out: np.ndarray
    sums: np.ndarray | None = None
    counts: np.ndarray | None = None


@dataclass(frozen=True)
class Metric:
    """A score of an arm: how it is computed, from what, and how people read it.

    needs: the fields of Measurements without which there is no such score. group: the heading of its table.

    digits: decimals that people read. limits: between which the metric lies whatever the pictures: an
    interval ends there. share: whether it is a share of boxes or photos, sums of counts. fewest: scenes from
    which it can be measured without one of them. no_verdict: why no arm is called better by it. distance: of
    independent sets without bias, (n, d) and (m, d) features -> float: photos get it half against half.
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
    distance: Distance | None = None


def metrics(inception: bool) -> dict[str, Metric]:
    """All metrics, in the order of the table; the first is what verdicts on realism rest on. inception:
    whether pytorch-fid's Inception sees realism, so that there is a FID, and the published CLIP a CMMD."""
    found, crops, prompt = (
        ("layouts", "detections"),
        ("layouts", "crops", "phrases"),
        ("image_embeds", "text_embeds"),
    )
    boxes, share = {"group": BOXES, "limits": SHARE}, {"limits": SHARE, "share": True}
    return {
        **_realism(extractor_name(inception), ("pictures", "photos")),
        **(_published() if inception else {}),
        "mean IoU": Metric(partial(_over_boxes, rows=lambda e: e.ious), found, **boxes),
        "found at IoU 0.5": Metric(partial(_over_boxes, rows=box_values.found), found, BOXES, **share),
        "AP": Metric(lambda e: _precision(e, 0), found, **boxes),
        "AP50": Metric(lambda e: _precision(e, 1), found, **boxes),
        "AP75": Metric(lambda e: Measured(*e.precision.more["AP75"]), found, **boxes),
        "AR": Metric(lambda e: Measured(*e.precision.more["AR"]), found, **boxes),
        "crop accuracy": Metric(partial(_over_boxes, rows=box_values.crop_correct), crops, BOXES, **share),
        "crop similarity": Metric(
            partial(_over_boxes, rows=box_values.crop_similarity), crops, BOXES, limits=(-1, 1)
        ),
        "colour distance": Metric(
            partial(_over_boxes, rows=lambda e: e.colours), ("colours",), BOXES, True, 1, (0, np.inf)
        ),
        "CLIP score": Metric(
            partial(_over_photos, rows=_clip_score), prompt, PROMPT, digits=2, limits=(0, 100)
        ),
        "R-precision": Metric(partial(_over_photos, rows=_r_precision), prompt, PROMPT, **share),
        "variety": Metric(partial(_over_photos, rows=_variety), ("sibling_embeds",), SEEDS, limits=(0, 2)),
        **_edits(),
        "labels named": Metric(partial(_over_photos, rows=lambda e: e.named), ("named",), CAPTIONS, **share),
    }


def _edits() -> dict[str, Metric]:
    """Of an arm of an edit set: what was to change has changed, and nothing else has."""
    crops, clip = ("edited", "crops", "phrases"), ("edited", "image_embeds")

    def done(e: Measurements) -> np.ndarray:
        return edits.done(e.edited, box_values.crop_correct(e), e.image_embeds)

    def direction(e: Measurements) -> np.ndarray:
        return edits.direction(e.image_embeds, e.edited.photos, e.edited.target, e.edited.source)

    def alike(e: Measurements) -> np.ndarray:
        return alignment.similarity(e.image_embeds, e.edited.photos)

    def spared(e: Measurements) -> tuple[np.ndarray, ...]:
        return edits.spared(e.edited, box_values.crop_correct(e))

    return {
        "edit done": Metric(partial(_over_photos, rows=done), crops, EDITS, limits=SHARE, share=True),
        "kept outside (dB)": Metric(
            partial(_over_photos, rows=lambda e: e.edited.psnr), ("edited",), EDITS, digits=1
        ),
        "others spared": Metric(partial(_over_boxes, rows=spared), crops, EDITS, limits=SHARE, share=True),
        "CLIP direction": Metric(partial(_over_photos, rows=direction), clip, EDITS, limits=(-1, 1)),
        "CLIP image": Metric(partial(_over_photos, rows=alike), clip, EDITS, limits=(-1, 1)),
    }


def withheld(metric: Metric, measurements: Measurements) -> str:
    """Why the metric is not judged; "" where it is, or where it does not apply."""
    reasons = getattr(measurements, "withheld", {})
    return next((reasons[field] for field in metric.needs if field in reasons), "")


def applies(metric: Metric, measurements: Measurements) -> bool:
    """Whether the arm has what the metric looks at: the fields, a box where it looks at boxes, a phrase that
    names a colour where it looks at colours."""
    if any(getattr(measurements, field) is None for field in metric.needs):
        return False
    if "colours" in metric.needs:
        return any(np.isfinite(rows).any() for rows in measurements.colours)
    return "layouts" not in metric.needs or any(len(one.boxes) for one in measurements.layouts)


def measure(metric: Metric, measurements: Measurements) -> Measured:
    """Raises TooFew where leaving one scene out leaves nothing to measure."""
    if (n := len(measurements.scenes)) < metric.fewest:
        raise intervals.TooFew(f"{n} scenes, at least {metric.fewest} are needed")
    return metric.measure(measurements)


def interval(metric: Metric, measured: Measured) -> Estimate:
    """The value with its interval: of shares one that is never without width, of others the jackknife's."""
    estimate = intervals.jackknife(measured.value, measured.left_out).within(*metric.limits)
    if not metric.share:
        return estimate
    share = replace(share_interval(measured.sums, measured.counts), n=estimate.n)
    given = metric.group == REALISM and share.standard_error < estimate.standard_error
    return estimate if given else share  # an interval that takes the manifolds as given may be too narrow


def _realism(network: str, fields: tuple[str, str]) -> dict[str, Metric]:
    """Distances of pictures and photos, and how far their manifolds overlap, as the network sees them."""
    frechet = "FID" if network == "Inception" else f"Fréchet distance ({network})"

    def of(function: Callable[..., object], **options: object) -> Callable[[Measurements], Measured]:
        return lambda e: Measured(*function(*(getattr(e, field) for field in fields), **options))

    lower = {"needs": fields, "group": REALISM, "lower_is_better": True}
    share = {"needs": fields, "group": REALISM, "limits": SHARE, "share": True, "fewest": NEIGHBOURS + 3}
    share |= {"no_verdict": "no test of it was tried"}
    digits = {"digits": 1, "limits": (0, np.inf)}
    kid = of(_both(distances.kid, distances.kid_leave_one_out, 1000, own_pairs=False))
    own = of(_both(distances.frechet_distance, distances.frechet_leave_one_out))
    return {
        f"KID × 1000 ({network})": Metric(
            kid, digits=2 if network == "Inception" else 1, distance=_kid, **lower
        ),
        f"{frechet} {OWN_PHOTOS}": Metric(own, no_verdict=REWARDED, **lower, **digits),
        f"{frechet} crossed": Metric(of(distances.crossed_frechet), fewest=6, **lower, **digits),
        f"precision ({network})": Metric(of(_inside, which=0), **share),
        f"recall ({network})": Metric(of(_inside, which=1), **share),
    }


def _published() -> dict[str, Metric]:
    """What stands beside Inception's measures where all published networks are there."""
    clip = "image_embeds", "photo_embeds"
    cmmd = _both(distances.cmmd, distances.cmmd_leave_one_out, own_pairs=False)
    return _realism(extractor_name(), ("efficientnet_pictures", "efficientnet_photos")) | {
        "CMMD (CLIP ViT-L/14, 224 px, unbiased)": Metric(
            lambda e: Measured(*cmmd(e.image_embeds, e.photo_embeds)),
            clip,
            REALISM,
            True,
            distance=distances.cmmd,
        )
    }


def _kid(a: np.ndarray, b: np.ndarray) -> float:
    return 1000 * distances.kid(a, b)


def _both(value: Callable, left_out: Callable, scale: float = 1, **options: bool) -> Callable:
    """(n, d) and (n, d) features -> the distance, and the same without each scene."""
    return lambda a, b: (scale * value(a, b, **options), scale * left_out(a, b, **options))


def _inside(a: np.ndarray, b: np.ndarray, which: int) -> tuple[float, np.ndarray, np.ndarray, np.ndarray]:
    """Precision (0) or recall (1), where the own photo's ball alone does not count."""
    m = manifolds(a, b, own_pairs=False)
    value, left_out = ((m.precision, m.precision_left_out), (m.recall, m.recall_left_out))[which]
    return value, left_out, m.inside[which].astype(float), np.ones(len(a))


def _precision(e: Measurements, which: int) -> Measured:
    return Measured(float(e.precision.value[which]), e.precision.left_out[:, which])


def _over_boxes(e: Measurements, rows: Callable[[Measurements], tuple[np.ndarray, ...]]) -> Measured:
    """A mean over boxes; a photo leaves with all of its boxes."""
    values = rows(e)
    sums = np.array([np.nansum(one) for one in values])
    counts = np.array([np.isfinite(one).sum() for one in values], float)
    return Measured(*intervals.ratio_left_out(sums, counts), sums, counts)


def _over_photos(e: Measurements, rows: Callable[[Measurements], np.ndarray]) -> Measured:
    return _over_boxes(e, lambda e: rows(e)[:, None])


def _clip_score(e: Measurements) -> np.ndarray:
    return alignment.clip_score(e.image_embeds, e.text_embeds)


def _r_precision(e: Measurements) -> np.ndarray:
    return alignment.r_precision(e.image_embeds, e.text_embeds)


def _variety(e: Measurements) -> np.ndarray:
    """1 - cosine to the picture with the smaller seed; NaN, which is not counted, where there is none."""
    there = np.isfinite(e.sibling_embeds).all(1)
    values = np.full(len(there), np.nan)
    values[there] = 1 - alignment.similarity(e.image_embeds[there], e.sibling_embeds[there])
    return values
