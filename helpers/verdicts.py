"""What the scores of a run support: paired differences between arms, and one sentence per question."""

from collections.abc import Sequence

import pandas as pd

from helpers.runs import Run


def difference(run: Run, metric: str, arm: str, other: str, strict: bool = False) -> dict:
    """`metric` of arm minus that of other, paired scene by scene, from the files of the run alone (no model).

    Only scenes that both arms have are compared; with strict, different scenes are a ValueError naming them.
    Returns arm, other, metric, difference, standard_error, low, high, n (scenes in common) and p: exact sign-flip
    permutation for metrics that are means over photos, Student's t of the jackknife otherwise.
    Raises ValueError for an unknown metric or arm (the known ones are named) and for fewer than 3 common scenes.
    """
    raise NotImplementedError


def compare(run: Run, metric: str, arms: Sequence[str], baseline: str | None = None) -> pd.DataFrame:
    """Every arm against `baseline` (default: the best arm), one row an arm in the order given, baseline left out.

    Columns as `difference`, and p_holm: p corrected for the number of rows; different: p_holm < 0.05.
    """
    raise NotImplementedError


def best(run: Run, metric: str, arms: Sequence[str]) -> str:
    """The arm with the best value of the metric (lowest distance, else highest); ties go to the earlier one."""
    raise NotImplementedError


def verdict(run: Run, metric: str, arms: Sequence[str], baseline: str | None = None) -> str:
    """One sentence that the data support: which arm, by how much, interval, N; or that these photos cannot tell
    the arms apart, and about how many would be needed."""
    raise NotImplementedError


def equal_arms(run: Run, arm: str, other: str, gap: float, draws: int = 500, seed: int = 0) -> dict:
    """How often the realism distances of two arms that do NOT differ lie `gap` or further apart.

    The two arms' pictures are swapped at random scene by scene, which makes both arms draws from one mixture.
    gap: in the metric's own unit. Returns metric, gap, share (of draws), median (typical gap), n, draws.
    """
    raise NotImplementedError
