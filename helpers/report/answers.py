"""The five questions of a report, each answered by what its run's numbers support."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import pandas as pd
from IPython.display import HTML

from helpers.report import box_scores, certainty, comparisons, tables, training_effect
from helpers.report.claims import against_best, best, capital, differences, gain, measured, not_worse
from helpers.report.comparisons import CLIP_SCORE, CROPS, FOUND, GROUNDING, NAMED, realism
from helpers.report.tables import Answer
from helpers.runs.external import is_own, whole
from helpers.runs.protocol import knows_photos
from helpers.runs.run import Run
from helpers.scenes.boxes import PLACES
from helpers.scoring import scores, verdicts

FIVE = ("captioners", "templates", "groundings", "guidance", "training")
LOOKS = {  # by `claims.gain`
    1: "more real than those without",
    0: "as real as those without, as far as these photos can tell",
    -1: "less real than those without",
}
TRAINING = "Pictures to train a detector with"
NO_PHOTOS = (
    "The demo models have only ever seen drawn worksites. They do not know real photos: the captions and "
    "pictures below show that everything runs, and nothing about how good GLIGEN is at them; what the demo "
    "CLIP and the demo detector would say of them is not judged. "
    "For that, run the same command with MODELS=published on a machine with a GPU."
)


def all_of(run: Run, mark: float = 11.0, questions: Iterable[str] = FIVE) -> list[Answer]:
    """Answers to QUESTIONS, the report's five or others. mark: guidance_scale that "guidance" asks about."""
    return [QUESTIONS[name](run, **({"mark": mark} if name == "guidance" else {})) for name in questions]


def show(run: Run, *questions: str, mark: float = 11.0, linked: bool = False) -> HTML:
    """`all_of` as HTML. linked: with links to the sections of the report."""
    rows = all_of(run, mark, questions)
    return tables.piece("answers", rows if linked else [replace(row, section="") for row in rows])


def opening(run: Run) -> HTML:
    """Title, lead, facts and warning of the report."""
    protocol, scenes = run.card["protocol"], run.scenes
    counts = [len(scene.boxes) for scene in scenes]
    facts = {"photos" if run.has_photos else "prompts": len(scenes), "boxes": sum(counts)}
    if dropped := sum(max(count - PLACES, 0) for count in counts):
        facts[f"boxes over {PLACES} in a photo, not given"] = dropped
    apart = [name for name in whole(run) if not is_own(name) and run.edits(name.partition("-")[0])]
    facts["arms"] = len(set(whole(run)) - {scores.ROUND_TRIP, *apart})  # without the controls
    facts |= {"models": protocol["models"], "steps": protocol["steps"], "made": run.card["started"]}
    folder = Path(protocol["dataset"]).name
    lead = (
        f"The photos of the folder {folder} were captioned, captions and boxes "
        if run.has_photos
        else f"Prompts and boxes of the folder {folder}, which has no photos, "
    ) + "became pictures, and every number about them says how sure it is."
    warning = "" if knows_photos(protocol["models"], scenes) else NO_PHOTOS
    return tables.piece("opening", "Pictures that follow boxes", lead, facts, warning)


def captioners(run: Run) -> Answer:
    """Question 1, by CLIP score and by the labels named."""
    question = "Which captioner describes these photos better?"
    if not run.has_photos:
        return Answer(question, "There are no photos to caption: the data set brings its prompts.")
    names, choice = comparisons.captioners(run).names, run.read_json("choices/captioner.json")
    grounds = [sentence for metric in (CLIP_SCORE, NAMED) for sentence in differences(run, metric, names)]
    winner, found = best(run, CLIP_SCORE, names)
    short = f"{winner} The captions of {choice['captioner']} became prompts."
    return Answer(question, short, tuple(grounds), "Captions", *found)


def templates(run: Run) -> Answer:
    """Question 2, by the distance of text-grounded pictures to the photos."""
    names = comparisons.templates(run, comparisons.template_arms(run)).names
    metric, chosen = comparisons.quality(run), f"“{run.read_json('choices/template.json')['template']}”"
    winner, found = best(run, metric, names)
    short = f"{winner} {'It' if winner.startswith(chosen) else chosen} was taken for what follows."
    question = "Which prompt template gives better pictures?"
    grounds = differences(run, metric, names)
    return Answer(question, short, tuple(grounds), "Template, grounding, realism, boxes", *found)


