"""How many reports claim a difference where no arm differs: `python -m tests.benchmarks.bench_claims`.

Made-up studies of the demo's size go through the report's own list of comparisons, tests and corrections.
Every arm's pictures are of one distribution and follow their boxes equally well; they resemble their own
photos to different degrees, and what a scene makes easy or hard its arms share.
"""

import argparse
import time
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pandas as pd

from helpers.report import certainty, comparisons
from helpers.runs.arms import GROUNDINGS, Arm
from helpers.scoring import distances, intervals, scores
from helpers.scoring.intervals import Measured
from helpers.scoring.metrics import FOUND
from helpers.scoring.scores import ArmScores
from tests.scoring.test_realism import DIMENSIONS, features

TEMPLATES, SCALES, BOXES = ("caption", "label", "suffix"), (1, 2, 5, 11), 3
ARMS = dict.fromkeys(Arm(template, "text", 2).name for template in TEMPLATES)
ARMS |= dict.fromkeys(Arm("suffix", kind, 2).name for kind in GROUNDINGS)
ARMS |= dict.fromkeys(Arm("suffix", kind, scale).name for kind in ("text", "image") for scale in SCALES)
CAPTIONERS = [f"{scores.CAPTIONER}{name}" for name in ("opt", "t5")]


class Study:
    """What the report's comparisons ask of a run: its choices, its arms, and their scores."""

    has_photos, groundings = True, ("none", "text", "image")

    def __init__(self, seed: int, photos: int) -> None:
        self.card, self.folder, self.scenes = {"protocol": {"models": "demo"}}, Path("nowhere"), range(photos)
        rng = np.random.default_rng(seed)
        seen, shared = rng.normal(size=(2, photos, DIMENSIONS))
        ease, self.kept = rng.normal(size=(photos, 1)), {}
        for arm in ARMS:
            r = rng.uniform(0, 0.9)
            own = 0.7 * shared + np.sqrt(0.51) * rng.normal(size=seen.shape)
            pictures = features(r * seen + np.sqrt(1 - r * r) * own)
            value, left_out, spread = distances.paired_kid(pictures, features(seen))
            found = (0.6 * ease + 0.8 * rng.normal(size=(photos, BOXES)) < 1).sum(1)
            realism = Measured(value, left_out, pair_variance=spread)
            self.kept[arm] = {comparisons.realism(self): realism, FOUND: _mean(found, BOXES)}
        for arm in CAPTIONERS:
            score = 25 + ease[:, 0] + rng.normal(size=photos)
            named = rng.binomial(2, 0.7, photos) / 2
            self.kept[arm] = {comparisons.CLIP_SCORE: _mean(score), comparisons.NAMED: _mean(named)}

    def read_json(self, _: str) -> dict:
        return {"template": "suffix", "guidance_scale": 2, "compared": TEMPLATES}

    def arms(self) -> list[str]:
        return [*ARMS]

    def count_pictures(self, _: str) -> int:
        return len(self.scenes)

    def scores(self, arms: list[str] | None = None) -> pd.DataFrame:
        rows = [
            {"arm": arm, "metric": name, "value": one.value, "reason": None}
            for arm in (self.kept if arms is None else arms)
            for name, one in self.kept.get(arm, {}).items()
        ]
        return pd.DataFrame(rows)


def _mean(sums: np.ndarray, count: int = 1) -> Measured:
    counts = np.full(len(sums), float(count))
    return Measured(*intervals.ratio_left_out(sums, counts), sums.astype(float), counts)


def simulated(studies: int, photos: int = 48) -> tuple[int, np.ndarray]:
    """Number of comparisons in a report, and per study its claims: table by table, and corrected as one."""

    def arm_scores(run: Study, arm: str) -> ArmScores:
        return ArmScores(tuple(map(str, run.scenes)), run.kept[arm], {})

    claims = np.zeros((studies, 2), int)
    with patch.object(scores, "arm_scores", arm_scores):
        for seed in range(studies):
            number, _, claimed = certainty.as_one(Study(seed, photos))
            claims[seed] = len(claimed), sum(holds for _, holds in claimed)
    return number, claims


def main() -> None:
    """Prints the share of studies with a claim."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=400)
    parser.add_argument("--photos", type=int, default=48)
    options, start = parser.parse_args(), time.process_time()
    number, claims = simulated(options.studies, options.photos)
    by_table, as_one = (claims > 0).mean(0)
    error = np.sqrt(by_table * (1 - by_table) / options.studies)
    print(
        f"{options.studies} studies of {options.photos} photos, {number} comparisons each, no arm differs: "
        f"{by_table:.1%} (standard error {error:.1%}) claim a difference, {as_one:.1%} corrected as one; "
        f"{time.process_time() - start:.0f} s of the processor"
    )


if __name__ == "__main__":
    main()
