"""Other methods on the same scenes: what each is given, and a table and an answer per group of those that are
given the same."""

from dataclasses import replace

import pandas as pd
from IPython.display import HTML, display

from helpers.models.sets import model_set
from helpers.report import claims, comparisons, gallery, tables
from helpers.report.comparisons import CLIP_SCORE, CROPS, FOUND, HIGHER, LOWER, Comparison
from helpers.runs.arms import Arm
from helpers.runs.external import is_own, whole
from helpers.runs.methods import GROUNDINGS, METHODS
from helpers.runs.run import Run
from helpers.scoring import scores

VARIETY = "variety"
MEASURES = {  # group -> what stands in its table beside realism and variety; the first one gives its verdict
    "caption only": ("R-precision", CLIP_SCORE, "attribute KL", "hit rate"),
    "layout": (FOUND, CROPS, "CAS (linear)", "RGB distance"),
}
QUESTIONS = {
    "caption only": "Given the caption alone, which method draws it best?",
    "layout": "Given the layout, which method draws it best?",
}
NOTES = {
    "caption only": "Methods that are given the caption alone.",
    "layout": "Methods that are given the layout. CAS (linear): a linear classifier is trained on the boxes "
    "of other scenes' pictures; the share of the photos' boxes that it names rightly. The photos show its "
    "ceiling.",
}
SEEDS = " Variety: CLIP's distance between two seeds; LPIPS, which is usual, has its weights in no package."
SHOWN = 3  # scenes in the report


def arms(run: Run, quick: bool = False) -> list[str]:
    """An arm of every method that compares by its group and can draw here, or of the quick ones alone: the
    chosen template, and the run's guidance_scale where the method has one. The study's groundings are among
    them."""
    choice = run.read_json("choices/template.json")
    here = [name for name, why in lacking(run).items() if not why and (METHODS[name].quick or not quick)]
    scales = [choice["guidance_scale"] if "guidance_scale" in METHODS[name].knobs else 1 for name in here]
    return [Arm(choice["template"], *pair).name for pair in zip(here, scales, strict=True)]


def lacking(run: Run) -> dict[str, str]:
    """Every method of the groups in MEASURES -> why it cannot draw in this run, "" where it can."""
    from helpers.models.checkpoints import find  # here, for reports that only read wait for no hub

    models, found = model_set(run.card["protocol"]["models"]), {}
    for name, method in METHODS.items():
        if method.group not in MEASURES:
            continue
        own, found[name] = models.methods.get(method.own), ""
        if not (own or method.checkpoint):
            found[name] = f"no weights of it in the {models.name} models"
        elif own and (missing := find(own)[1]):
            found[name] = f"{missing.problem}: {own.source}"
        elif method.needs_photo and not run.has_photos:
            found[name] = "needs photos"
        elif not method.in_verdicts:
            found[name] = "by sweeps alone"
    return found


def given(run: Run) -> HTML:
    """What every method is given and draws with, and why it does not draw here."""
    models, why, rows = model_set(run.card["protocol"]["models"]), lacking(run), []
    for name, method in METHODS.items():
        checkpoint = models.methods.get(method.own) or models.gligen.get(method.checkpoint)
        here = "see the edits" if method.group == "edit" else why[name] or "yes"
        facts = ", ".join(method.reads), checkpoint.name if checkpoint else "", here
        rows.append((method.title, method.group, *facts))
    columns = ["method", "group", "is given", "checkpoint", "compared here"]
    return tables.table(pd.DataFrame(rows, columns=columns), "What each method is given")


def compare(run: Run) -> dict[str, Comparison]:
    """Group -> its methods: whole and scored arms, of the study's groundings those at its own settings.

    An arm with another seed is no row: what it tells is the variety of its method."""
    choice, known, groups = run.read_json("choices/template.json"), scores.metrics_of(run), {}
    usual, order = {*arms(run)}, [*METHODS]
    there = [Arm.parse(name) for name in whole(run) if is_own(name) and run.has(f"scores/{name}.json")]
    for arm in sorted(there, key=lambda arm: order.index(arm.grounding)):
        is_other = arm.grounding not in GROUNDINGS or arm.template not in choice["compared"]
        is_other &= not (arm.seed or arm.layout or run.edits(arm.template))
        if is_other or arm.name in usual:
            title = METHODS[arm.grounding].title if arm.name in usual else arm.title
            own = title if arm.template == choice["template"] else f"{arm.template}, {title}"
            groups.setdefault(METHODS[arm.grounding].group, {})[arm.name] = own
    compared = {}
    for group in MEASURES:
        names = groups.get(group, {})
        there = set(run.scores(names).metric) | {VARIETY}
        first, *others = MEASURES[group]
        realism = [comparisons.realism(run)] * run.has_photos
        columns = [one for one in (first, *realism, *others, VARIETY) if one in there]
        metrics = {one: LOWER if known[one].lower_is_better else HIGHER for one in columns}
        controls = {scores.PHOTOS: "photos, against other photos"} if run.has_photos else {}
        costs = {arm: cost for arm in names if (cost := run.costs(arm))}
        notes = {METHODS[Arm.parse(arm).grounding].note for arm in names} - {""}
        caption = " ".join([NOTES[group] + SEEDS, *sorted(notes)])
        compared[group] = Comparison(names, metrics, caption, controls=controls, costs=costs)
    return compared


def score_tables(run: Run) -> HTML:
    """A table per group: scores, and what a picture takes. The variety of an arm is that between its pictures
    and those with another seed."""
    shown = []
    for comparison in compare(run).values():
        others = {replace(Arm.parse(name), seed=1).name: name for name in comparison.names}
        variety = run.scores(others).query("metric == @VARIETY")
        own = run.scores([*comparison.names, *comparison.controls])
        both = pd.concat([own, variety.assign(arm=variety.arm.map(others))])
        shown.append(tables.score_table(both, comparison).data)
    return HTML("".join(shown))


def answers(run: Run) -> HTML:
    """Per group the best method in following what it is given and in realism, with all comparisons."""
    return tables.piece("answers", [_answer(run, *pair) for pair in compare(run).items()])


def _answer(run: Run, group: str, comparison: Comparison) -> tables.Answer:
    names, question = comparison.names, QUESTIONS[group]
    if len(names) < 2:
        return tables.Answer(question, "There is nothing to compare: one method was drawn.")
    said, found = zip(*(claims.best(run, metric, names) for metric in comparison.pair), strict=True)
    grounds = [line for metric in comparison.pair for line in claims.differences(run, metric, names)]
    return tables.Answer(question, " ".join(said), tuple(grounds), "", *found[0])


def pictures(run: Run, shown: int = SHOWN) -> gallery.Visual:
    """The first scenes in every method that is compared, side by side."""
    names = {arm: name for one in compare(run).values() for arm, name in one.names.items()}
    return gallery.compare(run, run.scenes[:shown], names)


def show(run: Run) -> HTML | None:
    """Answers, pictures and tables of the methods; how to draw some where there are none but the study's."""
    line = "No other method was drawn in this run: make methods RUN=… draws those that it can."
    if {arm for one in compare(run).values() for arm in one.names} <= {*comparisons.grounding_arms(run)}:
        return HTML(f"<p>{line}</p>")
    display(answers(run), pictures(run), score_tables(run), given(run))
    return None
