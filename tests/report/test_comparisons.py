"""Realism against box following: the settings that no other beats in both."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as some
from PIL import Image

from helpers.report import answers, charts, comparisons, tables
from helpers.scenes import images
from helpers.scoring import scores
from tests.fakes import judged
from tests.sweeps.test_grids import run as run  # a fixture

POINTS = some.lists(some.tuples(some.integers(0, 4), some.integers(0, 4)), min_size=1, max_size=12)


@given(POINTS)
def test_on_the_front_is_what_nothing_beats(points):
    first, second = np.array(points, float).T
    beaten = [any(a >= x and b >= y and (a, b) != (x, y) for a, b in points) for x, y in points]
    assert comparisons.on_front(first, second).tolist() == [not one for one in beaten]


def test_what_has_no_score_is_on_no_front():
    assert comparisons.on_front(np.array([np.nan, 1.0]), np.array([1.0, 0.5])).tolist() == [False, True]


@pytest.fixture
def scored(run):
    """Four arms with pictures and scores: the second is beaten by the first, the others are not."""
    values = {
        "suffix-text-g2": (0.1, 0.9),
        "suffix-text-g5": (0.2, 0.8),
        "suffix-text-g2-f0.3": (0.05, 0.5),
        "suffix-none-g2": (0.04, 0.1),
    }
    for arm, pair in values.items():
        for scene in run.scenes:
            path = run.picture(arm, scene)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        names = ("KID × 1000 (EfficientNet-Lite0)", "found at IoU 0.5")
        numbers = [{"value": x, "low": x - 0.02, "high": x + 0.02, "standard_error": 0.01} for x in pair]
        rows = [{"metric": name, "n": 4} | one for name, one in zip(names, numbers, strict=True)]
        (run.folder / "scores").mkdir(exist_ok=True)
        (run.folder / "scores" / f"{arm}.json").write_text(json.dumps(rows))
    return run


def test_an_arm_with_another_layout_stands_beside_the_one_with_the_photos_boxes(scored, monkeypatch):
    monkeypatch.setattr(scored, "costs", lambda arm: None)  # the pictures are empty files
    choice = {"template": "suffix", "compared": ["suffix", "label"], "guidance_scale": 2}
    scored.write_json("choices/template.json", choice)
    plain = comparisons.main_arm(scored)
    for arm in (plain, f"{plain}-mirrored", f"{plain}-other", "label-text-g9-random"):
        for scene in scored.scenes:
            images.save(Image.new("RGB", (8, 8)), scored.picture(arm, scene))
    names = comparisons.main(scored).names
    assert names[f"{plain}-mirrored"] == f"{names[plain]}, boxes mirrored"
    assert names[f"{plain}-other"] == f"{names[plain]}, boxes of another photo"
    assert "label-text-g9-random" not in names


def test_every_setting_is_a_row_and_the_front_is_named(scored):
    table = comparisons.trade_off(scored).set_index("arm")
    assert len(table) == 4 and table.n.eq(4).all()
    assert sorted(table.index[~table.front]) == ["suffix-text-g5"]
    assert table.distance_low["suffix-text-g2"] == pytest.approx(0.08)
    answer = answers.front(scored)
    assert answer.short.startswith("3 of 4") and "grounded_fraction 0.3 (50% found, 0.05)" in answer.short
    assert "0.3, 1" in answer.grounds[0] and "make sweep" not in answer.grounds[0]


def test_the_plot_marks_the_front_and_its_numbers(scored):
    page = charts.trade_off(comparisons.trade_off(scored), "distance", "found")
    axes = page.axes[0]
    assert {one.get_text() for one in axes.texts} == {"g 2", "g 2, f 0.3"}
    ring = next(line for line in axes.lines if line.get_label() == "best front")
    assert list(ring.get_xdata()) == [0.04, 0.05, 0.1]


def test_an_arm_that_lacks_a_picture_is_left_out(scored):
    next(scored.folder.glob("pictures/suffix-text-g5/*.png")).unlink()
    table = comparisons.trade_off(scored)
    assert isinstance(table, pd.DataFrame) and "suffix-text-g5" not in set(table.arm)


def test_an_arm_of_another_method_stands_in_the_main_table_with_what_it_took(tmp_path):
    """An edit gets no distance to the photos that it starts from, and its cell says why."""
    run = judged.start(tmp_path)
    text = {"unet_rows": "12", "seconds": "0.5"}
    choice = {"template": "caption", "guidance_scale": 2.0, "compared": ["caption"]}
    run.write_json("choices/template.json", choice)
    names = ["caption-text-g2", "caption-sdedit-g2-t0.4", "caption-inpaint-g2"]
    for place, name in enumerate(names):
        judged.draw(run, name, place, **text)
    scores.score(run, run.scenes, names, judged.load_small_judges(tmp_path))
    shown = comparisons.main(run)
    assert (
        shown.names[names[1]] == "caption, SDEdit (guidance_scale 2, strength 0.4)"
        and names[2] in shown.names
    )
    assert shown.costs == dict.fromkeys(names, (12.0, 0.5))
    judged.draw(run, names[0], 0, **{**text, "seconds": "1.5"})
    assert comparisons.main(run).costs[names[0]] == (12.0, 1.5)  # read again, for the pictures are others
    assert "SDEdit is given: prompt, photo." in shown.caption
    assert names[1] not in {arm.name for arm in comparisons.own_arms(run)}
    page = tables.score_table(run.scores(shown.names), shown).data
    assert page.count("edits the photo") >= 2 and "UNet rows" in page and "<td" in page
    reasons = run.scores([names[1]]).set_index("metric").reason
    assert reasons[comparisons.realism(run)].startswith("edits the photo")
    assert pd.isna(reasons["found at IoU 0.5"])
