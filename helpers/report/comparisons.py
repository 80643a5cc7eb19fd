"""What stands beside what in a report: arms and controls under names for people, scenes in an order."""

from collections.abc import Sequence

import pandas as pd

from helpers.models.sets import model_set
from helpers.report.arms import grounding_arms, guidance_arms, is_ours, siblings, template_arms, whole
from helpers.runs.arms import GROUNDINGS, Arm
from helpers.runs.run import Run
from helpers.scenes.scenes import Scene
from helpers.scoring import scores, verdicts
from helpers.scoring.metrics import CAPTIONS, SEEDS

CLIP_SCORE, NAMED, FOUND, CROPS = "CLIP score", "labels named", "found at IoU 0.5", "crop accuracy"
GROUNDING = {"none": "no grounding", "text": "text grounding", "image": "text + image grounding"}
LOWER, HIGHER = "lower is better", "higher is better"
CAPTION_MEASURES = {CLIP_SCORE: HIGHER, NAMED: HIGHER, "R-precision": HIGHER}


def realism(run: Run) -> str:
    """The name of the run's Fréchet distance."""
    return scores.realism(model_set(run.card["protocol"]["models"]))


def main_measures(run: Run) -> dict[str, str]:
    """The two that are traded against each other: metric -> which way is good."""
    return {realism(run): LOWER, FOUND: HIGHER}


def measures(run: Run) -> dict[str, str]:
    """The columns of the report's table: metric -> which way is good."""
    return main_measures(run) | {"mean IoU": HIGHER, CROPS: HIGHER, CLIP_SCORE: HIGHER}


def seed_measures(run: Run) -> dict[str, str]:
    """What is looked at where arms differ by their noise alone: metric -> which way is good."""
    return main_measures(run) | {"variety": HIGHER}


def groups(run: Run) -> dict[str, dict[str, str]]:
    """All that is measured of an arm's pictures, a table a group: group -> metric -> which way is good."""
    tables, known = {}, scores.metrics_of(run)
    for name, metric in known.items():
        if metric.group not in (CAPTIONS, SEEDS):
            tables.setdefault(metric.group, {})[name] = LOWER if metric.lower_is_better else HIGHER
    counted = [name for name in run.scores().metric.unique() if name not in known and "captions" not in name]
    return tables | {"Counted, and kept out of the scores": dict.fromkeys(counted, "")}


def main_arm(run: Run) -> str:
    """The chosen template with text grounding: what the other arms are held against."""
    return grounding_arms(run)[1]


def main_scale(run: Run) -> float:
    """The guidance_scale at which templates and groundings are compared."""
    return Arm.parse(main_arm(run)).guidance_scale


def title(arm: Arm) -> str:
    """What an arm is called where all arms have one guidance_scale."""
    return f"{arm.template}, {GROUNDING[arm.grounding]}"


def titles(run: Run) -> dict[str, str]:
    """Arm -> what it is called: template x grounding as in the original's table, then those from outside."""
    own = {name: title(Arm.parse(name)) for name in template_arms(run) + grounding_arms(run)}
    outside = [name for name in whole(run) if not is_ours(name) and name != scores.ROUND_TRIP]
    return own | {name: f"{name} (from outside)" for name in outside}


def choose(run: Run, metric: str, arms: Sequence[str]) -> tuple[str, str]:
    """The best arm in that metric, and why: the first one where there are too few scenes for a score."""
    try:
        return verdicts.best(run, metric, arms), f"best {metric}"
    except ValueError as error:
        return arms[0], f"the first, for nothing compares them: {error}"


def controls(run: Run) -> dict[str, str]:
    """Arm -> what it is called, for the rows that say what a number is worth."""
    return {
        scores.PHOTOS: "photos: one half against the other",
        scores.ROUND_TRIP: "photos through the autoencoder",
        scores.SHUFFLED + main_arm(run): "held against boxes of other scenes",
        scores.CHANCE: "chance",
    }


def how(run: Run) -> str:
    """What the numbers of a table are made with, for its caption."""
    protocol = run.card["protocol"]
    by = "pytorch-fid's Inception, pool3" if realism(run) == "FID" else "the demo CLIP, which is no FID"
    side, fit = protocol["size"], protocol["fit"]
    return (
        f"Photos fitted to {side} x {side} pixels ({fit}). Realism: features by {by}. "
        "Small: interval at 95 % over photos. N: how many."
    )


def captioner_arms(run: Run) -> dict[str, str]:
    """Arm of a captioner's captions -> the captioner's name."""
    names = model_set(run.card["protocol"]["models"]).captioners
    return {f"{scores.CAPTIONER}{name}": name for name in names}


def sweep(run: Run) -> pd.DataFrame:
    """The long table of scores of the guidance sweep: see `over_guidance`."""
    return over_guidance(run, [arm for kind in GROUNDINGS for arm in guidance_arms(run, kind)])


def over_guidance(run: Run, arms: Sequence[Arm]) -> pd.DataFrame:
    """The long table of scores of those arms, with grounding and guidance_scale as columns.

    Raises FileNotFoundError where there is no arm, or naming those that have no scores.
    """
    table = run.scores()
    unscored = [arm.name for arm in arms if arm.name not in set(table.arm)]
    if unscored or not arms:
        lacks = f"no scores of {', '.join(unscored)}" if arms else "no arm to show over guidance_scale"
        raise FileNotFoundError(f"{run.folder}: {lacks}; run 03_gligen_grounding, then 04_fid")
    return pd.concat([table[table.arm == arm.name] for arm in arms], ignore_index=True)


def sweep_arms(run: Run) -> dict[str, list[Arm]]:
    """The arms of the guidance sweep by the name of their grounding."""
    found = {kind: guidance_arms(run, kind) for kind in GROUNDINGS}
    return {GROUNDING[kind]: arms for kind, arms in found.items() if len(arms) > 1 or kind == "text"}


def grounding_names(run: Run) -> dict[str, str]:
    """Arm -> the name of its grounding, for the grounding comparison."""
    return {name: GROUNDING[Arm.parse(name).grounding] for name in grounding_arms(run)}


def seed_names(run: Run) -> dict[str, str]:
    """Arm -> its name, for the groundings with one seed and, where there are such pictures, with another."""
    names = {}
    for (own, name), other in zip(grounding_names(run).items(), siblings(run), strict=True):
        names |= {own: name, other: f"{name}, another seed"}
    return {arm: name for arm, name in names.items() if arm in whole(run)}


def caption_tables(run: Run) -> dict[str, pd.DataFrame]:
    """Captioner -> its captions, by scene."""
    return {name: run.captions(name).set_index("scene") for name in captioner_arms(run).values()}


def labels(scenes: Sequence[Scene]) -> pd.DataFrame:
    """One row a label, the commonest first: boxes, and photos that have it."""
    pairs = [(label, scene.name) for scene in scenes for label in scene.labels]
    pairs = pd.DataFrame(pairs, columns=["label", "scene"])
    table = pairs.groupby("label").agg(boxes=("scene", "size"), photos=("scene", "nunique"))
    return table.sort_values("boxes", ascending=False, kind="stable").reset_index()
