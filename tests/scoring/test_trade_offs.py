"""Trade-offs: methods compared where they reach equally much of another metric."""

from types import SimpleNamespace

import numpy as np
import pytest

from helpers.scoring import intervals, scores, significance, trade_offs
from helpers.scoring.intervals import Measured


def measured(values):
    values = np.asarray(values, float)
    return Measured(values.mean(), (values.sum() - values) / (len(values) - 1))


@pytest.fixture
def arms(monkeypatch):
    """Arms by name: kept and done of every scene."""
    known = {}

    def of(run, arm):
        kept, done = known[arm]
        return SimpleNamespace(metrics={"kept": measured(kept), "done": measured(done)})

    monkeypatch.setattr(scores, "arm_scores", of)
    return known


def compare(curves):
    return trade_offs.compare(None, "done", "kept", curves)


def test_a_point_is_compared_with_the_line_at_its_place(arms):
    n = 12
    arms |= {"a1": ([20] * n, [1] * n), "a2": ([30] * n, [0] * n), "b": ([27] * n, [0, 1] * 6)}
    (row,) = compare({"A": ["a1", "a2"], "B": ["b"]}).to_dict("records")
    assert row["at"] == 27 and row["difference"] == pytest.approx(0.3 - 0.5)
    assert (row["arm"], row["other"], row["n"], row["comparisons"]) == ("A", "B", n, 1)


def test_two_points_at_one_place_are_the_paired_difference_of_both(arms):
    rng = np.random.default_rng(0)
    a, b = rng.random((2, 20)).round()
    arms |= {"a": ([25] * 20, a), "b": ([25] * 20, b)}
    (row,) = compare({"A": ["a"], "B": ["b"]}).to_dict("records")
    first, second = measured(a), measured(b)
    pair = first.value, first.left_out, second.value, second.left_out
    estimate = intervals.paired(*pair)
    assert row["difference"] == pytest.approx(estimate.value)
    assert (row["low"], row["high"]) == pytest.approx((estimate.low, estimate.high))
    assert row["p"] == row["p_holm"] == significance.paired_p(*pair)


def test_the_middle_of_what_both_reach_is_redrawn_without_each_scene(arms):
    """Done falls by 0.1 per unit of kept in A and by 0.2 in B; both reach 2 to 4 above the mean."""
    kept = np.arange(8.0)
    arms |= {f"a{k}": (kept + k, 0.9 - 0.1 * (kept + k)) for k in (0, 4)}
    arms |= {f"b{k}": (kept + k, 1.1 - 0.2 * (kept + k)) for k in (2, 8)}
    (row,) = compare({"A": ["a0", "a4"], "B": ["b2", "b8"]}).to_dict("records")
    at = measured(kept + 3)
    gap = intervals.jackknife(0.1 * at.value - 0.2, 0.1 * at.left_out - 0.2)
    assert row["at"] == pytest.approx(at.value)
    assert (row["difference"], row["low"], row["high"]) == pytest.approx((gap.value, gap.low, gap.high))


def test_curves_that_do_not_overlap_are_not_compared(arms):
    n = 8
    arms |= {"a": ([20] * n, [1] * n), "b": ([30] * n, [0] * n), "c": ([30] * n, [1, 0] * 4)}
    table = compare({"A": ["a"], "B": ["b"], "C": ["c"]})
    assert table[["arm", "other"]].values.tolist() == [["B", "C"]]
    assert not len(compare({"A": ["a"], "B": ["b"]}))


def test_too_few_scenes_give_no_verdict(arms):
    arms |= {"a": ([25] * 3, [1] * 3), "b": ([25] * 3, [0] * 3)}
    with pytest.raises(intervals.TooFew, match="at least 6"):
        compare({"A": ["a"], "B": ["b"]})
