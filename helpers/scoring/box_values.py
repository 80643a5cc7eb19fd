"""What is measured of each box that was asked for: an array (k,) per scene with k boxes."""

import numpy as np

from helpers.scenes.boxes import largest
from helpers.scoring import adherence, alignment
from helpers.scoring.measurements import Measurements


def rows(measurements: Measurements) -> list[dict]:
    """One row for each asked box: scene, box, label, phrase, size, found, iou, crop_correct, crop_similarity,
    colour_distance, rgb_distance; None for what is not judged, for the colour of a phrase that names none,
    and where the photo shows none."""
    e, unknown = measurements, [np.full(len(one.boxes), np.nan) for one in measurements.layouts]
    ious = unknown if e.detections is None else e.ious
    crops = [unknown if e.crops is None else values(e) for values in (crop_correct, crop_similarity)]
    numbers = (
        [None if np.isnan(value) else float(value) for value in np.concatenate(parts)]
        for parts in (ious, *crops, e.colours, e.rgb or unknown)
    )
    boxes = (
        {"scene": scene, "box": k, "label": label, "phrase": phrase, "size": size}
        for scene, one in zip(e.scenes, e.layouts, strict=True)
        for k, (label, phrase, size) in enumerate(
            zip(one.labels, one.phrases, adherence.size_of(one.boxes), strict=True)
        )
    )
    return [
        box
        | {"found": None if iou is None else bool(adherence.reaches(iou)), "iou": iou}
        | {"crop_correct": None if right is None else bool(right), "crop_similarity": near}
        | {"colour_distance": colour, "rgb_distance": rgb}
        for box, iou, right, near, colour, rgb in zip(boxes, *numbers, strict=True)
    ]


def found(e: Measurements) -> tuple[np.ndarray, ...]:
    """Whether each box is found, as 0 and 1; NaN where the detector does not know its label."""
    return tuple(np.where(np.isnan(iou), np.nan, adherence.reaches(iou)) for iou in e.ious)


def found_of_common(e: Measurements) -> tuple[np.ndarray, ...]:
    """The same of the largest boxes, which every model is given."""
    return tuple(one[largest(asked.boxes)[0]] for one, asked in zip(found(e), e.layouts, strict=True))


def crop_correct(e: Measurements) -> tuple[np.ndarray, ...]:
    """Whether each crop is nearest to its own phrase among all, as 0 and 1."""
    place = {phrase: k for k, phrase in enumerate(e.phrases)}
    own = np.array([place[phrase] for asked in e.layouts for phrase in asked.phrases], np.int64)
    correct = alignment.crop_correct(np.concatenate(e.crops), np.stack([*e.phrases.values()]), own)
    return _by_scene(correct.astype(float), e)


def crop_similarity(e: Measurements) -> tuple[np.ndarray, ...]:
    """Cosine of each crop and its phrase."""
    own = np.stack([e.phrases[phrase] for asked in e.layouts for phrase in asked.phrases])
    return _by_scene(alignment.similarity(np.concatenate(e.crops), own), e)


def _by_scene(values: np.ndarray, e: Measurements) -> tuple[np.ndarray, ...]:
    return tuple(np.split(values, np.cumsum([len(asked.boxes) for asked in e.layouts])[:-1]))