def groundings(run: Run) -> Answer:
    """Question 3: boxes found and distance per grounding, compared with the chosen arm."""
    names, distance = comparisons.groundings(run).names, realism(run)
    none, text, *image = names
    values = run.scores().set_index(["metric", "arm"]).value
    found, verdict, numbers = f"Boxes found: {_listed(values, FOUND, names, '.0%')}", "Cannot tell", ()
    if reason := verdicts.not_judged(run).get(FOUND):
        found, verdict = f"Boxes found are {reason}", "Not judged"
    digits = scores.metrics_of(run)[distance].digits
    short = f"{found}. {distance}: {_listed(values, distance, names, f'.{digits}f')}."
    if not run.has_photos:
        score = _listed(values, "mean IoU", names, ".3f")
        short = f"{found}. Layout score, the mean IoU: {score}. Realism is not judged: no photos."
    grounds = [
        line
        for metric in (FOUND, distance)
        for line in (*differences(run, metric, names, text), *not_worse(run, metric, names))
    ]
    bought, kept = (gain(run, metric, names, text, none) for metric in (FOUND, distance))
    if verdict == "Cannot tell" and None not in (bought, kept) and values[FOUND, scores.PHOTOS] > 0:
        pays = "It pays" if kept >= 0 else "It is a trade"
        verdict = {1: pays, 0: "Not shown to pay", -1: "It does not pay"}[bought]
        numbers = tuple((names[arm], f"{values[FOUND, arm]:.0%}") for arm in (text, none))
        grounds.insert(0, short)
        short = (
            f"Text grounding puts {values[FOUND, text]:.0%} of the boxes in place; without grounding it is "
            f"{values[FOUND, none]:.0%}, with text + image grounding {values[FOUND, image[0]]:.0%}, in the "
            f"photos themselves {values[FOUND, scores.PHOTOS]:.0%}. Its pictures look {LOOKS[kept]}."
        )
    question = "What does grounding cost in realism, and what does it buy in following the boxes?"
    section = "Template, grounding, realism, boxes"
    return Answer(question, short, tuple(grounds), section, verdict, FOUND, numbers)


def guidance(run: Run, mark: float = 11.0) -> Answer:
    """Question 4: the guidance_scale `mark` against the best one, in distance and in boxes found."""
    short, grounds, told, numbers = [], [], [], ("", ())
    for kind in run.groundings[1:]:
        arms = comparisons.guidance_arms(run, kind)
        names = {arm.name: f"guidance_scale {arm.guidance_scale:g}" for arm in arms}
        marked = [arm.name for arm in arms if arm.guidance_scale == mark]
        if not marked or len(names) < 2:
            short.append(f"With {GROUNDING[kind]}, {mark:g} was not compared.")
            continue
        against, worse = against_best(run, names, marked[0])
        words: dict[str, list[str]] = {}
        for metric, arm in worse.items():
            words.setdefault(arm, []).append("in boxes found" if metric == FOUND else "in realism")
        parts = [f"worse than {names[arm]} {' and '.join(some)}" for arm, some in words.items()]
        found = " and ".join(parts) or "not shown to be wrong"
        told.append(("No" if worse else "Not shown to be wrong") if against else "Not judged")
        short.append(f"With {GROUNDING[kind]}, {mark:g} is {found if against else 'not judged'}.")
        grounds += [f"{GROUNDING[kind].capitalize()}: {one[:1].lower()}{one[1:]}" for one in against]
        if worse and not numbers[0]:
            metric, arm = next(iter(worse.items()))
            numbers = measured(run, metric, {one: names[one] for one in (arm, marked[0])})
    question = f"What does guidance_scale trade, and is {mark:g} right?"
    verdict = told[0] if len(set(told)) == 1 else "It depends" if told else "Not compared"
    return Answer(question, " ".join(short), tuple(grounds), "guidance_scale", verdict, *numbers)


