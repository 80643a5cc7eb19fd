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
    numbers = {
        "iou": unknown if e.detections is None else e.ious,
        "crop_correct": unknown if e.crops is None else crop_correct(e),
        "crop_similarity": unknown if e.crops is None else crop_similarity(e),
        "colour_distance": e.colours,
        "rgb_distance": e.rgb or unknown,
    }
    table = []
    for i, (scene, asked) in enumerate(zip(e.scenes, e.layouts, strict=True)):
        for k, size in enumerate(adherence.size_of(asked.boxes)):
            row = {"scene": scene, "box": k, "label": asked.labels[k], "phrase": asked.phrases[k]}
            row |= {"size": size, "found": None}
            for name, parts in numbers.items():
                row[name] = None if np.isnan(parts[i][k]) else float(parts[i][k])
            if row["iou"] is not None:
                row["found"] = bool(adherence.reaches(row["iou"]))
            if row["crop_correct"] is not None:
                row["crop_correct"] = bool(row["crop_correct"])
            table.append(row)
    return table


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
