"""How well boxes were followed: by IoU, label and size, and scene by scene."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from helpers.report.arms import grounding_arms
from helpers.report.comparisons import grounding_names, main_arm, titles
from helpers.runs.run import Run
from helpers.scenes.scenes import Scene
from helpers.scoring import adherence, scores


def accuracy(run: Run) -> pd.DataFrame:
    """The share of boxes found at each IoU from 0 to 1, which has the mean IoU as its area.

    Columns arm, name, threshold, share: of the photos, the ceiling, and of the compared groundings.
    """
    thresholds = np.linspace(0, 1, 51)
    names = {scores.PHOTOS: "photos"} | grounding_names(run)
    tables = [
        pd.DataFrame({"arm": arm, "name": name, "threshold": thresholds}).assign(
            share=adherence.found_share(run.boxes(arm).iou.to_numpy(), thresholds)
        )
        for arm, name in names.items()
    ]
    return pd.concat(tables, ignore_index=True)


def per_scene(run: Run, arm: str) -> pd.DataFrame:
    """One row a scene: boxes, found, crops (named rightly), iou (mean), qualifies (all found and named)."""
    rows = run.boxes(arm)
    table = rows.groupby("scene", sort=False).agg(
        boxes=("box", "size"), found=("found", "sum"), crops=("crop_correct", "sum"), iou=("iou", "mean")
    )
    table["qualifies"] = (table.found == table.boxes) & (table.crops == table.boxes)
    return table


def boxes_by(run: Run, column: str) -> pd.DataFrame:
    """Box following by `label` or `size`: of the main arm and, beside it, of the photos, the ceiling."""
    columns = ["found", "mean_iou", "AP50"]
    mine, photos = (scores.breakdown(run, arm, column) for arm in (main_arm(run), scores.PHOTOS))
    both = mine[["boxes", *columns]].join(photos[columns], suffixes=("", " in photos"))
    return both.rename(columns=lambda name: name.replace("mean_iou", "mean IoU")).reset_index()


def training(run: Run) -> pd.DataFrame:
    """For the photos and each arm: pictures, how many qualify, and the share with its interval (Wilson)."""
    rows = []
    for arm, name in {scores.PHOTOS: "the photos themselves", **titles(run)}.items():
        passed = per_scene(run, arm).qualifies
        reach = stats.binomtest(int(passed.sum()), len(passed)).proportion_ci(method="wilson")
        share = f"{passed.mean():.0%}, {reach.low:.0%} to {reach.high:.0%}"
        rows.append({"arm": name, "pictures": len(passed), "qualify": int(passed.sum()), "share": share})
    return pd.DataFrame(rows)


def ranked(run: Run) -> list[Scene]:
    """The scenes, best followed first: share of boxes found in the main arm, then mean IoU."""
    table = per_scene(run, main_arm(run))
    table["share"] = table.found / table.boxes
    order = table.sort_values(["share", "iou"], ascending=False, kind="stable").index
    scenes = {scene.name: scene for scene in run.scenes}
    return [scenes[name] for name in order]


def evenly(scenes: Sequence[Scene], number: int) -> list[Scene]:
    """`number` of the scenes in even steps, the first and the last among them."""
    number = min(number, len(scenes))
    return [scenes[round(step * (len(scenes) - 1) / max(number - 1, 1))] for step in range(number)]


def notes(run: Run) -> dict[tuple[str, str], str]:
    """(arm, scene) -> how many of its boxes were found, for the arms of the grounding comparison."""
    return {
        (arm, scene): f"{row.found} of {row.boxes} boxes found"
        for arm in grounding_arms(run)
        for scene, row in per_scene(run, arm).iterrows()
    }
