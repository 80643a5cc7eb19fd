"""What a run's numbers claim of arms, in sentences with the arms' display names."""

import re
from collections.abc import Iterator, Mapping

from helpers.report import comparisons
from helpers.report.comparisons import CLIP_SCORE, FOUND, GROUNDING, NAMED, realism
from helpers.runs.run import Run
from helpers.scoring import scores, sentences, verdicts
from helpers.scoring.intervals import LEVEL, TooFew
from helpers.scoring.significance import holm_over


def differences(run: Run, metric: str, names: Mapping[str, str], base: str | None = None) -> list[str]:
    """Which arms differ in one metric, one sentence per comparison; none where the metric is not judged."""
    try:
        rows = verdicts.compare(run, metric, list(names), base).to_dict("records")
    except verdicts.NotJudged:
        return []
    except TooFew as error:
        return [f"No verdict on {metric}: {error}."]
    return [_worded(run, row, names) for row in rows]


def best(run: Run, metric: str, names: Mapping[str, str]) -> str:
    """Which arm is best in a metric and which arms these photos cannot tell from it, in one sentence."""
    try:
        table = verdicts.compare(run, metric, list(names))
    except verdicts.NotJudged as error:
        return f"{metric} is {error}."
    except TooFew:
        return "There are too few photos to say."
    first, alike = names[table.other[0]], [names[arm] for arm in table.arm[~table.different]]
    if not alike:
        return f"{capital(first)}, by {metric}."
    if len(alike) == len(table):
        return f"These {table.n.min()} photos cannot tell, by {metric}."
    return f"{capital(first)}, by {metric}; from {' and '.join(alike)} these photos cannot tell it."


def rename(sentence: str, names: Mapping[str, str]) -> str:
    """The sentence with arms under their display names, its first letter a capital."""
    longest = sorted(names, key=len, reverse=True)
    pattern = "|".join(rf"{re.escape(name)}(?!\d|\.\d)" for name in longest)
    return capital(re.sub(pattern, lambda found: names[found[0]], sentence))


def not_worse(run: Run, metric: str, names: Mapping[str, str]) -> list[str]:
    """Whether text + image grounding is not worse than text alone; nothing where there is no verdict."""
    _, text, image = names
    try:
        row = verdicts.not_worse(run, metric, image, text)
    except ValueError:  # not judged, too few photos, or a control that is as good: no margin
        return []
    return [rename(sentences.not_worse(row, scores.metrics_of(run)[metric].digits), names)]


def against_best(run: Run, names: Mapping[str, str], marked: str) -> tuple[list[str], list[str]]:
    """Sentences on the marked arm against the best one, and the metrics in which it is worse."""
    lines, worse = [], []
    for metric in (realism(run), FOUND):
        try:
            table = verdicts.compare(run, metric, list(names)).set_index("arm", drop=False)
        except verdicts.NotJudged:
            continue
        except TooFew as error:
            return [f"no verdict: {error}."], []
        if marked not in table.index:
            lines.append(f"{names[marked]} has the best {metric} of those tried.")
            continue
        row = table.loc[marked].to_dict()
        lines.append(_worded(run, row, names))
        worse += [metric] * bool(row["different"])
    return lines, worse


def asked(run: Run) -> Iterator[tuple[str, Mapping[str, str], str | None]]:
    """Every table of the report that names a better arm: metric, arms with their names, and the arm that all
    are compared with (None: the best)."""
    captions, distance = comparisons.captioners(run).names, realism(run)
    yield from ((metric, captions, None) for metric in (CLIP_SCORE, NAMED))
    yield distance, comparisons.templates(run, comparisons.template_arms(run)).names, None
    main = comparisons.main_arm(run)
    yield from ((metric, comparisons.groundings(run).names, main) for metric in (FOUND, distance))
    for kind in ("text", "image"):
        arms = [arm.name for arm in comparisons.guidance_arms(run, kind)]
        names = {arm: f"{GROUNDING[kind]}, {arm}" for arm in arms}
        yield from ((metric, names, None) for metric in (distance, FOUND) if len(arms) > 1)


def as_one(run: Run) -> tuple[int, int, list[tuple[str, bool]]]:
    """Number of comparisons and of tables in the report, and its claims: each with whether it holds when all
    comparisons are corrected as one."""
    tables, claims = [], []
    for metric, names, base in asked(run):
        try:
            tables.append((names, verdicts.compare(run, metric, list(names), base)))
        except ValueError:  # not judged, or too few photos: it claims nothing
            continue
    corrected = holm_over([table.attrs["p"] for _, table in tables])
    for (names, table), p in zip(tables, corrected, strict=True):
        rows = zip(table.to_dict("records"), p, strict=False)
        told = [(_worded(run, row, names), bool(over < 1 - LEVEL)) for row, over in rows if row["different"]]
        claims += [(claim.split(":")[0], holds) for claim, holds in told]
    return sum(map(len, corrected)), len(tables), claims


def _worded(run: Run, row: dict, names: Mapping[str, str]) -> str:
    rule = scores.metrics_of(run)[row["metric"]]
    return rename(sentences.difference(row, rule.lower_is_better, rule.digits), names)


def capital(text: str) -> str:
    """The text with a capital first letter."""
    return text[:1].upper() + text[1:]