def training(run: Run) -> Answer:
    """Question 5: in how many pictures every box is found and its inside named rightly."""
    question, section = "Which of the pictures are good enough to train a detector with?", TRAINING
    withheld, own = verdicts.not_judged(run), run.licences(run.arms()).items()
    terms = [f"Read before you train: pictures of {title} are under {text}." for title, text in own]
    if reason := withheld.get(FOUND) or withheld.get(CROPS):
        effect = training_effect.sentences(run) if run.has(training_effect.FILE) else ()
        return Answer(question, f"{capital(reason)}.", (*effect, *terms), section, "Not judged")
    table, names = box_scores.qualifying(run).set_index("arm"), comparisons.main(run).names
    counts = [
        f"{name}, {row.qualify} of {row.pictures}"
        for arm, name in comparisons.groundings(run).names.items()
        for row in [table.loc[names[arm]]]
    ]
    chosen, rows = table.loc[names[comparisons.main_arm(run)]], {}
    some = "Some of them" if chosen.qualify else "None"
    short = f"Those in which every box is found and its inside named rightly: {'; '.join(counts)}."
    grounds = ["Shares with intervals, and how to read them, stand in the section below."]
    if run.has_photos:
        rows["the photos themselves"] = photos = table.iloc[0]
        passed = f"{photos.qualify} of {photos.pictures} photos ({photos.share})"
        grounds = [f"The same detector and CLIP pass {passed}. {grounds[0]}", *training_effect.sentences(run)]
    grounds += terms
    numbers = [
        (name, f"{row.qualify} of {row.pictures}")
        for name, row in ({GROUNDING["text"]: chosen} | rows).items()
    ]
    verdict = "Most of them" if chosen.qualify > chosen.pictures / 2 else some
    return Answer(question, short, tuple(grounds), section, verdict, "how many qualify", tuple(numbers))


def front(run: Run) -> Answer:
    """Which settings are beaten by no other, and which values of grounded_fraction were drawn at all."""
    question = "Which settings are beaten by no other in both?"
    if reason := verdicts.not_judged(run).get(FOUND):
        return Answer(question, f"Boxes found are {reason}.")
    if not run.has_photos:
        return Answer(question, "Realism is not judged: no photos.")
    table = comparisons.trade_off(run)
    rows = [*table[table.front].sort_values("distance").itertuples()]
    settings = [f"{_setting(row)} ({row.found:.0%} found, {row.distance:.3g})" for row in rows]
    fractions = ", ".join(f"{value:g}" for value in sorted(table.grounded_fraction.unique()))
    grounds = [f"Values of grounded_fraction that were drawn: {fractions}."]
    if set(table.grounded_fraction) == {1}:
        grounds[0] += ' Others come with make sweep FRACTION="0.1 0.3 1".'
    grounds.append("The front goes by values; settings whose intervals overlap may change places.")
    order = ", the most realistic first" if len(rows) > 1 else ""
    short = f"{len(rows)} of {len(table)}{order}: {'; '.join(settings)}."
    return Answer(question, short, tuple(grounds))


def _listed(values: pd.Series, metric: str, names: Mapping[str, str], form: str) -> str:
    """One metric of each arm; values: by metric and arm."""
    known = [(values.get((metric, arm), math.nan), name) for arm, name in names.items()]
    texts = [("no value" if math.isnan(value) else format(value, form), name) for value, name in known]
    return ", ".join(f"{text} with {name}" for text, name in texts)


def _setting(row: object) -> str:
    boxes = f", grounded_fraction {row.grounded_fraction:g}" if row.grounding != "none" else ""
    return f"{GROUNDING[row.grounding]}, guidance_scale {row.guidance_scale:g}{boxes}"


QUESTIONS: dict[str, Callable[..., Answer]] = {
    "captioners": captioners,
    "templates": templates,
    "groundings": groundings,
    "guidance": guidance,
    "training": training,
    "own photos": certainty.own_photos,
    "equal arms": certainty.equal_arms,
    "comparisons": certainty.comparisons_made,
    "front": front,
}
