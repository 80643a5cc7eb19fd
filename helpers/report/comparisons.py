"""Which arms, controls and metrics each section of the report compares, and their display names."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from helpers.models.sets import extractor_name, model_set
from helpers.runs.arms import GROUNDINGS, Arm
from helpers.runs.external import is_external, is_own, whole
from helpers.runs.methods import METHODS
from helpers.runs.protocol import detector_name
from helpers.runs.run import PROMPTS, Run
from helpers.scoring import scores, verdicts
from helpers.scoring.metrics import ATTRIBUTES, CAPTIONS, EDITS, FOUND, NOT_JUDGED, REALISM, SEEDS

CLIP_SCORE, NAMED, CROPS = "CLIP score", "labels named", "crop accuracy"
GROUNDING = {name: METHODS[name].title for name in GROUNDINGS}
LAYOUT = {"mirrored": "boxes mirrored", "jittered": "boxes jittered", "other": "boxes of another photo"}
LAYOUT |= {"random": "random boxes"}
ELSEWHERE = (CAPTIONS, SEEDS, EDITS, ATTRIBUTES)  # groups of metrics with tables of their own
LOWER, HIGHER = "lower is better", "higher is better"


@dataclass(frozen=True)
class Comparison:
    """What one table compares.

    names: arm -> display name; metrics: metric -> which way is good; chosen: the arm that is pointed out;
    controls: arm -> display name of the rows set apart below; costs: arm -> UNet rows, seconds per picture.
    """

    names: Mapping[str, str]
    metrics: Mapping[str, str]
    caption: str
    chosen: str = ""
    controls: Mapping[str, str] = field(default_factory=dict)
    costs: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def pair(self) -> dict[str, str]:
        """The two metrics that are traded against each other, realism and box following: the first two."""
        return dict(list(self.metrics.items())[:2])


def main(run: Run) -> Comparison:
    """Template by grounding, as in the original study's table, other layouts, editors, external arms."""
    own = [Arm.parse(name) for name in template_arms(run) + grounding_arms(run)]
    names = {arm.name: f"{arm.template}, {GROUNDING[arm.grounding]}" for arm in own}
    whole_arms = [name for name in whole(run) if not run.edits(name.partition("-")[0])]
    there = [Arm.parse(name) for name in whole_arms if is_own(name)]
    moved = {arm.name: (replace(arm, layout="").name, LAYOUT[arm.layout]) for arm in there if arm.layout}
    names |= {name: f"{names[base]}, {how}" for name, (base, how) in moved.items() if base in names}
    others = [arm for arm in there if METHODS[arm.grounding].is_edit]  # `report.methods` has the rest
    names |= {arm.name: f"{arm.template}, {arm.title}" for arm in others}
    names |= {name: f"{name} (from outside)" for name in whole_arms if is_external(name)}
    chosen = main_arm(run)
    photos = {scores.PHOTOS: "photos, against other photos"}
    photos |= {scores.ROUND_TRIP: "photos through the autoencoder"}
    controls = (photos if run.has_photos else {}) | {
        scores.SHUFFLED + chosen: "chosen arm against the boxes of other scenes",
        scores.CHANCE: "chance",
    }
    known = scores.metrics_of(run)
    distances = [name for name, one in known.items() if one.group == REALISM and one.lower_is_better][:4]
    measures = _measures(run)
    columns = dict([*measures.items()][:2]) | dict.fromkeys(distances * run.has_photos, LOWER) | measures
    notes = given(others)
    notes += "".join(f" {note}" for note in sorted({METHODS[arm.grounding].note for arm in others} - {""}))
    costs = {name: cost for name in names if (cost := run.costs(name))}
    return _noted(run, Comparison(names, columns, _how(run) + notes, chosen, controls, costs))


def given(arms: Iterable[Arm]) -> str:
    """What the methods of those arms are given, a sentence per method, for the caption of a table."""
    methods = {METHODS[arm.grounding] for arm in arms}
    said = sorted(f"{one.title} is given: {', '.join(one.reads)}." for one in methods)
    return "".join(f" {sentence[:1].upper()}{sentence[1:]}" for sentence in said)


