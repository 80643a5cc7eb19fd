"""Tables, answers and the protocol as HTML."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pandas as pd
from IPython.display import HTML
from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup

from helpers.report.comparisons import Comparison
from helpers.runs.arms import own_checkpoints_of
from helpers.runs.protocol import revision
from helpers.runs.run import Run
from helpers.scoring.measurements import EDITED
from helpers.scoring.metrics import NOT_JUDGED

FOLDER = Path(__file__).with_name("template")
PIECES = Environment(loader=FileSystemLoader(FOLDER), autoescape=True)
CSV = ("arm", "metric", "value", "low", "high", "n")
WITH_SMALL = Markup("{}<br><small>{}</small>")


@dataclass(frozen=True)
class Answer:
    """A question, its answer in one sentence, the comparisons that it rests on, and the heading of the
    report's section that shows them ("" for none). verdict: the answer in a word or two; measure, numbers:
    what carries it, and the two values of it, each with its name."""

    question: str
    short: str
    grounds: tuple[str, ...] = ()
    section: str = ""
    verdict: str = ""
    measure: str = ""
    numbers: tuple[tuple[str, str], ...] = ()


def piece(name: str, *values: object) -> HTML:
    """One macro of template/pieces.html.j2, filled; texts are escaped, Markup is not."""
    return HTML(str(getattr(PIECES.get_template("pieces.html.j2").module, name)(*values)))


def protocol(run: Run) -> HTML:
    """The protocol card of a run, with the checkpoints that its arms' methods bring, and their licences."""
    known, terms = run.card["protocol"], run.licences(run.arms())
    own = own_checkpoints_of(run.arms(), known["models"]).values()
    checkpoints = known.get("checkpoints", {}) | {one.name: revision(one) for one in own}
    entries = run.card | {"protocol": known | {"checkpoints": checkpoints}}
    return piece("card", "this run", entries | ({"licences of pictures": terms} if terms else {}))


def decimals(scores: pd.DataFrame) -> int | None:
    """Decimals for all values of one metric: two digits of the median standard error, None without errors.

    scores: rows of `Run.scores` with one metric.
    """
    errors = scores.standard_error[scores.standard_error > 0]
    return None if errors.empty else min(4, max(0, 1 - math.floor(math.log10(errors.median()))))


def score_table(scores: pd.DataFrame, *comparisons: Comparison) -> HTML:
    """One table per comparison: arms as rows, N and metrics as columns, values with intervals at 95 %.

    scores: `Run.scores`. An arm without a score has a dash.
    """
    return HTML("".join(_score_table(scores, one) for one in comparisons))


def table(frame: pd.DataFrame, caption: str) -> HTML:
    """A data frame without its index, columns of numbers to the right, everything escaped."""
    texts = [frame[name].map(lambda value: isinstance(value, str)).all() for name in frame]
    rows = [("", [_shown(value) for value in row]) for row in frame.itertuples(index=False)]
    return HTML(_table(caption, [*frame.columns], rows, texts, frame))


def _score_table(scores: pd.DataFrame, comparison: Comparison) -> str:
    names = {**comparison.names, **comparison.controls}
    scores = scores[scores.metric.isin(comparison.metrics)]
    counts = scores.dropna(subset="n").groupby("arm").n.unique()
    columns = [list(names.values()), ["/".join(f"{n:g}" for n in counts.get(arm, [])) for arm in names]]
    for metric in comparison.metrics:
        column = scores[scores.metric == metric].set_index("arm")
        digits = decimals(column[column.index.isin(comparison.names)])
        columns.append([_cell(column.loc[arm], digits) if arm in column.index else "–" for arm in names])
    heads = ["arm", "N", *(WITH_SMALL.format(*metric) for metric in comparison.metrics.items())]
    for place, head in enumerate(("UNet rows", "seconds") if comparison.costs else ()):
        costs = {arm: f"{both[place]:.3g}" for arm, both in comparison.costs.items()}
        heads.append(WITH_SMALL.format(head, "per picture"))
        columns.append([costs.get(arm, "–") for arm in names])
    kinds = dict.fromkeys(names, "") | dict.fromkeys(comparison.controls, "control")
    kinds |= {comparison.chosen: "chosen"} if comparison.chosen in names else {}
    long = scores[scores.arm.isin(names)].reindex(columns=CSV)
    rows = zip(kinds.values(), zip(*columns, strict=True), strict=True)
    return _table(comparison.caption, heads, [*rows], [], long.assign(arm=long.arm.map(names)))


def _cell(score: pd.Series, decimals: int | None) -> str:
    """One score: the value, and below it the interval at 95 % where there is one."""
    if pd.isna(score["value"]):
        reason = str(score.get("reason")).partition(":")[0]  # why, in a word or two
        return reason if reason in (NOT_JUDGED, EDITED.partition(":")[0]) else "–"
    value, low, high = (_number(score[key], decimals) for key in ("value", "low", "high"))
    whole = pd.isna(score["low"]) or score["low"] == score["high"]
    return value if whole else WITH_SMALL.format(value, f"{low} to {high}")


def _number(value: float, decimals: int | None) -> str:
    if decimals is None:  # a count, or a value without an error
        return f"{value:,.0f}" if float(value).is_integer() else f"{value:.3g}"
    return f"{value:,.{decimals}f}"


def _shown(value: object) -> str:
    if pd.isna(value):
        return "–"
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def _table(
    caption: str, heads: Sequence[str], rows: Sequence, texts: Sequence[bool], numbers: pd.DataFrame
) -> str:
    """rows: the kind of each and its cells. texts: whether each column is text; empty where the first cell of
    a row is its name. numbers: what the link below the table gives as CSV."""
    address = "data:text/csv;charset=utf-8," + quote(numbers.to_csv(index=False))
    name = re.sub(r"\W+", "_", caption)[:40].strip("_") + ".csv"
    return piece("table", caption, heads, rows, texts, address, name).data
