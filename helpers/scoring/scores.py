"""An arm's pictures in, its scores out: rows with a name, a value, an interval and an N."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from PIL import Image

from helpers.files import claimed
from helpers.models.sets import ModelSet, model_set
from helpers.runs.run import Run
from helpers.scenes import images
from helpers.scenes.scenes import Scene
from helpers.scoring import adherence, intervals
from helpers.scoring.evidence import CAPTIONER, PHOTOS, Evidence, collect
from helpers.scoring.judges import Judges, Look
from helpers.scoring.judges import load_judges as load_judges
from helpers.scoring.metrics import Metric, applies, box_rows, measure, metrics
from helpers.scoring.resampling import split_half

if TYPE_CHECKING:
    from helpers.models.loading import Gligen

ROUND_TRIP = "round-trip"  # control arm: the photos through the autoencoder
SHUFFLED = "shuffled-"  # + an arm's name: its pictures against the boxes of other scenes
CHANCE = "chance"  # control arm: what judges score that see nothing
SPLITS = 100


def realism(models: ModelSet) -> str:
    """The name of the model set's Fréchet distance: "FID", or "Fréchet distance (demo CLIP)"."""
    return next(iter(metrics(models.inception)))


def metrics_of(run: Run) -> dict[str, Metric]:
    """Every metric of a run by its name, in the order of the table."""
    return metrics(model_set(run.card["protocol"]["models"]).inception)


def score(run: Run, scenes: Sequence[Scene], arms: Sequence[str], judges: Judges) -> pd.DataFrame:
    """Score arms; what a judge said of a picture is not asked again. Returns their long table.

    Writes features/<judge>/<arm>.npz, boxes/<arm>.jsonl and scores/<arm>.json. Captions are those of the
    chosen captioner (prompts/caption.jsonl). Missing, flagged and constant pictures are counted as scores of
    their own and stay out of all others, whose n says how many scenes are left. A score for which there are
    too few scenes has no value but a `reason`. Columns: arm, metric, value, standard_error, low, high, n.
    Raises ValueError where an arm has no usable picture at all.
    """
    for arm in arms:
        evidence = collect(run, scenes, arm, judges)
        _save(run, arm, _rows(run, evidence), evidence)
    return _long(run, arms)


def score_controls(
    run: Run, scenes: Sequence[Scene], arm: str, judges: Judges, gligen: "Gligen | None" = None
) -> pd.DataFrame:
    """The control rows of a table: PHOTOS, SHUFFLED + arm, and with gligen ROUND_TRIP.

    PHOTOS: the detector and CLIP on the photos themselves, which is the ceiling; its distances are those
    between random halves (n is the size of a half, the interval holds 95 % of SPLITS splits). ROUND_TRIP: the
    photos through gligen's autoencoder, made here where they are missing.
    """
    if gligen is not None:
        _round_trip(run, scenes, gligen)
        score(run, scenes, [ROUND_TRIP], judges)
    photos = collect(run, scenes, PHOTOS, judges)
    distances = {name for name, metric in metrics_of(run).items() if metric.distance}
    rows = [row for row in _rows(run, photos) if row["metric"] not in distances]
    _save(run, PHOTOS, _halves(run, photos) + rows, photos)
    _save(run, SHUFFLED + arm, _rows(run, collect(run, scenes, arm, judges).shuffled()))
    _save(run, CHANCE, _chance(photos))
    return _long(run, [PHOTOS, *([ROUND_TRIP] if gligen else []), SHUFFLED + arm, CHANCE])


def score_captions(
    run: Run, scenes: Sequence[Scene], captioners: Sequence[str], judges: Judges
) -> pd.DataFrame:
    """Captions against their photos, as arms CAPTIONER + name: CLIP score, R-precision, share of labels
    named, and counts of empty, repeating and echoing captions. Reads captions/<captioner>.jsonl."""
    arms = [CAPTIONER + name for name in captioners]
    for arm in arms:
        _save(run, arm, _rows(run, collect(run, scenes, arm, judges)))
    return _long(run, arms)


