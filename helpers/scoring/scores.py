"""The scores of an arm: a table with a value, an interval and an N per metric, and what each value would be
without one scene, so that arms can be compared from the files alone."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

from helpers.files import beside, stamp
from helpers.models.sets import ModelSet, model_set
from helpers.runs.run import Run
from helpers.scenes.scenes import Scene
from helpers.scoring import adherence, box_values, intervals
from helpers.scoring.extraction import PHOTOS
from helpers.scoring.intervals import Estimate
from helpers.scoring.judges import Judges
from helpers.scoring.judges import load_judges as load_judges
from helpers.scoring.measurements import CAPTIONER, Measurements, collect
from helpers.scoring.metrics import (
    OWN_PHOTOS,
    REALISM,
    Measured,
    Metric,
    applies,
    interval,
    measure,
    metrics,
    withheld,
)
from helpers.scoring.resampling import split_half

ROUND_TRIP = "round-trip"  # control arm: the photos through the autoencoder
SHUFFLED = "shuffled-"  # + an arm's name: its pictures against the boxes of other scenes
CHANCE = "chance"  # control arm: what judges score that see nothing
SPLITS = 100


@dataclass(frozen=True, eq=False)
class ArmScores:
    """The metrics of an arm by name, over its scenes (n,) in the run's order: scores/<arm>.npz.

    precision: (AP, AP50) by group, "label" or "size", then by its value.
    """

    scenes: tuple[str, ...]
    metrics: dict[str, Measured]
    precision: dict[str, dict[str, np.ndarray]]


def realism(models: ModelSet) -> str:
    """The name of the distance that verdicts on realism rest on, such as "KID × 1000 (Inception)"."""
    return next(iter(metrics(models.inception)))


def metrics_of(run: Run) -> dict[str, Metric]:
    """Every metric of a run by its name, in the order of the table."""
    return metrics(model_set(run.card["protocol"]["models"]).inception)


def score(run: Run, scenes: Sequence[Scene], arms: Sequence[str], judges: Judges) -> pd.DataFrame:
    """Score arms; what a judge said of a picture is not asked again. Returns their rows of `Run.scores`.

    Writes features/<extractor>/<arm>.npz, boxes/<arm>.jsonl (a row per box), scores/<arm>.npz (`ArmScores`)
    and scores/<arm>.json. Captions are those of the chosen captioner (prompts/caption.jsonl). Missing,
    flagged and constant pictures are counted as scores of their own and stay out of all others, whose n says
    how many scenes are left. A score for which there are too few scenes has no value but a `reason`.
    Raises ValueError where an arm has no usable picture at all.
    """
    for arm in arms:
        _save(run, arm, collect(run, scenes, arm, judges), kind="control" if arm == ROUND_TRIP else None)
    return run.scores(arms)


def score_controls(run: Run, scenes: Sequence[Scene], arm: str, judges: Judges) -> pd.DataFrame:
    """The control rows of a table: PHOTOS, SHUFFLED + arm, CHANCE, and ROUND_TRIP where it was drawn.

    PHOTOS: the detector and CLIP on the photos themselves, which is the ceiling, and photos against other
    photos: crossed by halves as the pictures are, or one half against the other for distances without bias (n
    is the size of a half, the interval holds 95 % of SPLITS splits). ROUND_TRIP: the photos through the
    autoencoder, as `generation.draw.draw_round_trip` makes them.
    """
    drawn = [ROUND_TRIP] if run.count_pictures(ROUND_TRIP) else []
    score(run, scenes, drawn, judges)
    pictures = collect(run, scenes, arm, judges)
    if run.has_photos:
        photos = collect(run, scenes, PHOTOS, judges)
        _save(run, PHOTOS, photos, _among_photos(run, photos), kind="control")
        drawn.append(PHOTOS)
    _save(run, SHUFFLED + arm, pictures.shuffled(), kind="control")
    _write(run, CHANCE, _chance(run, photos if run.has_photos else pictures), "control")
    return run.scores([*drawn, SHUFFLED + arm, CHANCE])


def score_captions(
    run: Run, scenes: Sequence[Scene], captioners: Sequence[str], judges: Judges
) -> pd.DataFrame:
    """Captions against their photos, as arms CAPTIONER + name: CLIP score, R-precision, share of labels
    named, and counts of empty, repeating and echoing captions. Reads captions/<captioner>.jsonl."""
    arms = [CAPTIONER + name for name in captioners]
    for arm in arms:
        _save(run, arm, collect(run, scenes, arm, judges), kind="captions")
    return run.scores(arms)


def breakdown(run: Run, arm: str, column: str) -> pd.DataFrame:
    """Box following of a scored arm by "label" or "size", most boxes first.

    Columns: mean_iou, found (share at IoU 0.5), boxes, scenes, AP, AP50. Raises FileNotFoundError where the
    arm was not scored.
    """
    table = adherence.by_group(run.boxes(arm), column)
    precision = arm_scores(run, arm).precision[column]
    table[["AP", "AP50"]] = [precision.get(name, (np.nan, np.nan)) for name in table.index]
    return table


def arm_scores(run: Run, arm: str) -> ArmScores:
    """A scored arm's metrics with their leave-one-out values. Raises FileNotFoundError for another arm."""
    name = f"scores/{arm}.npz"
    if not run.has(name):
        raise FileNotFoundError(f"{run.folder / name}: not there yet; run 04_fid, which scores {arm!r}")
    return _read(run.folder / name, stamp(run.folder / name))


