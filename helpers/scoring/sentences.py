"""Verdicts in words."""

import math
from dataclasses import replace

from helpers.scoring.intervals import LEVEL, Estimate
from helpers.scoring.significance import photos_needed


def difference(row: dict, lower_is_better: bool, digits: int = 3) -> str:
    """A row of `verdicts.compare` in words: which arm is better, by how much, interval, p, N; or that these
    photos cannot tell the two apart, and how many would be needed to be sure of a difference of this size."""
    arm, other, metric, n = row["arm"], row["other"], row["metric"], row["n"]
    estimate = Estimate(row["difference"], row["standard_error"], row["low"], row["high"], n)
    if estimate.value < 0:
        arm, other = other, arm
        estimate = replace(estimate, value=-estimate.value, low=-estimate.high, high=-estimate.low)
    number = f"{{:.{digits}f}}".format
    p = "p < 0.001" if row["p_holm"] < 0.001 else f"p = {row['p_holm']:.3f}"
    by = f"{number(estimate.value)} ({number(estimate.low)} to {number(estimate.high)}, {p})"
    if not row["different"]:
        told = f"These {n} photos cannot tell {arm} and {other} apart in {metric}"
        return f"{told}: {arm} minus {other} is {by}{_needed(estimate, row)}."
    winner, loser = (other, arm) if lower_is_better else (arm, other)
    direction = "lower" if lower_is_better else "higher"
    return f"{winner} is better than {loser} in {metric}: {direction} by {by}, N = {n} photos."


def not_worse(row: dict, digits: int = 3, margin_is: str = "") -> str:
    """What `verdicts.not_worse` found, in words: by how much at most the arm is worse, or that these photos
    do not show that it is not worse by the margin; margin_is: what the margin is a part of."""
    margin, bound = (f"{row[key]:.{digits}f}" for key in ("margin", "bound"))
    allowed = f"the margin{f', {margin_is},' if margin_is else ''} is {margin}"
    arm, other, metric = row["arm"], row["other"], row["metric"]
    sure = f"(one-sided 95 %, N = {row['n']} photos)"
    if row["holds"] and row["bound"] <= 0:
        return f"{arm} is not worse than {other} in {metric} at all {sure}."
    if row["holds"]:
        less = f"{arm} is not worse than {other} in {metric} by more than {bound}"
        return f"{less}; {allowed} {sure}."
    unsure = f"{arm} may be worse than {other} in {metric} by as much as {bound}"
    return f"{unsure}, so it may not be called not worse; {allowed} {sure}."


def _needed(estimate: Estimate, row: dict) -> str:
    needed = photos_needed(estimate, row["comparisons"])
    if math.isinf(needed.estimate):
        return ""
    if row["comparisons"] > 1 and row["p"] < 1 - LEVEL:
        return f"; the difference would count on its own, but not among {row['comparisons']} comparisons"
    low, high = (f"{float(f'{number:.2g}'):,.0f}" for number in (needed.low, min(needed.high, 1e6)))
    many = f"{low} to {high}" if needed.high < 1e6 else f"{low} photos or many more"
    return f"; some {many} would be needed to be sure of a difference of this size"
