"""Editors where they keep equally much: in words, and when none compare."""

import pandas as pd
import pytest

from helpers.report import edits
from helpers.report.edits import DONE, KEPT
from helpers.scoring import trade_offs
from helpers.scoring.metrics import metrics

NAMES = ["recolour-ip2p-g2", "recolour-ip2p-g2-k2.2", "recolour-turboedit", "recolour-text-g2"]
COLUMNS = ["arm", "other", "metric", "at", "difference", "standard_error", "low", "high", "n", "p", "p_holm"]


class Scored:
    """A run whose arms have what editors are judged by, or only what edits of whole pictures have."""

    has_photos, card = True, {"protocol": {"models": "demo"}}

    def __init__(self, kept=KEPT):
        self.kept = kept

    def scores(self, names):
        return pd.DataFrame({"metric": [DONE, self.kept], "value": [0.5, 30.0]})


@pytest.fixture
def compared(monkeypatch):
    """Rows of the comparison, and the curves that it was asked for."""
    rows, asked = [], []

    def compare(run, metric, kept, curves):
        asked.append((metric, kept, curves))
        table = pd.DataFrame(rows, columns=COLUMNS)
        return table.assign(comparisons=len(rows), different=table.p_holm < 0.05)

    monkeypatch.setattr(trade_offs, "compare", compare)
    monkeypatch.setattr("helpers.scoring.scores.metrics_of", lambda run: metrics(inception=False))
    return rows, asked


def test_a_method_is_the_line_of_its_arms_and_no_editor_is_none(compared):
    _, asked = compared
    edits.at_equal_kept(Scored(), dict.fromkeys(NAMES, ""))
    [(metric, kept, curves)] = asked
    assert (metric, kept) == (DONE, KEPT)
    assert curves == {"InstructPix2Pix": NAMES[:2], "TurboEdit": NAMES[2:3]}


def test_who_does_more_is_said_with_what_both_keep(compared):
    rows, _ = compared
    rows.append(["InstructPix2Pix", "TurboEdit", DONE, 29.04, 0.5, 0.1, 0.3, 0.7, 48, 0.001, 0.001])
    [line] = edits.at_equal_kept(Scored(), dict.fromkeys(NAMES, ""))
    assert line.startswith("At 29 dB kept outside: InstructPix2Pix is better than TurboEdit in edit done: ")
    assert "higher by 0.500 (0.300 to 0.700" in line


@pytest.mark.parametrize(("kept", "unit"), [(KEPT, "dB kept outside"), ("CLIP image", "CLIP image")])
def test_where_no_two_lines_overlap_it_says_what_draws_more(compared, kept, unit):
    [line] = edits.at_equal_kept(Scored(kept), dict.fromkeys(NAMES, ""))
    assert line.startswith(f"No two editors keep equally much ({unit})") and "make sweep" in line
    assert edits.at_equal_kept(Scored(kept), dict.fromkeys(NAMES[:2], "")) == []
