"""Which pictures may train a detector: those whose boxes hold what was asked for; and why others may not."""

from collections import Counter
from collections.abc import Iterable

import numpy as np
import pandas as pd

from helpers.files import beside
from helpers.parameters import ParameterError
from helpers.report import box_scores
from helpers.report.comparisons import CROPS, FOUND
from helpers.runs.layouts import arm_layouts
from helpers.runs.run import Run
from helpers.scenes import images
from helpers.scenes.boxes import DROPPED
from helpers.scenes.scenes import Scene
from helpers.scoring import adherence, scores

COLUMNS = ["arm", "scene", "boxes", "qualifies", "reason"]


def qualifying(
    run: Run, arms: Iterable[str], iou: float = adherence.FOUND, crops: float = 1.0
) -> pd.DataFrame:
    """Whether each picture of those arms may train a detector, and if not, why: one row per arm and scene.

    Columns: arm, scene, boxes (asked for and given), qualifies, reason ("" where it qualifies). iou: which
    every box has to reach. crops: share of a picture's boxes whose inside CLIP has to name rightly.
    Raises ParameterError for an arm that was not judged, and FileNotFoundError for one that was not scored.
    """
    rows = []
    for arm in arms:
        if why := unjudged(run, arm):
            raise ParameterError(
                f"arm = {arm!r}: nothing can qualify, for {why}; take all pictures with --all 1"
            )
        by_box = box_scores.by_box(run, arm)
        by_scene = dict([*by_box[by_box.mark != DROPPED].groupby("scene", sort=False)])
        for scene in arm_layouts(run, arm, run.scenes):
            part = by_scene.get(scene.name)
            reason = _unusable(run, arm, scene) or _unmeasured(scene, part) or _reason(part, iou, crops)
            rows.append((arm, scene.name, 0 if part is None else len(part), not reason, reason))
    return pd.DataFrame(rows, columns=COLUMNS)


def every(run: Run, arms: Iterable[str]) -> pd.DataFrame:
    """The same table where nothing is judged: a picture is taken when it is there, whole and not withheld."""
    rows = [
        (arm, scene.name, len(scene.boxes), not reason, reason)
        for arm in arms
        for scene in arm_layouts(run, arm, run.scenes)
        for reason in [_unusable(run, arm, scene)]
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def unjudged(run: Run, arm: str) -> str:
    """Why nothing says what the boxes of that arm hold; "" where the detector and CLIP do.

    Raises FileNotFoundError where the arm was not scored.
    """
    if not run.has(f"boxes/{arm}.jsonl"):
        known = ", ".join(sorted(path.stem for path in (run.folder / "boxes").glob("*.jsonl")))
        raise FileNotFoundError(
            f"arm = {arm!r}: {run.folder} has no scores of it; run 04_fid, or take one of: {known or 'none'}"
        )
    table = run.scores([arm, scores.PHOTOS]).set_index(["arm", "metric"])
    for metric in (FOUND, CROPS):
        if (arm, metric) not in table.index or pd.isna(table.value[arm, metric]):
            reason = table.reason.get((arm, metric))
            return f"it has no score “{metric}” ({reason if isinstance(reason, str) else 'not judged'})"
    if table.value.get((scores.PHOTOS, FOUND)) == 0:
        return "the detector finds none of the boxes in the photos either: it cannot judge them"
    return ""


def causes(table: pd.DataFrame) -> dict[str, int]:
    """What pictures that do not qualify lack, and how many of them, each counted once."""
    return dict(Counter(reason.split(":")[0] for reason in table[~table.qualifies].reason))


def remember(run: Run, table: pd.DataFrame, iou: float, crops: float) -> None:
    """Which pictures qualify, in the run folder: as JSON by arm, and with reasons as CSV."""
    which = {arm: rows[rows.qualifies].scene.tolist() for arm, rows in table.groupby("arm", sort=False)}
    run.write_json("qualifying.json", {"iou": iou, "crops": crops, "arms": which})
    with beside(run.folder / "qualifying.csv") as partial:
        table.to_csv(partial, index=False, lineterminator="\n")


def _unusable(run: Run, arm: str, scene: Scene) -> str:
    if arm == scores.PHOTOS:
        return ""
    picture = run.picture(arm, scene)
    if not images.is_whole(picture):
        return "damaged picture" if picture.exists() else "no picture"
    return "withheld by the safety checker" if images.read_text(picture).get("flagged") == "true" else ""


def _unmeasured(scene: Scene, part: pd.DataFrame | None) -> str:
    if part is not None:
        return ""
    return "not measured: it shows nothing, or came after 04_fid" if len(scene.boxes) else "no box asked for"


def _reason(part: pd.DataFrame, iou: float, crops: float) -> str:
    """Which boxes of a picture do not hold what was asked for; part: its rows of `box_scores.by_box`."""
    unknown = part[part[["found", "iou", "crop_correct"]].isna().any(axis=1)]
    if len(unknown):
        return f"boxes that were not judged: {', '.join(unknown.label)}"
    reached = part.found if iou == adherence.FOUND else adherence.reaches(part.iou.to_numpy(), iou)
    missed = part[~np.asarray(reached, bool)]
    if len(missed):
        listed = ", ".join(f"{row.label} ({row.iou:.2f})" for row in missed.itertuples())
        return f"boxes not found at IoU {iou:g}: {listed}"
    wrong = part[~part.crop_correct.astype(bool)]
    if len(part) - len(wrong) < crops * len(part) - 1e-9:
        return f"crops not named rightly: {', '.join(wrong.label)}"
    return ""
