"""Editors as curves: what is done over what is kept, and who does more where both keep equally much."""

from collections.abc import Mapping

import matplotlib
from matplotlib.figure import Figure

from helpers.report import charts, claims
from helpers.report.comparisons import Comparison
from helpers.runs.arms import Arm
from helpers.runs.methods import METHODS
from helpers.runs.run import Run
from helpers.scoring import trade_offs
from helpers.scoring.intervals import TooFew

PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
MARKERS = "o^sXvP"  # the second sign
DONE, KEPT, ALIKE = "edit done", "kept outside (dB)", "CLIP image"


def kept_metric(run: Run, names: Mapping[str, str]) -> str:
    """What stands for keeping the photo: PSNR outside the edited boxes, or, of edits of whole pictures, CLIP
    image, how near the picture is to the photo."""
    scores = run.scores(names).dropna(subset="value")
    return KEPT if KEPT in set(scores.metric) else ALIKE


def at_equal_kept(run: Run, names: Mapping[str, str]) -> list[str]:
    """Who does more edits where both keep equally much: a sentence per pair of editors that overlap."""
    kept, curves = kept_metric(run, names), {}
    for arm in names:
        if METHODS[Arm.parse(arm).grounding].is_edit:
            curves.setdefault(METHODS[Arm.parse(arm).grounding].title, []).append(arm)
    judged = set(run.scores(names).dropna(subset="value").metric)
    if not {kept, DONE} <= judged:
        return []
    try:
        rows = trade_offs.compare(run, DONE, kept, curves).to_dict("records")
    except TooFew:  # said of the comparisons of single arms already
        return []
    unit = "dB kept outside" if kept == KEPT else kept
    shown = {title: title for title in curves}
    if len(curves) > 1 and not rows:
        return [
            f"No two editors keep equally much ({unit}) at these settings, so none compare there; "
            "make sweep TEMPLATE=… GROUNDING=… KNOB=… draws more."
        ]
    return [f"At {row['at']:.3g} {unit}: {claims.worded(run, row, shown)}" for row in rows]


def done_over_kept(run: Run, comparison: Comparison) -> Figure:
    """What is done over what is kept: a line per method over its knob, the controls as marks.

    Methods compare where they keep equally much: doing nothing keeps everything. Where edits have no box,
    CLIP image, how near the picture is to the photo, stands for what is kept.
    """
    kept = kept_metric(run, comparison.names)
    scores = run.scores([*comparison.names, *comparison.controls]).dropna(subset="value")
    done, there = (scores[scores.metric == metric].set_index("arm") for metric in (DONE, kept))
    points = done.merge(there, left_index=True, right_index=True, suffixes=("", "_kept"))
    with matplotlib.rc_context(charts.STYLE):
        page = Figure(figsize=(7.4, 4.9), layout="constrained")
        axes = page.subplots()
        own = points[points.index.isin(comparison.names)]
        for place, (method, rows) in enumerate(own.groupby("grounding", sort=False)):
            rows = rows.sort_values("value_kept")
            reach = [
                charts.reach(rows[f"value{x}"], rows[f"low{x}"], rows[f"high{x}"]) for x in ("", "_kept")
            ]
            style = {"color": PALETTE[place % len(PALETTE)], "marker": MARKERS[place % len(MARKERS)]}
            style |= {"linestyle": ":", "linewidth": 0.8, "label": METHODS[method].title}
            axes.errorbar(rows.value_kept, rows.value, *reach, **style)
        for arm, said in comparison.controls.items():
            if arm in points.index:
                at = points.loc[arm]
                axes.plot(at.value_kept, at.value, "D", color=charts.INK, markerfacecolor="none")
                axes.annotate(
                    said, (at.value_kept, at.value), (7, -3), textcoords="offset points", fontsize=9
                )
        axes.set(xlabel=f"{kept}, higher is better", ylabel="edit done, higher is better")
        page.legend(*axes.get_legend_handles_labels(), frameon=False, loc="outside lower center", ncols=3)
    return page
