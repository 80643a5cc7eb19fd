"""An arm's pictures in, its scores out: the one place where features become numbers with names."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from helpers.models import Clip, Detector, Gligen, Inception
from helpers.runs import Run
from helpers.scenes import Scene
from helpers.settings import ModelSet

PHOTOS = "photos"  # control arm: the photos themselves, and one half of them against the other
ROUND_TRIP = "round-trip"  # control arm: the photos through the autoencoder
SHUFFLED = "shuffled-"  # control arm: + an arm's name: its pictures against the boxes of other scenes
CAPTIONER = "captioner-"  # + a captioner's name: scores of its captions


@dataclass(frozen=True)
class Judges:
    """The models that look at pictures: CLIP, an object detector, and Inception where the model set has it."""

    clip: Clip
    detector: Detector
    inception: Inception | None = None


def load_judges(models: ModelSet) -> Judges:
    """The judges of a model set, on the best device."""
    raise NotImplementedError


def realism(models: ModelSet) -> str:
    """The name of the model set's Fréchet distance: "FID", or "Fréchet distance (demo CLIP)"."""
    raise NotImplementedError


def score(run: Run, scenes: Sequence[Scene], arms: Sequence[str], judges: Judges) -> pd.DataFrame:
    """Score every arm whose scores are missing or whose pictures changed; returns the long table of these arms.

    Writes features/<extractor>/<arm>.npz, scores/<arm>.json, scores/<arm>.npz and boxes/<arm>.jsonl. Texts are the
    captions of the chosen captioner (prompts/caption.jsonl). Missing, flagged and constant pictures are
    counted as scores of their own and stay out of all others, whose n says how many scenes are left.
    Columns: arm, metric, value, standard_error, low, high, n.
    """
    raise NotImplementedError


def score_controls(run: Run, scenes: Sequence[Scene], arm: str, judges: Judges, gligen: Gligen | None) -> pd.DataFrame:
    """The control rows of a table: PHOTOS (split half; the detector's ceiling), SHUFFLED + arm, and ROUND_TRIP.

    gligen: its autoencoder makes the round trip of the photos; None leaves that row out.
    """
    raise NotImplementedError


def score_captions(run: Run, scenes: Sequence[Scene], captioners: Sequence[str], judges: Judges) -> pd.DataFrame:
    """Captions against their photos, as arms CAPTIONER + name: CLIP score, share of labels named, R-precision,
    and counts of empty, repeating and echoing captions. Reads captions/<captioner>.jsonl."""
    raise NotImplementedError


def score_variety(run: Run, arm: str, other: str, judges: Judges) -> dict:
    """Mean CLIP distance (1 - cosine) between the two pictures of a scene in two arms that differ in seed only."""
    raise NotImplementedError


def table(run: Run, arms: Sequence[str], metrics: Sequence[str] | None = None) -> pd.DataFrame:
    """Scores as people read them: one row an arm, one column a metric, cells "value ± standard error (n)".

    metrics: default all, in the order of METRICS. An arm without a metric has an empty cell.
    """
    raise NotImplementedError