def everything(run: Run) -> list[Comparison]:
    """The arms of `main` in every metric of pictures: one table per group of metrics, one of the counts."""
    groups, known, scored = {}, scores.metrics_of(run), set(run.scores().metric)
    for name, metric in known.items():
        if metric.group not in ELSEWHERE and (name in scored or not metric.crowded):
            groups.setdefault(metric.group, {})[name] = LOWER if metric.lower_is_better else HIGHER
    counted = [name for name in run.scores().metric.unique() if name not in known and "captions" not in name]
    groups["Counted, and kept out of the scores"] = dict.fromkeys(counted, "")
    table = main(run)
    return [
        _noted(run, replace(table, metrics=metrics, caption=f"{name}.")) for name, metrics in groups.items()
    ]


def templates(run: Run, compared: Sequence[str]) -> Comparison:
    """Arms with text grounding that differ by their template."""
    names = {name: f"“{Arm.parse(name).template}”" for name in compared}
    return _noted(run, Comparison(names, _measures(run), "Templates, text grounding."))


def groundings(run: Run) -> Comparison:
    """The chosen template without grounding, with text, and with text and image."""
    names = {name: GROUNDING[Arm.parse(name).grounding] for name in grounding_arms(run)}
    return _noted(run, Comparison(names, _measures(run), "The three groundings.", main_arm(run)))


def seeds(run: Run) -> Comparison:
    """The groundings with one seed and, where there are such pictures, with another."""
    names, there = {}, whole(run)
    for (own, name), other in zip(groundings(run).names.items(), grounding_arms(run, seed=1), strict=True):
        names |= {own: name, other: f"{name}, another seed"}
    names = {arm: name for arm, name in names.items() if arm in there}
    metrics = dict(list(_measures(run).items())[:2]) | {"variety": HIGHER}
    return _noted(run, Comparison(names, metrics, "The compared groundings with two seeds."))


def captioners(run: Run) -> Comparison:
    """The captions of each captioner, as arms."""
    known = model_set(run.card["protocol"]["models"]).captioners if run.has_photos else [PROMPTS]
    metrics = dict.fromkeys((CLIP_SCORE, NAMED, "R-precision"), HIGHER)
    names = {f"{scores.CAPTIONER}{name}": name for name in known}
    return _noted(run, Comparison(names, metrics, "Captions against their photos."))


def sweep(run: Run) -> Comparison:
    """The arms of the guidance sweep: the chosen template with every grounding, boxes in all steps. Raises as
    `over_guidance`."""
    arms = [arm for kind in GROUNDINGS for arm in guidance_arms(run, kind)]
    over_guidance(run, arms)
    names = {arm.name: f"{GROUNDING[arm.grounding]}, guidance_scale {arm.guidance_scale:g}" for arm in arms}
    return _noted(run, Comparison(names, _measures(run), "Groundings over guidance_scale.", main_arm(run)))


def over_guidance(run: Run, arms: Sequence[Arm]) -> pd.DataFrame:
    """`Run.scores` of those arms. Raises FileNotFoundError where there is none, or naming those without."""
    table = run.scores([arm.name for arm in arms])
    unscored = [arm.name for arm in arms if arm.name not in set(table.arm)]
    if unscored or not arms:
        lacks = f"no scores of {', '.join(unscored)}" if arms else "no arm to show over guidance_scale"
        raise FileNotFoundError(f"{run.folder}: {lacks}; run 03_gligen_grounding, then 04_fid")
    return table


def trade_off(run: Run) -> pd.DataFrame:
    """One row per arm of the chosen template: settings, `distance` (realism) and `found` (share of boxes at
    IoU 0.5) with `_low` and `_high` of their intervals at 95 %, n, and `front` (see `on_front`)."""
    template = run.read_json("choices/template.json")["template"]
    long = over_guidance(run, [arm for arm in own_arms(run) if (arm.template, arm.seed) == (template, 0)])
    table = long[["arm", "grounding", "guidance_scale", "grounded_fraction"]].drop_duplicates()
    for name, metric in (("distance", realism(run)), ("found", FOUND)):
        rows = long[long.metric == metric].set_index("arm")
        columns = {name: rows.value, f"{name}_low": rows.low, f"{name}_high": rows.high, "n": rows.n}
        table = table.assign(**{column: table.arm.map(values) for column, values in columns.items()})
    return table.assign(front=on_front(-table.distance.to_numpy(), table.found.to_numpy()))


