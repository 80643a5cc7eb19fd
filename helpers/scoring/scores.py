"""The scores of an arm: a table with a value, an interval and an N per metric, and what each value would be
without one scene, so that arms can be compared from the files alone."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

from helpers.files import beside, stamp
from helpers.models.sets import ModelSet, model_set
from helpers.parameters import threads
from helpers.runs.run import Run
from helpers.scenes.scenes import Scene
from helpers.scoring import box_values, intervals
from helpers.scoring.extraction import PHOTOS
from helpers.scoring.intervals import Estimate, Measured
from helpers.scoring.judges import Judges
from helpers.scoring.measurements import CAPTIONER, Measurements, collect
from helpers.scoring.metrics import OWN_PHOTOS, REALISM, Metric, applies, interval, measure, metrics, withheld

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
    """Score arms; what a judge said of a picture is not asked again, nor is an arm measured again of which
    nothing changed. Returns their rows of `Run.scores`.

    Writes features/<extractor>/<arm>.npz, boxes/<arm>.jsonl (a row per box), scores/<arm>.npz (`ArmScores`)
    and scores/<arm>.json. Captions are those of the chosen captioner (prompts/caption.jsonl). Missing,
    flagged and constant pictures are counted as scores of their own and stay out of all others, whose n says
    how many scenes are left. A score for which there are too few scenes has no value but a `reason`.
    Raises ValueError where an arm has no usable picture at all.
    """
    measured: list[Future] = []
    with ThreadPoolExecutor(threads()) as pool:  # judges are asked in one thread, arms measured side by side
        for arm in arms:
            if len(measured) >= threads():  # so many arms are in memory, and the one that is collected
                measured.pop(0).result()
            measured.append(pool.submit(_save, run, arm, collect(run, scenes, arm, judges)))
        for future in measured:
            future.result()
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
        _save(run, PHOTOS, photos, lambda: _among_photos(run, photos))
        drawn.append(PHOTOS)
    _save(run, SHUFFLED + arm, pictures.shuffled())
    _write(run, CHANCE, _chance(run, photos if run.has_photos else pictures))
    return run.scores([*drawn, SHUFFLED + arm, CHANCE])


def score_captions(
    run: Run, scenes: Sequence[Scene], captioners: Sequence[str], judges: Judges
) -> pd.DataFrame:
    """Captions against their photos, as arms CAPTIONER + name: CLIP score, R-precision, share of labels
    named, and counts of empty and repeating captions. Reads captions/<captioner>.jsonl."""
    return score(run, scenes, [CAPTIONER + name for name in captioners], judges)


def breakdown(run: Run, arm: str, column: str) -> pd.DataFrame:
    """Box following of a scored arm by "label" or "size", most boxes first; NaN where none is judged.

    Columns: mean_iou, found (share at IoU 0.5), boxes, scenes, AP, AP50. Raises FileNotFoundError where the
    arm was not scored.
    """
    groups = run.boxes(arm).astype({"iou": float, "found": "Float64"}).groupby(column)
    columns = {"mean_iou": ("iou", "mean"), "found": ("found", "mean"), "boxes": ("iou", "size")}
    table = groups.agg(**columns, scenes=("scene", "nunique"))
    table = table.sort_values("boxes", ascending=False, kind="stable")
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
    metrics, precision = {}, {"label": {}, "size": {}}
    with np.load(path) as file:
        if "content" not in file.files:
            raise FileNotFoundError(f"{path}: of an earlier version; run the notebooks again, 01 to 04")
        for key in file.files[2:]:
            name, _, field = key.rpartition("|")
            if name in precision:
                precision[name][field] = file[key]
            else:
                metrics.setdefault(name, {})[field] = file[key] if file[key].ndim else file[key].item()
        known = {name: Measured(**fields) for name, fields in metrics.items()}
        return ArmScores(tuple(file["scenes"].tolist()), known, precision)


def _save(
    run: Run,
    arm: str,
    measurements: Measurements,
    others: Callable[[], Sequence[dict]] = list,
) -> None:
    """Measure an arm and write it, unless that is done. others: rows in place of those of their metrics."""
    path, content, boxed = f"scores/{arm}.npz", measurements.digest(), measurements.colours is not None
    files = (path, f"scores/{arm}.json", *([f"boxes/{arm}.jsonl"] if boxed else []))
    if all(map(run.has, files)) and _content(run.folder / path) == content:
        return
    n, rows, known = len(measurements.scenes), {row["metric"]: row for row in others()}, {}
    for name, metric in metrics_of(run).items():
        if name in rows:
            continue
        try:
            if reason := withheld(metric, measurements):
                rows[name] = _without(name, reason, n, metric)
            elif applies(metric, measurements):
                known[name] = measure(metric, measurements)
                rows[name] = _row(name, interval(metric, known[name]), metric)
        except intervals.TooFew as error:
            rows[name] = _without(name, str(error), n, metric)
    for name, count in measurements.counts.items():
        rows[name] = _row(name, Estimate(count, 0, count, count, n))
    if boxed:
        run.write_jsonl(f"boxes/{arm}.jsonl", box_values.rows(measurements))
    arrays = {"scenes": np.array(measurements.scenes), "content": np.array(content)}
    for name, one in known.items():
        arrays |= {f"{name}|{field}": value for field, value in vars(one).items() if value is not None}
    if applies(metrics_of(run)["AP"], measurements):
        for column, groups in measurements.precision.by.items():
            arrays |= {f"{column}|{name}": pair for name, pair in groups.items()}
    with beside(run.folder / path) as partial, partial.open("wb") as file:
        np.savez(file, **arrays)
    _write(run, arm, [*rows.values()])


def _content(path: Path) -> str:
    with np.load(path) as file:
        return str(file["content"]) if "content" in file.files else ""


def _row(name: str, estimate: Estimate, metric: Metric | None = None, **more: str) -> dict:
    """metric: None for what is counted."""
    group, lower = (metric.group, metric.lower_is_better) if metric else ("Counted", None)
    return {"metric": name, **vars(estimate), **more, "group": group, "lower_is_better": lower}


def _without(name: str, reason: str, n: int, metric: Metric) -> dict:
    """A row without a value: why there is none."""
    return _row(name, Estimate(None, None, None, None, n), metric, reason=reason)


def _write(run: Run, arm: str, rows: Sequence[dict]) -> None:
    control = arm in (ROUND_TRIP, PHOTOS, CHANCE) or arm.startswith(SHUFFLED)
    kind = {"kind": "captions"} if arm.startswith(CAPTIONER) else {"kind": "control"} if control else {}
    run.write_json(f"scores/{arm}.json", [row | kind for row in rows])


def _chance(run: Run, photos: Measurements) -> list[dict]:
    n, known = len(photos.scenes), metrics_of(run)
    guesses = {"R-precision": min(100, n), "crop accuracy": len(photos.phrases or ())}
    return [
        _row(name, Estimate(1 / k, 0, 1 / k, 1 / k, n), known[name])
        for name, k in guesses.items()
        if k and not withheld(known[name], photos)
    ]


def _among_photos(run: Run, photos: Measurements) -> list[dict]:
    """Distances of photos to other photos, half against half; none where each would meet itself."""
    rows, n = [], len(photos.scenes)
    for name, metric in metrics_of(run).items():
        if metric.halves and n >= 4 and not withheld(metric, photos):
            values = metric.halves(getattr(photos, metric.needs[1]), SPLITS)
            low, high = np.quantile(values, [0.025, 0.975]).tolist()
            spread = Estimate(float(values.mean()), float(values.std(ddof=1)), low, high, n // 2)
            rows.append(_row(name, spread, metric))
        elif name.endswith(OWN_PHOTOS) or (metric.group == REALISM and metric.share):
            rows.append(_without(name, "each photo is its own", n, metric))
    return rows
