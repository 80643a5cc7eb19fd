"""Realism against adherence: every setting that was drawn, and those that no other setting beats in both."""

import numpy as np
import pandas as pd

from helpers.report.answers import Answer
from helpers.report.arms import is_ours, whole
from helpers.report.comparisons import FOUND, GROUNDING, over_guidance, realism
from helpers.runs.arms import Arm
from helpers.runs.run import Run

COLUMNS = ["arm", "grounding", "guidance_scale", "grounded_fraction"]


def trade_off(run: Run) -> pd.DataFrame:
    """The chosen template's arms, one row each: COLUMNS, then `distance` (realism) and `found` (share of
    boxes at IoU 0.5) with `_low` and `_high` of their intervals at 95 %, n, and `front`: beaten by no other.

    Raises FileNotFoundError where such an arm has no scores yet.
    """
    template = run.read_json("choices/template.json")["template"]
    arms = [Arm.parse(name) for name in whole(run) if is_ours(name)]
    arms = [arm for arm in arms if arm.template == template and arm.seed == 0]
    table = pd.DataFrame(
        [(arm.name, arm.grounding, arm.guidance_scale, arm.grounded_fraction) for arm in arms],
        columns=COLUMNS,
    )
    scores = over_guidance(run, arms)
    for name, metric in (("distance", realism(run)), ("found", FOUND)):
        rows = scores[scores.metric == metric].set_index("arm")
        parts = {name: rows.value, f"{name}_low": rows.low, f"{name}_high": rows.high, "n": rows.n}
        table = table.assign(**{column: table.arm.map(values) for column, values in parts.items()})
    return table.assign(front=on_front(-table.distance.to_numpy(), table.found.to_numpy()))


def on_front(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Which points (n,) have no other that is at least as high in both and higher in one; NaN is beaten."""
    higher = (first[:, None] >= first) & (second[:, None] >= second)
    strictly = (first[:, None] > first) | (second[:, None] > second)
    return ~(higher & strictly).any(0) & ~np.isnan(first + second)


def answer(run: Run) -> Answer:
    """Which settings are on the front, and which values of grounded_fraction were drawn at all."""
    table = trade_off(run)
    front = table[table.front].sort_values("distance")
    best = [f"{name(row)} ({row.found:.0%} found, {row.distance:.3g})" for row in front.itertuples()]
    fractions = ", ".join(f"{value:g}" for value in sorted(table.grounded_fraction.unique()))
    grounds = [f"Values of grounded_fraction that were drawn: {fractions}."]
    if set(table.grounded_fraction) == {1}:
        grounds[0] += ' Others come with make sweep FRACTION="0.1 0.3 1".'
    grounds.append("The front goes by values; settings whose intervals overlap may change places.")
    first = ", the most realistic first" if len(front) > 1 else ""
    short = f"{len(front)} of {len(table)}{first}: {'; '.join(best)}."
    return Answer("Which settings are beaten by no other in both?", short, tuple(grounds))


def name(row: object) -> str:
    """A row of `trade_off` as people say it."""
    boxes = f", grounded_fraction {row.grounded_fraction:g}" if row.grounding != "none" else ""
    return f"{GROUNDING[row.grounding]}, guidance_scale {row.guidance_scale:g}{boxes}"
