"""The five questions of a report, each answered by what its run's numbers support."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from helpers.report import comparisons, following
from helpers.report.arms import guidance_arms, template_arms, whole
from helpers.report.comparisons import CLIP_SCORE, FOUND, GROUNDING, NAMED, realism
from helpers.runs.arms import Arm
from helpers.runs.run import Run
from helpers.scoring import scores, verdicts
from helpers.scoring.intervals import TooFew

ORIGINAL_GAP = 0.58 / 113.45  # between the original's first two arms, as a share of the distance
NO_PHOTOS = (
    "The demo models have only ever seen drawn worksites. They do not know real photos: the captions, "
    "pictures and scores below show that everything runs, and nothing about how good GLIGEN is at them. "
    "For that, run the same command with MODELS=published on a machine with a GPU."
)


@dataclass(frozen=True)
class Answer:
    """A question, its answer in one sentence, and the comparisons that it rests on."""

    question: str
    short: str
    grounds: tuple[str, ...] = ()


def all_of(run: Run, mark: float) -> list[Answer]:
    """The five answers. mark: the guidance_scale that question 4 asks about."""
    return [captioners(run), templates(run), grounding(run), guidance(run, mark), training(run)]


def opening(run: Run) -> dict[str, object]:
    """Title, lead, facts and warning of the page, for report.opening."""
    protocol, scenes = run.card["protocol"], run.scenes
    boxes = sum(len(scene.boxes) for scene in scenes)
    arms = len(set(whole(run)) - {scores.ROUND_TRIP})
    counts = {"photos": len(scenes), "boxes": boxes, "arms": arms, "models": protocol["models"]}
    return {
        "title": "Pictures that follow boxes",
        "lead": f"The photos of {protocol['dataset']} were captioned, captions and boxes became pictures, "
        "and every number about them says how sure it is.",
        "facts": counts | {"steps": protocol["steps"], "made": run.card["started"]},
        "warning": "" if knows_photos(run) else NO_PHOTOS,
    }


def knows_photos(run: Run) -> bool:
    """Whether the models can know such photos: the published ones do, the demo ones know the drawn world,
    whose annotations say of each photo that it is drawn."""
    return run.card["protocol"]["models"] != "demo" or all(scene.extra.get("drawn") for scene in run.scenes)


def captioners(run: Run) -> Answer:
    """Question 1, by CLIP score and by the labels named."""
    names, choice = comparisons.captioner_arms(run), run.read_json("choices/captioner.json")
    grounds = [sentence for metric in (CLIP_SCORE, NAMED) for sentence in sentences(run, metric, names)]
    short = f"{best(run, CLIP_SCORE, names)} The captions of {choice['captioner']} became prompts."
    return Answer("Which captioner describes these photos better?", short, tuple(grounds))


def templates(run: Run) -> Answer:
    """Question 2, by the distance of text-grounded pictures to the photos."""
    names = {name: f"“{Arm.parse(name).template}”" for name in template_arms(run)}
    choice = run.read_json("choices/template.json")
    told, taken = best(run, realism(run), names), f"“{choice['template']}”"
    short = f"{told} {'It' if told.startswith(taken) else taken} was taken for what follows."
    question = "Which prompt template gives better pictures?"
    return Answer(question, short, tuple(sentences(run, realism(run), names)))


def grounding(run: Run) -> Answer:
    """Question 3: boxes found and distance of none, text, and text and image, held against the chosen arm."""
    names, main = comparisons.grounding_names(run), comparisons.main_arm(run)
    table = run.scores().set_index(["metric", "arm"]).value
    found = [f"{table[FOUND, arm]:.0%} with {name}" for arm, name in names.items()]
    apart = [f"{table[realism(run), arm]:.3g} with {name}" for arm, name in names.items()]
    short = f"Boxes found: {', '.join(found)}. {realism(run)}: {', '.join(apart)}."
    grounds = [one for metric in (FOUND, realism(run)) for one in sentences(run, metric, names, main)]
    question = "What does grounding cost in realism, and what does it buy in following the boxes?"
    return Answer(question, short, tuple(grounds))


def guidance(run: Run, mark: float) -> Answer:
    """Question 4: the guidance_scale `mark` against the best one, in distance and in boxes found."""
    short, grounds = [], []
    for kind in ("text", "image"):
        names = {arm.name: f"guidance_scale {arm.guidance_scale:g}" for arm in guidance_arms(run, kind)}
        marked = [name for name, scale in names.items() if scale == f"guidance_scale {mark:g}"]
        if not marked or len(names) < 2:
            short.append(f"With {GROUNDING[kind]}, {mark:g} was not compared.")
            continue
        told, worse = _against(run, names, marked[0])
        found = f"worse in {' and in '.join(worse)} than the best" if worse else "not shown to be wrong"
        short.append(f"With {GROUNDING[kind]}, {mark:g} is {found}.")
        grounds += [f"{GROUNDING[kind].capitalize()}: {one[:1].lower()}{one[1:]}" for one in told]
    return Answer(f"What does guidance_scale trade, and is {mark:g} right?", " ".join(short), tuple(grounds))


def training(run: Run) -> Answer:
    """Question 5: in how many pictures the judges find every box and name its inside rightly."""
    table, titles = following.training(run).set_index("arm"), comparisons.titles(run)
    names = comparisons.grounding_names(run)
    told = [
        f"{name}, {row.qualify} of {row.pictures}"
        for arm, name in names.items()
        for row in [table.loc[titles[arm]]]
    ]
    photos = table.iloc[0]
    return Answer(
        "Which of the pictures are good enough to train a detector with?",
        f"Those in which every box is found and its inside named rightly: {'; '.join(told)}.",
        (
            f"The same judges pass {photos.qualify} of {photos.pictures} photos ({photos.share}). "
            "Shares with intervals, and how to read them, stand further below.",
        ),
    )


def equal_arms(run: Run) -> Answer:
    """What the original's gap is worth: how often two arms that do not differ lie as far apart."""
    first, second = template_arms(run)[:2]
    values = run.scores().set_index(["metric", "arm"]).value
    gap = float(values[realism(run), first]) * ORIGINAL_GAP
    chance = verdicts.equal_arms(run, first, second, gap)
    return Answer(
        "How far apart do two arms lie that do not differ?",
        f"Typically {chance['median']:.2g} in {chance['metric']}: two arms whose pictures are swapped at "
        f"random, {chance['draws']} times, N = {chance['n']}.",
        (
            "The original study took the better of 114.03 and 113.45, a gap of 0.58 or 0.5 %. Here that is "
            f"{gap:.2g}, and two equal arms lie at least as far apart in {chance['share']:.0%} of the draws.",
        ),
    )


