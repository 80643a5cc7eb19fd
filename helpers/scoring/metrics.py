"""Every score by the name that people read: what it needs, which way is good, and how it is computed."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from helpers.scoring import adherence, alignment, distances, intervals
from helpers.scoring.measurements import Measurements
from helpers.scoring.resampling import Distance

REALISM, BOXES, PROMPT = "Realism", "Following the boxes", "Following the prompt"
CAPTIONS, SEEDS = "Captions", "Two seeds"
SHARE = (0, 1)
FEWEST = 3  # scenes from which leaving one out still leaves a distance


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
    """needs: the fields of Measurements without which there is no such score. group: what is asked by it.

    digits: decimals that people read. limits: between which the metric lies whatever the pictures: an
    interval ends there.

    distance: for distances between sets, (n, d) and (m, d) features -> float, of the two fields that it
    needs.
    """

    measure: Callable[[Measurements], Measured]
    needs: tuple[str, ...]
    group: str
    lower_is_better: bool = False
    digits: int = 3
    limits: tuple[float, float] = (-np.inf, np.inf)
    distance: Distance | None = None


def metrics(inception: bool) -> dict[str, Metric]:
    """All metrics, in the order of the table. inception: whether realism is seen by pytorch-fid's Inception,
    so that the Fréchet distance is FID; else the names say that the demo CLIP sees it."""
    frechet, of = ("FID", "") if inception else ("Fréchet distance (demo CLIP)", " (demo CLIP)")
    digits = 2 if inception else 4  # Inception's features are long, CLIP's have length 1
    seen, clip = ("pictures", "photos"), ("image_embeds", "photo_embeds")
    found, crops, prompt = (
        ("layouts", "detections"),
        ("layouts", "crops", "phrases"),
        ("image_embeds", "text_embeds"),
    )
    frechet_parts = distances.frechet_distance, distances.frechet_leave_one_out
    cmmd_parts = distances.cmmd, distances.cmmd_leave_one_out
    return {
        frechet: _realism(*frechet_parts, seen, digits, limits=(0, np.inf)),
        f"KID × 1000{of}": _realism(_kid, lambda a, b: 1000 * distances.kid_leave_one_out(a, b), seen, 2),
        f"CMMD{of}": _realism(*cmmd_parts, clip, 3),
        "mean IoU": Metric(partial(_over_boxes, rows=lambda e: e.ious), found, BOXES, limits=SHARE),
        "found at IoU 0.5": Metric(partial(_over_boxes, rows=_found), found, BOXES, limits=SHARE),
        "AP": Metric(partial(_precision, which=0), found, BOXES, limits=SHARE),
        "AP50": Metric(partial(_precision, which=1), found, BOXES, limits=SHARE),
        "crop accuracy": Metric(partial(_over_boxes, rows=_crop_correct), crops, BOXES, limits=SHARE),
        "crop similarity": Metric(partial(_over_boxes, rows=_crop_similarity), crops, BOXES, limits=(-1, 1)),
        "colour distance": Metric(
            partial(_over_boxes, rows=lambda e: e.colours), ("colours",), BOXES, True, 1, (0, np.inf)
        ),
        "CLIP score": Metric(
            partial(_over_photos, rows=_clip_score), prompt, PROMPT, digits=2, limits=(0, 100)
        ),
        "R-precision": Metric(partial(_over_photos, rows=_r_precision), prompt, PROMPT, limits=SHARE),
        "variety": Metric(partial(_over_photos, rows=_variety), ("sibling_embeds",), SEEDS, limits=(0, 2)),
        "labels named": Metric(
            partial(_over_photos, rows=lambda e: e.named), ("named",), CAPTIONS, limits=SHARE
        ),
    }


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
    if len(measurements.scenes) < FEWEST:
        raise intervals.TooFew(f"{len(measurements.scenes)} scenes, at least {FEWEST} are needed")
    return metric.measure(measurements)


def box_rows(measurements: Measurements) -> list[dict]:
    """One row for each asked box: scene, box, label, phrase, size, found, iou, crop_correct, crop_similarity,
    colour_distance (None where the phrase names no colour)."""
    parts = (
        measurements.ious,
        _crop_correct(measurements),
        _crop_similarity(measurements),
        measurements.colours,
    )
    rows = []
    for i, (scene, asked) in enumerate(zip(measurements.scenes, measurements.layouts, strict=True)):
        sizes = adherence.size_of(asked.boxes)
        for k, (label, phrase) in enumerate(zip(asked.labels, asked.phrases, strict=True)):
            iou, correct, similarity, colour = (float(part[i][k]) for part in parts)
            row = {"scene": scene, "box": k, "label": label, "phrase": phrase, "size": sizes[k]}
            row |= {"found": iou >= adherence.FOUND, "iou": iou, "crop_correct": bool(correct)}
            rows.append(
                row | {"crop_similarity": similarity, "colour_distance": None if np.isnan(colour) else colour}
            )
    return rows


def _realism(
    distance: Distance,
    left_out: Distance,
    fields: tuple[str, str],
    digits: int,
    limits: tuple[float, float] = (-np.inf, np.inf),
) -> Metric:
    def measured(e: Measurements) -> Measured:
        a, b = (getattr(e, field) for field in fields)
        return Measured(distance(a, b), left_out(a, b))

    return Metric(measured, fields, REALISM, True, digits, limits, distance)


def _kid(a: np.ndarray, b: np.ndarray) -> float:
    return 1000 * distances.kid(a, b)


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


def _found(e: Measurements) -> tuple[np.ndarray, ...]:
    return tuple(iou >= adherence.FOUND for iou in e.ious)


def _crop_correct(e: Measurements) -> tuple[np.ndarray, ...]:
    place = {phrase: k for k, phrase in enumerate(e.phrases)}
    own = np.array([place[phrase] for asked in e.layouts for phrase in asked.phrases], np.int64)
    correct = alignment.crop_correct(np.concatenate(e.crops), np.stack([*e.phrases.values()]), own)
    return _by_scene(correct.astype(float), e)


def _crop_similarity(e: Measurements) -> tuple[np.ndarray, ...]:
    own = np.stack([e.phrases[phrase] for asked in e.layouts for phrase in asked.phrases])
    return _by_scene(alignment.similarity(np.concatenate(e.crops), own), e)


def _by_scene(values: np.ndarray, e: Measurements) -> tuple[np.ndarray, ...]:
    return tuple(np.split(values, np.cumsum([len(asked.boxes) for asked in e.layouts])[:-1]))


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