@lru_cache(maxsize=64)
def _read(path: Path, version: tuple) -> ArmScores:
    with np.load(path) as file:
        kept = {name: file[name] for name in file.files}
    columns = zip(*(kept[name] for name in ("values", "left_out", "sums", "counts")), strict=True)
    known = {
        str(name): Measured(float(value), left_out, *(None if np.isnan(x[0]) else x for x in means))
        for name, (value, left_out, *means) in zip(kept["metrics"], columns, strict=True)
    }
    precision = {
        column: dict(zip(kept[column].tolist(), kept[f"precision by {column}"], strict=True))
        for column in ("label", "size")
    }
    return ArmScores(tuple(kept["scenes"].tolist()), known, precision)


def _save(
    run: Run, arm: str, measurements: Measurements, others: Sequence[dict] = (), kind: str | None = None
) -> None:
    """others: rows that stand in the place of those of their metrics."""
    n, rows, known = len(measurements.scenes), {row["metric"]: row for row in others}, {}
    for name, metric in metrics_of(run).items():
        if name in rows:
            continue
        try:
            if reason := withheld(metric, measurements):
                rows[name] = _row(name, _without(reason, n), metric)
            elif applies(metric, measurements):
                known[name] = measure(metric, measurements)
                rows[name] = _row(name, vars(interval(metric, known[name])), metric)
        except intervals.TooFew as error:
            rows[name] = _row(name, _without(str(error), n), metric)
    for name, count in measurements.counts.items():
        rows[name] = _row(name, vars(Estimate(count, 0, count, count, n)))
    if measurements.colours is not None:
        run.write_jsonl(f"boxes/{arm}.jsonl", box_values.rows(measurements))
    _keep(run.folder / "scores" / f"{arm}.npz", measurements, known)
    _write(run, arm, [*rows.values()], kind)


def _keep(path: Path, measurements: Measurements, known: Mapping[str, Measured]) -> None:
    """Write what `arm_scores` reads."""
    n, nothing = len(measurements.scenes), np.full(len(measurements.scenes), np.nan)
    means = [[x if x is not None else nothing for x in (one.sums, one.counts)] for one in known.values()]
    arrays = {
        "scenes": np.array(measurements.scenes),
        "metrics": np.array([*known], dtype=str),
        "values": np.array([one.value for one in known.values()]),
        "left_out": np.array([one.left_out for one in known.values()]).reshape(-1, n),
        "sums": np.array([sums for sums, _ in means]).reshape(-1, n),
        "counts": np.array([counts for _, counts in means]).reshape(-1, n),
    }
    boxes = any(len(layout.boxes) for layout in measurements.layouts or ())
    precision = measurements.precision if boxes and measurements.detections is not None else None
    for column in ("label", "size"):
        groups = getattr(precision, f"by_{column}", {})
        arrays[column] = np.array([*groups], dtype=str)
        arrays[f"precision by {column}"] = np.array([*groups.values()]).reshape(-1, 2)
    content = io.BytesIO()
    np.savez(content, **arrays)
    if not path.is_file() or path.read_bytes() != content.getvalue():  # else what uses it looks outdated
        with beside(path) as partial:
            partial.write_bytes(content.getvalue())


def _row(name: str, estimate: Mapping[str, object], metric: Metric | None = None) -> dict:
    """metric: None for what is counted."""
    group, lower = (metric.group, metric.lower_is_better) if metric else ("Counted", None)
    return {"metric": name, **estimate, "group": group, "lower_is_better": lower}


def _without(reason: str, n: int) -> dict:
    """In the place of an estimate: why there is none."""
    return dict.fromkeys(("value", "standard_error", "low", "high")) | {"n": n, "reason": reason}


def _write(run: Run, arm: str, rows: Sequence[dict], kind: str | None) -> None:
    run.write_json(f"scores/{arm}.json", [row | ({"kind": kind} if kind else {}) for row in rows])


def _chance(run: Run, photos: Measurements) -> list[dict]:
    n, known = len(photos.scenes), metrics_of(run)
    guesses = {"R-precision": min(100, n), "crop accuracy": len(photos.phrases or ())}
    return [
        _row(name, vars(Estimate(1 / k, 0, 1 / k, 1 / k, n)), known[name])
        for name, k in guesses.items()
        if k and not withheld(known[name], photos)
    ]


def _among_photos(run: Run, photos: Measurements) -> list[dict]:
    """Distances of photos to other photos, half against half; none where each would meet itself."""
    rows, n = [], len(photos.scenes)
    for name, metric in metrics_of(run).items():
        if metric.distance and n >= 4 and not withheld(metric, photos):
            values = split_half(metric.distance, getattr(photos, metric.needs[1]), SPLITS)
            low, high = np.quantile(values, [0.025, 0.975]).tolist()
            spread = Estimate(float(values.mean()), float(values.std(ddof=1)), low, high, n // 2)
            rows.append(_row(name, vars(spread), metric))
        elif name.endswith(OWN_PHOTOS) or (metric.group == REALISM and metric.share):
            rows.append(_row(name, _without("each photo is its own", n), metric))
    return rows
