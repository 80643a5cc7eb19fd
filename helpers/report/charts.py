"""Charts of scores as SVG in the page's own ink, light or dark."""

import io
import re
from collections.abc import Mapping
from html import escape

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.transforms import ScaledTranslation

from helpers.report.comparisons import GROUNDING, Comparison
from helpers.report.page import Visual

matplotlib.use("agg")
INK = "#010203"  # a colour that nothing else has: replaced by the page's own
BLUE, SKY = "#0072b2", "#56b4e9"  # the same sign on light and on dark ground
# Okabe and Ito's palette, safe for the colour-blind; the marker is the second sign
STYLES = {
    "none": {"color": INK, "marker": "s"},
    "text": {"color": BLUE, "marker": "o"},
    "image": {"color": "#d55e00", "marker": "^"},
    "photos": {"color": "#009e73", "marker": "D"},
    "other": {"color": "#cc79a7", "marker": "X"},
}
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


def curves(scores: pd.DataFrame, metrics: Mapping[str, str], mark: float | None = None) -> Figure:
    """One panel per metric: over guidance_scale the values with their intervals, a marker per grounding.

    scores: `Run.scores`. metrics: metric -> which way is good. mark: a guidance_scale that is pointed out.
    The dotted lines only lead the eye.
    """
    with matplotlib.rc_context(STYLE):
        page = Figure(figsize=(5.4 * len(metrics), 3.9), layout="constrained")
        panels = np.ravel(page.subplots(1, len(metrics)))
        for axes, (metric, good) in zip(panels, metrics.items(), strict=True):
            groups = [*scores[scores.metric == metric].groupby("grounding", sort=False)]
            for place, (grounding, rows) in enumerate(groups):
                rows = rows.sort_values("guidance_scale")
                aside = ScaledTranslation((place - (len(groups) - 1) / 2) / 14, 0, page.dpi_scale_trans)
                points = axes.errorbar(
                    rows.guidance_scale,
                    rows.value,
                    reach(rows.value, rows.low, rows.high),
                    **STYLES[grounding],
                    **{"linestyle": ":", "linewidth": 0.8, "elinewidth": 1.6, "markersize": 5},
                    label=GROUNDING[grounding],
                )
                for part in points.get_children():  # beside each other where they have one guidance_scale
                    part.set_transform(axes.transData + aside)
            if mark is not None:
                axes.axvline(mark, color=INK, linestyle=(0, (1, 3)), linewidth=1.2)
                at = {"xycoords": ("data", "axes fraction"), "ha": "center", "va": "bottom"}
                axes.annotate(f"{mark:g}", (mark, 1), **at)
            axes.set(xlabel="guidance_scale", ylabel=good)
            axes.set_title(metric, pad=16)
        page.legend(
            *panels[0].get_legend_handles_labels(), frameon=False, loc="outside lower center", ncols=3
        )
    return page


def intervals(scores: pd.DataFrame, comparison: Comparison) -> Figure:
    """One panel per metric of the pair: per arm the value in its interval, controls below a line."""
    metrics, every = comparison.pair, {**comparison.names, **comparison.controls}
    shown = scores[scores.metric.isin(metrics)].dropna(subset="value").set_index(["metric", "arm"])
    rows = [arm for arm in every if arm in shown.index.get_level_values("arm")]
    own = sum(arm in comparison.names for arm in rows)
    with matplotlib.rc_context(STYLE):
        page = Figure(figsize=(5.4 * len(metrics), 0.8 + 0.36 * len(rows)), layout="constrained")
        panels = np.ravel(page.subplots(1, len(metrics), sharey=True))
        for axes, (metric, good) in zip(panels, metrics.items(), strict=True):
            for place, arm in enumerate(rows):
                if (metric, arm) in shown.index:
                    row = shown.loc[(metric, arm)]
                    lengths = reach(row.value, row.low, row.high).reshape(2, 1)
                    axes.errorbar(row.value, place, xerr=lengths, elinewidth=2, **STYLES[style_of(arm)])
            if own < len(rows):
                axes.axhline(own - 0.5, color=INK, linewidth=0.6, alpha=0.5)
            axes.set(title=metric, xlabel=good, ylim=(len(rows) - 0.5, -0.5))
            axes.set_yticks(range(len(rows)), [every[arm] for arm in rows])
    return page


