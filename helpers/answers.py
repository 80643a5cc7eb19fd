"""The five questions of a report, each answered by sentences that its run's numbers support."""

import re
from collections.abc import Mapping

from helpers import comparisons, scores, verdicts
from helpers.arms import grounding_arms, guidance_arms, template_arms
from helpers.comparisons import CLIP_SCORE, FOUND, GROUNDING, NAMED, realism
from helpers.intervals import TooFew
from helpers.protocols import digest
from helpers.runs import Run
from helpers.settings import Arm, data_folder

Answer = tuple[str, list[str]]
ORIGINAL_GAP = 0.58 / 113.45  # the original's best arm to its second and last, as a share of the distance
NO_PHOTOS = (
    "The demo models have only ever seen drawn worksites. They do not know real photos: the captions, "
    "pictures and scores below show that everything runs, and nothing about how good GLIGEN is at them. "
    "For that, run the same command with MODELS=published on a machine with a GPU."
)


def all_of(run: Run, mark: float) -> list[Answer]:
    """The five answers. mark: the guidance_scale that question 4 asks about."""
    return [captioners(run), templates(run), grounding(run), guidance(run, mark), training(run)]


def opening(run: Run) -> dict[str, object]:
    """Title, lead, facts and warning of the page, for report.opening."""
    protocol, scenes = run.card["protocol"], run.scenes
    boxes = sum(len(scene.boxes) for scene in scenes)
    counts = {"photos": len(scenes), "boxes": boxes, "arms": len(run.arms())}
    settings = {
        "pictures": run.count_pictures(),
        "models": protocol["models"],
        "steps": protocol["steps"],
        "made": run.card["started"],
    }
    return {
        "title": "Pictures that follow boxes",
        "lead": f"The photos of {protocol['dataset']} were captioned, captions and boxes became pictures; "
        "every number about them says how sure it is.",
        "facts": counts | settings,
        "warning": "" if knows_photos(run) else NO_PHOTOS,
    }


def knows_photos(run: Run) -> bool:
    """Whether the models can know such photos: the published ones do, the demo ones know the drawn world."""
    protocol = run.card["protocol"]
    return protocol["models"] != "demo" or protocol["dataset_checksum"] == digest(data_folder() / "demo")


def captioners(run: Run) -> Answer:
    names = comparisons.captioner_arms(run)
    choice = run.read_json("choices/captioner.json")
    told = f"The captions of {choice['captioner']} became prompts ({choice['why']})."
    return "Which captioner describes these photos better?", [
        say(run, CLIP_SCORE, names),
        say(run, NAMED, names),
        told,
    ]


def templates(run: Run) -> Answer:
    names = {name: f"“{Arm.parse(name).template}”" for name in template_arms(run)}
    choice = run.read_json("choices/template.json")
    told = f"“{choice['template']}” was taken for what follows ({choice['why']})."
    return "Which prompt template gives better pictures?", [say(run, realism(run), names), told]


def grounding(run: Run) -> Answer:
    names = comparisons.grounding_names(run)
    base = comparisons.main_arm(run)
    question = "What does grounding cost in realism and buy in following the boxes?"
    return question, [say(run, realism(run), names, base), say(run, FOUND, names, base)]


def guidance(run: Run, mark: float) -> Answer:
    told = []
    for kind in ("text", "image"):
        names = {arm.name: f"guidance_scale {arm.guidance_scale:g}" for arm in guidance_arms(run, kind)}
        marked = next((name for name, scale in names.items() if scale == f"guidance_scale {mark:g}"), "")
        told += [f"With {GROUNDING[kind]}:", *_against(run, names, marked, mark)]
    return f"What does guidance_scale trade, and is {mark:g} right?", [" ".join(told)]


def training(run: Run) -> Answer:
    table = comparisons.training(run).set_index("arm")
    titles = comparisons.titles(run)
    counts = {GROUNDING[Arm.parse(arm).grounding]: table.loc[titles[arm]] for arm in grounding_arms(run)}
    told = [f"{name}: {row.qualify} of {row.pictures}, {row.share}" for name, row in counts.items()]
    photos = table.iloc[0]
    return "Which of the pictures are good enough to train a detector with?", [
        f"Those with every box found and its inside named rightly. {'; '.join(told)}.",
        f"Of the photos the same judges pass {photos.qualify} of {photos.pictures}, {photos.share}.",
    ]


def equal_arms(run: Run) -> Answer:
    """What the original's gap is worth: how often two arms that do not differ lie as far apart."""
    first, second = template_arms(run)[:2]
    values = run.scores().set_index(["metric", "arm"]).value
    gap = float(values[realism(run), first]) * ORIGINAL_GAP
    chance = verdicts.equal_arms(run, first, second, gap)
    return "How far apart do two arms lie that do not differ?", [
        f"Typically {chance['median']:.3g} in {chance['metric']} (median of {chance['draws']} draws, N = "
        f"{chance['n']}). The original study chose by gaps of 0.58 at 113.45 and less, which is 0.5 %: here "
        f"{gap:.2g}, and two equal arms lie at least as far apart in {chance['share']:.0%} of the draws."
    ]


def say(run: Run, metric: str, names: Mapping[str, str], baseline: str | None = None) -> str:
    """The verdict on arms in one metric, with arms under their names, or why there is none."""
    try:
        return rename(verdicts.verdict(run, metric, list(names), baseline), names)
    except TooFew as error:
        return f"No verdict on {metric}: {error}."


def rename(sentence: str, names: Mapping[str, str]) -> str:
    """The sentence with arms under the names that people read, its first letter a capital."""
    longest = sorted(names, key=len, reverse=True)
    pattern = "|".join(rf"{re.escape(name)}(?!\d|\.\d)" for name in longest)
    sentence = re.sub(pattern, lambda found: names[found[0]], sentence)
    return sentence[:1].upper() + sentence[1:]


def _against(run: Run, names: Mapping[str, str], marked: str, mark: float) -> list[str]:
    """For realism and box following: is the marked guidance_scale worse than the best; and what follows."""
    if not marked or len(names) < 2:
        return [f'{mark:g} was not compared; make sweep GUIDANCE="7.5 {mark:g}" does.']
    told, worse = [], []
    for metric in (realism(run), FOUND):
        try:
            table = verdicts.compare(run, metric, list(names)).set_index("arm", drop=False)
        except TooFew as error:
            return [f"no verdict: {error}."]
        if marked not in table.index:
            told.append(f"{names[marked]} has the best {metric} of those tried.")
            continue
        row, rule = table.loc[marked].to_dict(), scores.metrics_of(run)[metric]
        told.append(rename(verdicts.sentence(row, rule.lower_is_better, rule.digits), names))
        worse += [metric] * bool(row["different"])
    return [
        *told,
        f"So {mark:g} is {'worse in ' + ' and in '.join(worse) if worse else 'not shown to be wrong'}.",
    ]
