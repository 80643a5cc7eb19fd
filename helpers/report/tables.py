"""Tables, answers and the protocol as HTML."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import pandas as pd
from IPython.display import HTML
from jinja2 import Environment, FileSystemLoader
from pandas.io.formats.style import Styler

from helpers.report.comparisons import Comparison
from helpers.scoring.measurements import EDITED
from helpers.scoring.metrics import NOT_JUDGED

if TYPE_CHECKING:
    from jinja2.environment import TemplateModule

FOLDER = Path(__file__).with_name("template")
CSV = ("arm", "metric", "value", "low", "high", "n")
LEFT = ("caption", "td.text", "th.row_heading", "th.index_name")  # in notebooks, which align all to the right


@dataclass(frozen=True)
class Answer:
    """A question, its answer in one sentence, the comparisons that it rests on, and the heading of the
    report's section that shows them ("" for none)."""

    question: str
    short: str
    grounds: tuple[str, ...] = ()
    section: str = ""


def piece(name: str, *values: object) -> HTML:
    """One macro of template/pieces.html.j2, filled; texts are escaped, Markup is not."""
    return HTML(str(getattr(_pieces(), name)(*values)))


def opening(title: str, lead: str, facts: Mapping[str, object], warning: str = "") -> HTML:
    """The head of the page: title, one sentence, a row of facts, and what the reader must be warned of."""
    return piece("opening", title, lead, facts, warning)


def answers(rows: Sequence[Answer]) -> HTML:
    """Questions, each with its answer in a sentence, the comparisons that it rests on, and a link to them."""
    return piece("answers", rows)


def card(entries: Mapping[str, object], name: str = "this run") -> HTML:
    """The protocol card: names and values, and what is itself a mapping as a card of its own."""
    return piece("card", name, entries)


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


def table(frame: pd.DataFrame, caption: str, decimals: int = 2) -> HTML:
    """A data frame without its index, numbers to the right, everything escaped."""
    frame = frame.reset_index(drop=True)
    styler = frame.style.format(precision=decimals, na_rep="–", escape="html").hide(axis="index")
    classes = frame.map(lambda value: "text" if isinstance(value, str) else "")
    return HTML(_html(styler.format_index(escape="html", axis=1), caption, classes, frame))


@cache
def _pieces() -> "TemplateModule":
    environment = Environment(loader=FileSystemLoader(FOLDER), autoescape=True)
    return environment.get_template("pieces.html.j2").module


def _score_table(scores: pd.DataFrame, comparison: Comparison) -> str:
    rows = {**comparison.names, **comparison.controls}
    heads = [
        f"{escape(metric)}<br><small>{escape(good)}</small>" for metric, good in comparison.metrics.items()
    ]
    scores = scores[scores.metric.isin(comparison.metrics)]
    counts = scores.dropna(subset="n").groupby("arm").n.unique()
    columns = {"N": ["/".join(f"{n:g}" for n in counts.get(arm, [])) for arm in rows]}
    for head, metric in zip(heads, comparison.metrics, strict=True):
        column = scores[scores.metric == metric].set_index("arm")
        digits = decimals(column[column.index.isin(comparison.names)])
        columns[head] = [_cell(column.loc[arm], digits) if arm in column.index else "–" for arm in rows]
    for place, head in enumerate(("UNet rows", "seconds") if comparison.costs else ()):
        costs = {arm: f"{both[place]:.3g}" for arm, both in comparison.costs.items()}
        columns[f"{head}<br><small>per picture</small>"] = [costs.get(arm, "–") for arm in rows]
    kinds = [
        "chosen" if arm == comparison.chosen else "" if arm in comparison.names else "control" for arm in rows
    ]
    index = pd.Index([escape(name) for name in rows.values()])
    frame = pd.DataFrame(columns).set_index(index).rename_axis(columns="arm")  # stands over the rows' names
    classes = pd.DataFrame([[kind] * len(columns) for kind in kinds], index, frame.columns)
    long = scores[scores.arm.isin(rows)].reindex(columns=CSV)
    long["arm"] = long.arm.map(rows)
    return _html(frame.style, comparison.caption, classes, long)


def _cell(score: pd.Series, decimals: int | None) -> str:
    """One score as HTML: the value, and below it the interval at 95 % where there is one."""
    if pd.isna(score["value"]):
        reason = str(score.get("reason")).partition(":")[0]  # why, in a word or two
        return reason if reason in (NOT_JUDGED, EDITED.partition(":")[0]) else "–"
    value, low, high = (_number(score[key], decimals) for key in ("value", "low", "high"))
    whole = pd.isna(score["low"]) or score["low"] == score["high"]
    return value if whole else f"{value}<br><small>{low} to {high}</small>"


def _number(value: float, decimals: int | None) -> str:
    if decimals is None:  # a count, or a value without an error
        return f"{value:,.0f}" if float(value).is_integer() else f"{value:.3g}"
    return f"{value:,.{decimals}f}"


def _html(frame: Styler, caption: str, classes: pd.DataFrame, numbers: pd.DataFrame) -> str:
    """numbers: what the link below the table gives as CSV."""
    texts = [f"th.col{place}" for place, text in enumerate((classes == "text").all()) if text]
    left = [{"selector": selector, "props": "text-align: left"} for selector in (*LEFT, *texts)]
    styler = frame.set_caption(escape(caption)).set_td_classes(classes).set_table_styles(left)
    styler.cell_ids = False  # two tables of one page would use the same ids
    label = escape(caption, quote=True)
    address = "data:text/csv;charset=utf-8," + quote(numbers.to_csv(index=False))
    link = piece("download", address, re.sub(r"\W+", "_", caption)[:40].strip("_") + ".csv").data
    return (
        f'<div class="scroll" tabindex="0" role="group" aria-label="{label}">{styler.to_html()}</div>{link}'
    )