def trade_off(table: pd.DataFrame, x: str, y: str) -> Figure:
    """Share of boxes found over distance, one mark per row of `comparisons.trade_off`; hollow where the boxes
    are given in a part of the steps.

    A line joins settings that differ by grounded_fraction alone; those on the front have a ring and their
    numbers.
    """
    with matplotlib.rc_context(STYLE):
        page = Figure(figsize=(7.4, 4.9), layout="constrained")
        axes = page.subplots()
        for (grounding, _), rows in table.groupby(["grounding", "guidance_scale"], sort=False):
            rows = rows.sort_values("grounded_fraction")
            axes.plot(rows.distance, rows.found, color=STYLES[grounding]["color"], linewidth=1, alpha=0.5)
        for grounding, rows in table.groupby("grounding", sort=False):
            style = STYLES[grounding]
            axes.hlines(rows.found, rows.distance_low, rows.distance_high, color=style["color"], alpha=0.3)
            axes.vlines(rows.distance, rows.found_low, rows.found_high, color=style["color"], alpha=0.3)
            for full, look in ((True, {"label": GROUNDING[grounding]}), (False, {"markerfacecolor": "none"})):
                some = rows[(rows.grounded_fraction == 1) == full]
                axes.plot(some.distance, some.found, linestyle="none", **style, **look)
        front = table[table.front].sort_values("distance")
        ring = {"markersize": 12, "markerfacecolor": "none", "markeredgecolor": INK}
        axes.plot(front.distance, front.found, "--o", color=INK, linewidth=0.9, label="best front", **ring)
        for row in front.itertuples():
            part = "" if row.grounded_fraction == 1 else f", f {row.grounded_fraction:g}"
            text, at = f"g {row.guidance_scale:g}{part}", (row.distance, row.found)
            axes.annotate(text, at, (9, 5), textcoords="offset points", fontsize=9)
        axes.set(xlabel=f"{x}, lower is better", ylabel=f"{y}, higher is better")
        page.legend(*axes.get_legend_handles_labels(), frameon=False, loc="outside lower center", ncols=4)
    return page


def as_svg(page: Figure, alt: str) -> Visual:
    """A chart as inline SVG whose text is text, and as PNG for notebooks; alt says in words what it shows."""
    salt = re.sub(r"\W+", "-", alt)
    file = io.StringIO()
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": salt}):  # else two charts of a page share names
        page.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    svg = file.getvalue()
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    svg = re.sub(r' xmlns(:\w+)?="[^"]*"', "", svg).replace(INK, "currentColor")
    svg = svg.replace(BLUE, f"light-dark({BLUE}, {SKY})")
    label = escape(alt, quote=True)
    svg = svg.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)
    html = f'<div class="chart" tabindex="0" role="group" aria-label="{label}">{svg}</div>'

    def png() -> tuple[str, bytes]:
        page.savefig(file := io.BytesIO(), format="png", dpi=110, facecolor="white")
        return "image/png", file.getvalue()

    return Visual(html, alt, png)


def style_of(arm: str) -> str:
    """The key of STYLES of an arm or control."""
    found = re.match(r"[a-z0-9_]+-(none|text|image)-g", arm)
    return found[1] if found else "photos" if arm == "photos" else "other"


def reach(value: pd.Series, low: pd.Series, high: pd.Series) -> np.ndarray:
    """Lengths of error bars, (2, n); an interval that a limit cut off may end at the value itself."""
    return np.clip(np.array([value - low, high - value]), 0, None)
