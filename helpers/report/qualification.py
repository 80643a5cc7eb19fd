"""Which pictures may train a detector: those whose boxes hold what was asked for; and why others may not."""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import compress

import pandas as pd

from helpers.files import beside
from helpers.parameters import ParameterError
from helpers.report import box_scores
from helpers.report.comparisons import CROPS, FOUND
from helpers.runs.layouts import arm_layouts
from helpers.runs.run import Run
from helpers.scenes.boxes import DROPPED
from helpers.scenes.scenes import Scene
from helpers.scoring import adherence, verdicts
from helpers.scoring.extraction import PHOTOS, Pictures
from helpers.scoring.metrics import NOT_JUDGED

FILE = "qualifying.json"  # of a run: by arm the scenes whose pictures qualify, with the thresholds
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
        by_box, boxes = box_scores.by_box(run, arm), {}
        for row in by_box[by_box.mark != DROPPED].to_dict("records"):
            boxes.setdefault(row["scene"], []).append(row)
        for scene, unusable in _unusable(run, arm).items():
            part = boxes.get(scene.name, ())
            reason = unusable or _reason(scene, part, iou, crops)
            rows.append((arm, scene.name, len(part), not reason, reason))
    return pd.DataFrame(rows, columns=COLUMNS)


def every(run: Run, arms: Iterable[str]) -> pd.DataFrame:
    """The same table where nothing is judged: a picture is taken when it is there, whole and not withheld."""
    asked = ((arm, scene, reason) for arm in arms for scene, reason in _unusable(run, arm).items())
    rows = [(arm, scene.name, len(scene.boxes), not reason, reason) for arm, scene, reason in asked]
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
    table, withheld = run.scores([arm]).set_index("metric"), verdicts.not_judged(run, [arm])
    reasons = table[table.value.isna()].reason.fillna(NOT_JUDGED).to_dict() | withheld
    for name in (FOUND, CROPS):
        if name in reasons or name not in table.index:
            return f"it has no score “{name}” ({reasons.get(name, NOT_JUDGED)})"
    return ""


def causes(table: pd.DataFrame) -> dict[str, int]:
    """What pictures that do not qualify lack, and how many of them, each counted once."""
    return dict(Counter(reason.split(":")[0] for reason in table[~table.qualifies].reason))


def remember(run: Run, table: pd.DataFrame, iou: float, crops: float) -> None:
    """Which pictures qualify, in the run folder: as JSON by arm, and with reasons as CSV."""
    which = {arm: rows[rows.qualifies].scene.tolist() for arm, rows in table.groupby("arm", sort=False)}
    facts = {"iou": iou, "crops": crops, "arms": which, "licences": run.licences(which)}
    run.write_json(FILE, facts)
    with beside(run.folder / "qualifying.csv") as partial:
        table.to_csv(partial, index=False, lineterminator="\n")


def _unusable(run: Run, arm: str) -> dict[Scene, str]:
    """Every scene as its picture was asked for -> why that cannot be used, "" where it can."""
    scenes = arm_layouts(run, arm, run.scenes)
    if arm == PHOTOS:
        return dict.fromkeys(scenes, "")
    there = [scene for scene in scenes if run.picture(arm, scene).exists()]
    facts = Pictures(run, there, arm, None).facts()
    reasons = dict.fromkeys(scenes, "no picture") | dict.fromkeys(there, "")
    reasons |= dict.fromkeys(compress(there, facts["flagged"]), "withheld by the safety checker")
    return reasons | dict.fromkeys(compress(there, facts["damaged"]), "damaged picture")


def _reason(asked: Scene, boxes: Sequence[dict], iou: float, crops: float) -> str:
    """Which boxes of a picture do not hold what was asked for. boxes: rows of `box_scores.by_box`."""
    if not len(asked.boxes):
        return "no box asked for"
    if not boxes:
        return "not measured: it shows nothing, or came after 04_fid"
    marks = ("found", "iou", "crop_correct")
    if unknown := [row["label"] for row in boxes if any(pd.isna(row[mark]) for mark in marks)]:
        return f"boxes that were not judged: {', '.join(unknown)}"
    missed = [
        f"{row['label']} ({row['iou']:.2f})"
        for row in boxes
        if not (row["found"] if iou == adherence.FOUND else adherence.reaches(row["iou"], iou))
    ]
    if missed:
        return f"boxes not found at IoU {iou:g}: {', '.join(missed)}"
    wrong = [row["label"] for row in boxes if not row["crop_correct"]]
    enough = len(boxes) - len(wrong) >= crops * len(boxes) - 1e-9
    return "" if enough else f"crops not named rightly: {', '.join(wrong)}"