def sentences(run: Run, metric: str, names: Mapping[str, str], base: str | None = None) -> list[str]:
    """What the run says of arms in one metric, one sentence a comparison, with arms under their names."""
    rule = scores.metrics_of(run)[metric]
    try:
        rows = verdicts.compare(run, metric, list(names), base).to_dict("records")
    except TooFew as error:
        return [f"No verdict on {metric}: {error}."]
    return [rename(verdicts.sentence(row, rule.lower_is_better, rule.digits), names) for row in rows]


def best(run: Run, metric: str, names: Mapping[str, str]) -> str:
    """Which arm is best in a metric and which ones it cannot be told from, in one sentence."""
    try:
        table = verdicts.compare(run, metric, list(names))
    except TooFew:
        return "There are too few photos to say."
    first, alike = names[table.other[0]], [names[arm] for arm in table.arm[~table.different]]
    if not alike:
        return f"{_capital(first)}, by {metric}."
    if len(alike) == len(table):
        return f"These {table.n.min()} photos cannot tell, by {metric}."
    return f"{_capital(first)}, by {metric}; from {' and '.join(alike)} these photos cannot tell it."


def rename(sentence: str, names: Mapping[str, str]) -> str:
    """The sentence with arms under the names that people read, its first letter a capital."""
    longest = sorted(names, key=len, reverse=True)
    pattern = "|".join(rf"{re.escape(name)}(?!\d|\.\d)" for name in longest)
    return _capital(re.sub(pattern, lambda found: names[found[0]], sentence))


def _against(run: Run, names: Mapping[str, str], marked: str) -> tuple[list[str], list[str]]:
    """The marked guidance_scale against the best one, in realism and box following; where it is worse."""
    told, worse = [], []
    for metric in (realism(run), FOUND):
        try:
            table = verdicts.compare(run, metric, list(names)).set_index("arm", drop=False)
        except TooFew as error:
            return [f"no verdict: {error}."], []
        if marked not in table.index:
            told.append(f"{names[marked]} has the best {metric} of those tried.")
            continue
        row, rule = table.loc[marked].to_dict(), scores.metrics_of(run)[metric]
        told.append(rename(verdicts.sentence(row, rule.lower_is_better, rule.digits), names))
        worse += [metric] * bool(row["different"])
    return told, worse


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