def breakdown(run: Run, arm: str, column: str) -> pd.DataFrame:
    """Box following of a scored arm by "label" or "size", most boxes first.

    Columns: mean_iou, found (share at IoU 0.5), boxes, scenes, AP, AP50.
    """
    precision = collect(run, run.scenes, arm).precision
    parts = precision.by_label if column == "label" else precision.by_size
    table = adherence.by_group(run.boxes(arm), column)
    table[["AP", "AP50"]] = [parts[name] for name in table.index]
    return table


def _rows(run: Run, evidence: Evidence) -> list[dict]:
    n = len(evidence.scenes)
    rows = [
        _row(name, metric, evidence) for name, metric in metrics_of(run).items() if applies(metric, evidence)
    ]
    return rows + [
        _as_row(name, intervals.Estimate(count, 0, count, count, n))
        for name, count in evidence.counts.items()
    ]


def _row(name: str, metric: Metric, evidence: Evidence) -> dict:
    try:
        measured = measure(metric, evidence)
    except intervals.TooFew as error:
        empty = dict.fromkeys(("value", "standard_error", "low", "high"))
        return {"metric": name, **empty, "n": len(evidence.scenes), "reason": str(error)}
    return _as_row(name, intervals.jackknife(measured.value, measured.left_out).within(*metric.limits))


def _as_row(name: str, estimate: intervals.Estimate) -> dict:
    return {"metric": name, **vars(estimate)}


def _chance(photos: Evidence) -> list[dict]:
    n = len(photos.scenes)
    guesses = {"R-precision": min(100, n), "crop accuracy": len(photos.phrases)}
    return [_as_row(name, intervals.Estimate(1 / k, 0, 1 / k, 1 / k, n)) for name, k in guesses.items() if k]


def _halves(run: Run, photos: Evidence) -> list[dict]:
    """Distances between halves of the photos: what a perfect generator would get at half the number."""
    rows, half = [], len(photos.scenes) // 2
    for name, metric in metrics_of(run).items():
        if metric.distance and half >= 2:
            values = split_half(metric.distance, getattr(photos, metric.needs[1]), SPLITS)
            low, high = np.quantile(values, [0.025, 0.975])
            spread = intervals.Estimate(
                float(values.mean()), float(values.std(ddof=1)), float(low), float(high), half
            )
            rows.append(_as_row(name, spread))
    return rows


def _round_trip(run: Run, scenes: Sequence[Scene], gligen: "Gligen", batch_size: int = 8) -> None:
    with claimed(run.claim(ROUND_TRIP)):
        _draw_round_trip(run, run.missing(ROUND_TRIP, scenes), gligen, batch_size)


def _draw_round_trip(run: Run, missing: Sequence[Scene], gligen: "Gligen", batch_size: int) -> None:
    import torch  # here, because whoever only reads scores waits for no model

    look = Look(run, missing, PHOTOS, None)
    for start in range(0, len(missing), batch_size):
        part = range(start, min(start + batch_size, len(missing)))
        photos = images.to_tensor(images.to_array([look.load(i) for i in part])).to(
            gligen.device, gligen.dtype
        )
        with torch.inference_mode():
            latents = gligen.vae.encode(photos).latent_dist.mode()
            decoded = gligen.vae.decode(latents).sample.float().cpu()
        back: list[Image.Image] = images.to_images(decoded)
        for i, picture in zip(part, back, strict=True):
            path = run.picture(ROUND_TRIP, missing[i])
            images.save(picture, path, {"arm": ROUND_TRIP})


def _save(run: Run, arm: str, rows: list[dict], evidence: Evidence | None = None) -> None:
    """Written only when it says something new, so that what depends on it stays up to date."""
    if evidence is not None:
        boxes = box_rows(evidence)
        name = f"boxes/{arm}.jsonl"
        if not run.has(name) or run.read_jsonl(name) != boxes:
            run.write_jsonl(name, boxes)
    name = f"scores/{arm}.json"
    if not run.has(name) or run.read_json(name) != rows:
        run.write_json(name, rows)


def _long(run: Run, arms: Sequence[str]) -> pd.DataFrame:
    table = run.scores(arms)
    return pd.concat([table[table.arm == arm] for arm in arms], ignore_index=True)
