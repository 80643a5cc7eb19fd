"""The report's pieces as HTML: what was asked, answers, tables with intervals, the protocol; and the page."""

import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from IPython.display import HTML
from pandas.io.formats.style import Styler

from helpers.files import beside

if TYPE_CHECKING:
    from helpers.report.answers import Answer

FOLDER = Path(__file__).with_name("template")
LEFT = ("caption", "td.text", "th.row_heading", "th.index_name")  # in notebooks, which align all to the right
TOGGLE = HTML(
    '<div class="toggle" role="group" aria-label="What lies over the pictures">'
    '<label><input type="checkbox" id="show-boxes" checked> boxes asked for</label>'
    '<label><input type="checkbox" id="show-labels"> their labels</label></div>'
)


def opening(title: str, lead: str, facts: Mapping[str, object], warning: str = "") -> HTML:
    """The head of the page: title, one sentence, a row of facts, and what the reader must be warned of."""
    items = "".join(f"<li>{escape(name)} <b>{escape(str(value))}</b></li>" for name, value in facts.items())
    banner = f'<div class="banner" role="note"><p>{escape(warning)}</p></div>' if warning else ""
    lead = f'<p class="lead">{escape(lead)}</p>'
    return HTML(f'<h1>{escape(title)}</h1>{lead}<ul class="facts">{items}</ul>{banner}')


def answers(rows: Sequence["Answer"]) -> HTML:
    """Questions, each with its answer in a sentence and, smaller, the comparisons that it rests on."""
    items = ""
    for row in rows:
        grounds = "".join(f"<li>{escape(one)}</li>" for one in row.grounds)
        short = f"<h3>{escape(row.question)}</h3><p>{escape(row.short)}</p>"
        items += f"<li>{short}{f'<ul>{grounds}</ul>' if grounds else ''}</li>"
    return HTML(f'<ol class="answers">{items}</ol>')


def number(value: float, standard_error: float) -> str:
    """A value with as many decimals as its error allows: two digits of the standard error."""
    if pd.isna(value):
        return "–"
    if pd.isna(standard_error) or standard_error <= 0:
        return f"{value:.3g}"
    decimals = min(4, max(0, 1 - math.floor(math.log10(standard_error))))
    return f"{value:,.{decimals}f}"


def cell(score: pd.Series) -> str:
    """One score as HTML: the value, and below it the interval at 95 %."""
    value, low, high = (number(score[key], score["standard_error"]) for key in ("value", "low", "high"))
    return (
        f"{value}<br><small>{low} to {high}</small>"
        if pd.notna(score["low"]) and score["low"] != score["high"]
        else value
    )


def score_table(
    scores: pd.DataFrame,
    names: Mapping[str, str],
    metrics: Mapping[str, str],
    caption: str,
    chosen: str = "",
    controls: Mapping[str, str] | None = None,
) -> HTML:
    """Arms as rows, metrics as columns, every number with its interval at 95 % and N.

    scores: long, as Run.scores. names, controls: arm -> what it is called; controls stand below, set apart.
    metrics: metric -> what is good, such as "lower is better". chosen: the arm to tint.
    """
    rows = {**names, **(controls or {})}
    scores = scores[scores.metric.isin(metrics)]
    heads = [f"{escape(metric)}<br><small>{escape(good)}</small>" for metric, good in metrics.items()]
    cells = {(row["arm"], row["metric"]): cell(row) for _, row in scores.iterrows()}
    counts = scores.dropna(subset="n").groupby("arm").n.unique()
    values = [
        [
            "/".join(f"{n:g}" for n in counts.get(arm, [])),
            *(cells.get((arm, metric), "–") for metric in metrics),
        ]
        for arm in rows
    ]
    kinds = ["chosen" if arm == chosen else "" if arm in names else "control" for arm in rows]
    index = pd.Index([escape(name) for name in rows.values()])
    columns = pd.Index(["N", *heads], name="arm")  # the name stands over the names of the rows
    classes = pd.DataFrame([[kind] * len(columns) for kind in kinds], index, columns)
    return _html(pd.DataFrame(values, index, columns).style, caption, classes)


def score_tables(
    scores: pd.DataFrame,
    names: Mapping[str, str],
    groups: Mapping[str, Mapping[str, str]],
    chosen: str = "",
    controls: Mapping[str, str] | None = None,
) -> HTML:
    """One `score_table` a group of metrics. groups: caption -> metric -> what is good."""
    tables = (score_table(scores, names, group, name, chosen, controls) for name, group in groups.items())
    return HTML("".join(one.data for one in tables))


def table(frame: pd.DataFrame, caption: str, decimals: int = 2) -> HTML:
    """A data frame as people read it: no index, numbers to the right, everything escaped."""
    frame = frame.reset_index(drop=True)
    styler = frame.style.format(precision=decimals, na_rep="–", escape="html").hide(axis="index")
    classes = frame.map(lambda value: "text" if isinstance(value, str) else "")
    return _html(styler.format_index(escape="html", axis=1), caption, classes)


def card(entries: Mapping[str, object], name: str = "this run") -> HTML:
    """The protocol card: names and values, and what is itself a mapping as a card of its own."""
    plain = {key: value for key, value in entries.items() if not isinstance(value, Mapping)}
    items = "".join(f"<dt>{escape(key)}</dt><dd>{escape(str(value))}</dd>" for key, value in plain.items())
    nested = [card(value, key).data for key, value in entries.items() if isinstance(value, Mapping)]
    return HTML(f'<div class="card"><h3>{escape(name)}</h3><dl>{items}</dl></div>{"".join(nested)}')


def render(notebook: Path, page: Path) -> None:
    """An executed notebook as one HTML file that needs no other: no code, nothing fetched, light and dark."""
    import nbformat  # here, because notebooks that show tables wait for no exporter
    from nbconvert import HTMLExporter
    from traitlets.config import Config

    remove = {
        "enabled": True,
        "remove_cell_tags": ["remove-cell"],
        "remove_input_tags": [],
        "remove_all_outputs_tags": [],
    }
    exporter = HTMLExporter(
        template_name="grounded",
        extra_template_basedirs=[str(FOLDER)],
        exclude_input=True,
        exclude_output_prompt=True,
        exclude_anchor_links=True,
        config=Config({"TagRemovePreprocessor": remove}),
    )
    book = nbformat.read(notebook, as_version=4)
    text, _ = exporter.from_notebook_node(book, {"metadata": {"name": page.stem}})
    with beside(page) as partial:
        partial.write_text(text, encoding="utf-8")


def _html(frame: Styler, caption: str, classes: pd.DataFrame) -> HTML:
    texts = [f"th.col{place}" for place, text in enumerate((classes == "text").all()) if text]
    left = [{"selector": selector, "props": "text-align: left"} for selector in (*LEFT, *texts)]
    styler = frame.set_caption(escape(caption)).set_td_classes(classes).set_table_styles(left)
    styler.cell_ids = False  # two tables of one page would use the same ids
    label = escape(caption, quote=True)
    return HTML(
        f'<div class="scroll" tabindex="0" role="group" aria-label="{label}">{styler.to_html()}</div>'
    )