def on_front(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Pareto front: (n,) bool, False for a point that another is at least as high as in both and higher in
    one, and for NaN."""
    higher = (first[:, None] >= first) & (second[:, None] >= second)
    strictly = (first[:, None] > first) | (second[:, None] > second)
    return ~(higher & strictly).any(0) & ~np.isnan(first + second)


def choose(run: Run, metric: str, arms: Sequence[str]) -> tuple[str, str]:
    """The best arm in that metric, and why: the first arm where there are too few scenes for a score."""
    try:
        return verdicts.best(run, metric, arms), f"best {metric}"
    except ValueError as error:
        return arms[0], f"the first, for nothing compares them: {error}"


def realism(run: Run) -> str:
    """The name of the distance that the run's verdicts on realism rest on."""
    return scores.realism(model_set(run.card["protocol"]["models"]))


def quality(run: Run) -> str:
    """What templates are chosen by: realism, or, without photos, the share of boxes found."""
    return realism(run) if run.has_photos else FOUND


def own_arms(run: Run) -> list[Arm]:
    """The run's own arms that have a picture of every scene, with steps and scheduler of the protocol."""
    return [arm for name in whole(run) if is_own(name) and (arm := Arm.parse(name)).is_plain]


def template_arms(run: Run) -> list[str]:
    """Text grounding with every template that was compared."""
    choice = run.read_json("choices/template.json")
    return [Arm(template, "text", choice["guidance_scale"]).name for template in choice["compared"]]


def grounding_arms(run: Run, seed: int = 0) -> list[str]:
    """The chosen template without grounding, with text, and with text and image."""
    choice = run.read_json("choices/template.json")
    template, scale = choice["template"], choice["guidance_scale"]
    return [Arm(template, kind, scale, seed=seed).name for kind in run.groundings]


def main_arm(run: Run) -> str:
    """The chosen template with text grounding: what the other arms are compared with."""
    return grounding_arms(run)[1]


def guidance_arms(run: Run, grounding: str, template: str = "") -> list[Arm]:
    """Whole arms of that grounding and template ("" for the chosen one), boxes in all steps and seed 0, by
    guidance_scale."""
    template = template or run.read_json("choices/template.json")["template"]
    plain = [arm for arm in own_arms(run) if arm == Arm(template, grounding, arm.guidance_scale)]
    return sorted(plain, key=lambda arm: arm.guidance_scale)


def _noted(run: Run, comparison: Comparison) -> Comparison:
    """The same, its caption saying what is not judged, and why."""
    reasons: dict[str, list[str]] = {}
    for metric, reason in verdicts.not_judged(run, comparison.names).items():
        if metric in comparison.metrics:
            reasons.setdefault(reason.removeprefix(NOT_JUDGED).lstrip(": "), []).append(metric)
    notes = [f" Not judged: {', '.join(metrics)} ({reason})." for reason, metrics in reasons.items()]
    return replace(comparison, caption=comparison.caption + "".join(notes))


def _measures(run: Run) -> dict[str, str]:
    followed = dict.fromkeys((FOUND, "mean IoU", CROPS, CLIP_SCORE), HIGHER)
    return ({realism(run): LOWER} if run.has_photos else {}) | followed


def _how(run: Run) -> str:
    protocol = run.card["protocol"]
    network = extractor_name(model_set(protocol["models"]).inception)
    side, fit = protocol["size"], protocol["fit"]
    realism = f"Photos fitted to {side} x {side} pixels ({fit}). Realism: features by {network}. "
    return (
        f"{realism if run.has_photos else ''}Boxes: found by {detector_name(protocol)}. "
        "Small: interval at 95 % over photos. N: number of photos."
    )
