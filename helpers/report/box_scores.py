"""Box following as tables: by IoU, label, size and scene, and which pictures qualify as training data."""

import json
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import pandas as pd

from helpers.files import stamp
from helpers.report import comparisons
from helpers.runs.layouts import arm_layouts, given_boxes
from helpers.runs.run import Run
from helpers.scenes import images
from helpers.scenes.boxes import DROPPED, FOUND, MISSED, PLACES
from helpers.scenes.scenes import Scene
from helpers.scoring import adherence, scores
from helpers.scoring.metrics import NOT_JUDGED
from helpers.scoring.shares import share_interval

THRESHOLDS = (0.3, 0.5, 0.7, 0.8, 0.9)
UNKNOWN = (NOT_JUDGED,) * (len(THRESHOLDS) + 1)


def by_iou(run: Run) -> pd.DataFrame:
    """One row for the photos, the ceiling, and per grounding: the share of boxes found at each of THRESHOLDS,
    and the mean IoU."""
    rows = []
    photos = {scores.PHOTOS: "photos"} if run.has_photos else {}
    for arm, name in (photos | dict(comparisons.groundings(run).names)).items():
        iou = run.boxes(arm).iou.dropna().to_numpy(float)
        shares = [*adherence.found_share(iou, np.array(THRESHOLDS)), iou.mean()] if len(iou) else UNKNOWN
        columns = [*(f"found at IoU {at}" for at in THRESHOLDS), "mean IoU"]
        rows.append({"arm": name, **dict(zip(columns, shares, strict=True))})
    return pd.DataFrame(rows)


def by_group(run: Run, column: str) -> pd.DataFrame:
    """Box following per `label` or `size`: of the chosen arm and, beside it, of the photos, the ceiling."""
    columns = ["found", "mean_iou", "AP50"]
    chosen = scores.breakdown(run, comparisons.main_arm(run), column)
    both = chosen[["boxes", *columns]]
    if run.has_photos:
        photos = scores.breakdown(run, scores.PHOTOS, column)
        both = both.join(photos[columns], suffixes=("", " in photos"))
    both = both.astype(object).where(both.notna(), NOT_JUDGED)
    return both.rename(columns=lambda name: name.replace("mean_iou", "mean IoU")).reset_index()


def by_box(run: Run, arm: str) -> pd.DataFrame:
    """`Run.boxes` with a column mark: FOUND, MISSED, "" where that is not judged, or DROPPED for a box that
    was not given to the model."""
    rows = run.boxes(arm).astype({"found": "boolean", "crop_correct": "boolean"})
    rows["mark"] = rows.found.map({True: FOUND, False: MISSED}).fillna("")
    scored, counts = rows.scene.value_counts(), run.scores([arm]).set_index("metric").value
    if counts.get("dropped boxes") == 0 and scored.max() <= PLACES:
        return rows  # without a look at every picture
    layouts = arm_layouts(run, arm, [scene for scene in run.scenes if scene.name in scored])
    left_out = {(layout.name, k) for layout in layouts for k in given_boxes(run, arm, layout)[1]}
    rows.loc[[pair in left_out for pair in zip(rows.scene, rows.box, strict=True)], "mark"] = DROPPED
    return rows


def by_scene(run: Run, arm: str) -> pd.DataFrame:
    """One row per scene: boxes (given to the model), judged (whose label the detector knows), found, crops
    (named rightly), iou (mean), qualifies (every given box found and named rightly; NA where that is not
    judged), dropped (not given to the model)."""
    return _by_scene(run, arm, stamp(run.folder / "boxes" / f"{arm}.jsonl")).copy()


@lru_cache(maxsize=64)
def _by_scene(run: Run, arm: str, version: tuple) -> pd.DataFrame:
    """version: stamp of the arm's boxes, so that an arm that was scored again is read again."""
    rows = by_box(run, arm)
    given = rows[rows.mark != DROPPED].groupby("scene", sort=False)
    table = given.agg(
        boxes=("box", "size"),
        judged=("found", "count"),
        found=("found", "sum"),
        named=("crop_correct", "count"),
        crops=("crop_correct", "sum"),
        iou=("iou", "mean"),
    )
    passed = ((table.found == table.boxes) & (table.crops == table.boxes)).astype("boolean")
    table["qualifies"] = passed.where((table.judged == table.boxes) & (table.pop("named") == table.boxes))
    return table.assign(dropped=(rows.mark == DROPPED).groupby(rows.scene).sum())


def count(row: object) -> str:
    """A row of `by_scene` in words."""
    more = f" ({row.dropped} more were not given)" if row.dropped else ""
    rest = f", {row.boxes - row.judged} {NOT_JUDGED}" if row.judged < row.boxes else ""
    return (
        f"{row.found} of {row.judged} boxes found{rest}{more}" if row.judged else f"boxes {NOT_JUDGED}{more}"
    )


def ranked(run: Run, number: int | None = None) -> list[Scene]:
    """Scenes, worst followed first: by share of boxes found in the chosen arm, then mean IoU.

    number: only so many of them, in even steps from the worst to the best.
    """
    scenes = {scene.name: scene for scene in run.scenes}
    table = by_scene(run, comparisons.main_arm(run)).reindex(list(scenes))  # without boxes: at the end
    table["share"] = table.found / table.judged.where(table.judged > 0)
    names = table.sort_values(["share", "iou"], kind="stable").index
    every = len(names) if number is None else min(number, len(names))
    return [scenes[names[round(step)]] for step in np.linspace(0, len(names) - 1, every)]


def qualifying(run: Run) -> pd.DataFrame:
    """For the photos and per arm: pictures, how many qualify as training data, and the share with its
    interval at 95 %."""
    rows = []
    photos = {scores.PHOTOS: "the photos themselves"} if run.has_photos else {}
    for arm, name in (photos | dict(comparisons.main(run).names)).items():
        passed = by_scene(run, arm).qualifies
        known, row = passed.dropna(), {"arm": name, "pictures": len(passed)}
        row |= {"qualify": int(known.sum()) if len(known) else NOT_JUDGED, "share": "–"}
        if len(known) >= 2:
            share = share_interval(known.astype(float), np.ones(len(known)))
            row["share"] = f"{share.value:.0%}, {share.low:.0%} to {share.high:.0%}"
        rows.append(row)
    return pd.DataFrame(rows)


def dropped(run: Run, arms: Sequence[str]) -> pd.DataFrame:
    """One row per scene in which boxes were dropped or texts cut, as the pictures' own records say."""
    rows = {}
    for arm in arms:
        for scene in run.scenes:
            record = images.read_text(run.picture(arm, scene))
            phrases, cut = json.loads(record["dropped_phrases"]), json.loads(record["cut_texts"])
            if phrases or cut:
                rows[scene.name] = {"boxes": len(phrases), "what stands in them": ", ".join(phrases)}
                rows[scene.name] |= {"texts cut": len(cut)}
    columns = ["scene", "boxes", "what stands in them", "texts cut"]
    return pd.DataFrame([{"scene": scene, **row} for scene, row in rows.items()], columns=columns)
