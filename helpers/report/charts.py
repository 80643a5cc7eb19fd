"""Curves and intervals as SVG that takes the page's ink, light or dark."""

import io
import re
from collections.abc import Mapping
from html import escape

import matplotlib
import numpy as np
import pandas as pd
from IPython.display import HTML
from matplotlib.axes import Axes
from matplotlib.figure import Figure

matplotlib.use("agg")
INK = "#010203"  # a colour that nothing else has: replaced by the page's own
COLOURS = {"none": "#8a8f99", "text": "#2f7fd1", "image": "#d1661f", "photos": "#3d9a50", "other": "#8d5bc1"}
STYLE = {
    "svg.fonttype": "none",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.alpha": 0.18,
    **dict.fromkeys(
        ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color", "grid.color"), INK
    ),
}


def curves(scores: pd.DataFrame, metrics: Mapping[str, str], x: str, mark: float | None = None) -> Figure:
    """One panel a metric: value and interval over column x, a line for each value of column `grounding`.

    scores: long table with x, grounding, metric, value, low, high. metrics: metric -> what is good, such as
    "lower is better". mark: a place on x that is pointed out.
    """
    with matplotlib.rc_context(STYLE):
        page = Figure(figsize=(5.4 * len(metrics), 3.6), layout="constrained")
        panels = np.ravel(page.subplots(1, len(metrics)))
        for axes, (metric, good) in zip(panels, metrics.items(), strict=True):
            for grounding, rows in scores[scores.metric == metric].groupby("grounding", sort=False):
                rows, colour = rows.sort_values(x), COLOURS[grounding]
                axes.fill_between(rows[x], rows.low, rows.high, color=colour, alpha=0.15, linewidth=0)
                axes.plot(rows[x], rows.value, color=colour, marker="o", markersize=4, label=grounding)
            if mark is not None:
                _point_out(axes, mark)
            axes.set(title=metric, xlabel=x, ylabel=good)
        page.axes[0].legend(frameon=False, title="grounding")
    return page


def intervals(scores: pd.DataFrame, metrics: Mapping[str, str], names: Mapping[str, str]) -> Figure:
    """One panel a metric: an arm a line, its value as a dot in its interval. names: arm -> shown name."""
    scored = set(scores[scores.metric.isin(metrics)].arm)
    names = {arm: name for arm, name in names.items() if arm in scored}
    with matplotlib.rc_context(STYLE):
        page = Figure(figsize=(5.4 * len(metrics), 0.8 + 0.36 * len(names)), layout="constrained")
        panels = np.ravel(page.subplots(1, len(metrics), sharey=True))
        for axes, (metric, good) in zip(panels, metrics.items(), strict=True):
            rows = scores[scores.metric == metric].set_index("arm")
            for place, arm in enumerate(names):
                if arm in rows.index:
                    row, colour = rows.loc[arm], _colour(arm)
                    axes.plot([row.low, row.high], [place, place], color=colour, linewidth=2.5, alpha=0.45)
                    axes.plot(row.value, place, "o", color=colour, markersize=6)
            axes.set(title=metric, xlabel=good, ylim=(len(names) - 0.5, -0.5))
            axes.set_yticks(range(len(names)), names.values())
    return page


def trade_off(table: pd.DataFrame, x: str, y: str) -> Figure:
    """Found boxes over distance, a point a setting: `fronts.trade_off`. Hollow: boxes in a part of the steps.

    A line joins what differs by grounded_fraction alone; settings on the front have a ring and their numbers.
    """
    with matplotlib.rc_context(STYLE):
        page = Figure(figsize=(7.4, 4.6), layout="constrained")
        axes = page.subplots()
        for (grounding, _), rows in table.groupby(["grounding", "guidance_scale"], sort=False):
            rows = rows.sort_values("grounded_fraction")
            axes.plot(rows.distance, rows.found, color=COLOURS[grounding], linewidth=1, alpha=0.5)
        for grounding, rows in table.groupby("grounding", sort=False):
            colour = COLOURS[grounding]
            axes.hlines(rows.found, rows.distance_low, rows.distance_high, color=colour, alpha=0.25)
            axes.vlines(rows.distance, rows.found_low, rows.found_high, color=colour, alpha=0.25)
            full = rows.grounded_fraction == 1
            axes.plot(rows.distance[full], rows.found[full], "o", color=colour, label=grounding)
            part = {"markerfacecolor": "none", "markeredgecolor": colour}
            axes.plot(rows.distance[~full], rows.found[~full], "o", **part)
        front = table[table.front].sort_values("distance")
        ring = {"markersize": 12, "markerfacecolor": "none", "markeredgecolor": INK}
        axes.plot(front.distance, front.found, "--o", color=INK, linewidth=0.9, label="best front", **ring)
        for row in front.itertuples():
            part = "" if row.grounded_fraction == 1 else f", f {row.grounded_fraction:g}"
            text, at = f"g {row.guidance_scale:g}{part}", (row.distance, row.found)
            axes.annotate(text, at, (9, 5), textcoords="offset points", fontsize=9)
        axes.set(xlabel=f"{x}, lower is better", ylabel=f"{y}, higher is better")
        axes.legend(frameon=False, loc="best")
    return page


def accuracy(table: pd.DataFrame) -> Figure:
    """The share of boxes found over the IoU that counts as found, a line an arm: `following.accuracy`."""
    with matplotlib.rc_context(STYLE):
        page = Figure(figsize=(5.8, 3.6), layout="constrained")
        axes = page.subplots()
        for (arm, name), rows in table.groupby(["arm", "name"], sort=False):
            axes.plot(rows.threshold, rows.share, color=_colour(arm), label=name)
        axes.set(xlabel="IoU from which a box counts as found", ylabel="share of boxes", ylim=(0, 1.02))
        axes.legend(frameon=False)
    return page


def as_svg(page: Figure, alt: str) -> HTML:
    """A chart as inline SVG whose text is text; alt says in words what it shows."""
    salt = re.sub(r"\W+", "-", alt)
    file = io.StringIO()
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": salt}):  # else two charts of a page share names
        page.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    svg = file.getvalue()
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    svg = re.sub(r' xmlns(:\w+)?="[^"]*"', "", svg).replace(INK, "currentColor")
    label = escape(alt, quote=True)
    svg = svg.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)
    return HTML(f'<div class="chart" tabindex="0" role="group" aria-label="{label}">{svg}</div>')


def _point_out(axes: Axes, x: float) -> None:
    axes.axvline(x, color=INK, linestyle=":", linewidth=1.2)
    axes.annotate(f"{x:g}", (x, 1), xycoords=("data", "axes fraction"), ha="center", va="bottom")


def _colour(arm: str) -> str:
    found = re.search(r"-(none|text|image)-g", arm)
    return COLOURS[found[1] if found else "photos" if arm == "photos" else "other"]
