"""What a run's numbers claim of arms, in sentences with the arms' display names."""

import re
from collections.abc import Mapping

from helpers.report.comparisons import FOUND, HIGHER, LOWER, realism
from helpers.runs.run import Run
from helpers.scoring import scores, sentences, verdicts
from helpers.scoring.intervals import TooFew


def differences(run: Run, metric: str, names: Mapping[str, str], base: str | None = None) -> list[str]:
    """Which arms differ in one metric, one sentence per comparison; none where the metric is not judged."""
    try:
        rows = verdicts.compare(run, metric, list(names), base).to_dict("records")
    except verdicts.NotJudged:
        return []
    except TooFew as error:
        return [_of(run, f"No verdict on {metric}: {error}.")]
    return [worded(run, row, names) for row in rows]


def best(run: Run, metric: str, names: Mapping[str, str]) -> tuple[str, tuple[str, str, tuple]]:
    """Which arm is best in a metric and which arms these photos cannot tell from it, in one sentence.

    With it verdict, measure and numbers of an `Answer`: the best arm, or in a word or two why there is none,
    and the values of it and of the one nearest to it.
    """
    try:
        table = verdicts.compare(run, metric, list(names))
    except verdicts.NotJudged as error:
        return f"{metric} is {error}.", ("Not judged", "", ())
    except TooFew:
        return _of(run, "There are too few photos to say."), (_of(run, "Too few photos"), "", ())
    first, alike = capital(names[table.other[0]]), [names[arm] for arm in table.arm[~table.different]]
    nearest = table.arm[table.difference.abs().idxmin()]
    numbers = measured(run, metric, {arm: names[arm] for arm in (table.other[0], nearest)})
    if len(alike) == len(table):
        unsure = _of(run, f"These {table.n.min()} photos cannot tell, by {metric}.")
        return unsure, ("Cannot tell", *numbers)
    known = f"{first} is best, by {metric}"
    known += _of(run, f"; from {' and '.join(alike)} these photos cannot tell it") if alike else ""
    return f"{known}.", (first, *numbers)


def measured(run: Run, metric: str, names: Mapping[str, str]) -> tuple[str, tuple]:
    """Measure and numbers of an `Answer`: a metric, and its values by display name."""
    rule, values = scores.metrics_of(run)[metric], run.scores(names).set_index(["metric", "arm"]).value
    numbers = tuple((name, f"{values[metric, arm]:.{rule.digits}f}") for arm, name in names.items())
    return f"{metric}, {LOWER if rule.lower_is_better else HIGHER}", numbers


def gain(run: Run, metric: str, names: Mapping[str, str], arm: str, other: str) -> int | None:
    """1 where the arm is better in the metric than the other one, -1 where it is worse, 0 where these photos
    cannot tell; None where nothing judges it."""
    try:
        row = verdicts.compare(run, metric, list(names), arm).set_index("arm").loc[other]
    except ValueError:
        return None
    higher_is_worse = scores.metrics_of(run)[metric].lower_is_better
    return (1 if (row.difference > 0) == higher_is_worse else -1) if row.different else 0


def rename(sentence: str, names: Mapping[str, str]) -> str:
    """The sentence with arms under their display names, its first letter a capital."""
    longest = sorted(names, key=len, reverse=True)
    pattern = "|".join(rf"{re.escape(name)}(?!\d|\.\d)" for name in longest)
    return capital(re.sub(pattern, lambda found: names[found[0]], sentence))


def not_worse(run: Run, metric: str, names: Mapping[str, str]) -> list[str]:
    """Whether text + image grounding is not worse than text alone; nothing where there is no verdict."""
    if len(names) < 3:  # without photos there is no image grounding
        return []
    _, text, image = names
    try:
        row = verdicts.not_worse(run, metric, image, text)
    except ValueError:  # not judged, too few photos, or a control that is as good: no margin
        return []
    part = "a tenth of the gap between text grounding and no grounding"
    return [rename(sentences.not_worse(row, scores.metrics_of(run)[metric].digits, part), names)]


def against_best(run: Run, names: Mapping[str, str], marked: str) -> tuple[list[str], dict[str, str]]:
    """Sentences on the marked arm against the best one, and per metric in which it is worse, the best one."""
    lines, worse = [], {}
    for metric in (realism(run), FOUND):
        try:
            rows = verdicts.compare(run, metric, list(names)).to_dict("records")
        except verdicts.NotJudged:
            continue
        except TooFew as error:
            return [_of(run, f"no verdict: {error}.")], {}
        own = [row for row in rows if row["arm"] == marked]
        lines += [worded(run, row, names) for row in own]
        lines += [] if own else [f"{names[marked]} has the best {metric} of those tried."]
        worse.update((metric, row["other"]) for row in own if row["different"])
    return lines, worse


def worded(run: Run, row: dict, names: Mapping[str, str]) -> str:
    """A row of `verdicts.compare` in a sentence, arms under their names."""
    rule = scores.metrics_of(run)[row["metric"]]
    return _of(run, rename(sentences.difference(row, rule.lower_is_better, rule.digits), names))


def _of(run: Run, sentence: str) -> str:
    """The sentence as it is said of a run with photos, or of one with prompts alone."""
    return sentence if run.has_photos else sentence.replace("photos", "prompts")


def capital(text: str) -> str:
    """The text with a capital first letter."""
    return text[:1].upper() + text[1:]
