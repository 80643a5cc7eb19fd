import re
import shutil

import numpy as np
import pytest

from helpers.runs.methods import METHODS
from helpers.scenes import images
from helpers.scoring import intervals, scores, sentences, verdicts
from helpers.scoring.measurements import Measurements, collect
from tests.fakes.judged import draw, load_small_judges, start
from tests.scoring.test_realism import N, study

ARM, OTHER, THIRD = "caption-text-g7.5", "label-text-g7.5", "suffix-text-g7.5"
OWN = "Fréchet distance (EfficientNet-Lite0) to their own photos"
STUDIES = 60
KID = "KID × 1000 (EfficientNet-Lite0)"


@pytest.fixture(scope="module")
def demo_judges(tmp_path_factory):
    return load_small_judges(tmp_path_factory.mktemp("judges"))


@pytest.fixture(scope="module")
def run(tmp_path_factory, demo_judges):
    """Three arms of eight scenes: OTHER is noise as ARM is, THIRD is nearly the photos."""
    run = start(tmp_path_factory.mktemp("study"), count=8)
    draw(run, ARM)
    draw(run, OTHER, seed=1)
    for scene in run.scenes:
        photo = images.fit(scene.photo(), 32)
        images.save(photo.point(lambda value: value // 2 + 60), run.picture(THIRD, scene))
    scores.score(run, run.scenes, [ARM, OTHER, THIRD], demo_judges)
    return run


def row(
    difference: float,
    error: float,
    p: float = 0.01,
    n: int = 48,
    different: bool = True,
    comparisons: int = 1,
) -> dict:
    reach = 2 * error
    facts = {
        "difference": difference,
        "standard_error": error,
        "low": difference - reach,
        "high": difference + reach,
    }
    return {
        "arm": "b",
        "other": "a",
        "metric": "FID",
        "n": n,
        "p": p,
        "p_holm": p,
        "comparisons": comparisons,
        "different": different,
        **facts,
    }


def test_a_difference_that_counts_names_the_better_arm():
    assert sentences.difference(row(3.2, 1.0), lower_is_better=True, digits=2) == (
        "a is better than b in FID: lower by 3.20 (1.20 to 5.20, p = 0.010), N = 48 photos."
    )
    assert sentences.difference(row(-3.2, 1.0, p=0.0001), lower_is_better=True, digits=1) == (
        "b is better than a in FID: lower by 3.2 (1.2 to 5.2, p < 0.001), N = 48 photos."
    )
    told = sentences.difference(row(0.25, 0.1), lower_is_better=False)
    assert told.startswith("b is better than a in FID: higher by 0.250")


def test_a_difference_that_does_not_count_says_how_many_photos_would():
    told = sentences.difference(
        row(-0.58, 1.7, p=0.73, n=100, different=False), lower_is_better=True, digits=2
    )
    assert told == (
        "These 100 photos cannot tell a and b apart in FID: a minus b is 0.58 (-2.82 to 3.98, p = 0.730); "
        "some 760 photos or many more would be needed to be sure of a difference of this size."
    )
    told = sentences.difference(row(0.9, 0.5, p=0.08, different=False), True)
    assert "; some 64 to 300 would be needed" in told


def test_comparisons_are_blamed_only_where_there_were_several():
    several = row(3.2, 1.0, p=0.02, different=False, comparisons=3) | {"p_holm": 0.06}
    assert "would count on its own, but not among 3 comparisons" in sentences.difference(several, True)
    assert "on its own" not in sentences.difference(row(3.2, 1.0, p=0.06, different=False), True)
    strict = sentences.difference(row(0.9, 0.5, p=0.3, different=False, comparisons=10), True)
    assert int(strict.split("; some ")[1].split(" ")[0]) > 100


def test_no_difference_needs_no_number_of_photos():
    equal = sentences.difference(row(0, 0, p=1, different=False), True)
    assert equal.endswith("a minus b is 0.000 (0.000 to 0.000, p = 1.000).") or "b minus a" in equal


def test_a_difference_is_paired_and_needs_no_model(run):
    found = verdicts.difference(run, "CLIP score", ARM, OTHER)
    a, b = (collect(run, run.scenes, arm) for arm in (ARM, OTHER))
    cosines = ((one.image_embeds * one.text_embeds).sum(1) for one in (a, b))
    first, second = (100 * np.maximum(0, cosine) for cosine in cosines)
    each = first - second
    by_hand = intervals.mean(each)
    assert found["difference"] == pytest.approx(by_hand.value, rel=1e-5)
    assert found["standard_error"] == pytest.approx(by_hand.standard_error, rel=1e-5)
    assert found["p"] == pytest.approx(intervals.sign_flip(each))
    back = verdicts.difference(run, "CLIP score", OTHER, ARM)
    assert back["difference"] == pytest.approx(-found["difference"]) and back["n"] == 8


def test_every_metric_that_an_arm_has_can_be_compared(run):
    table = run.scores()
    names = set(table[(table.arm == ARM) & table.metric.isin(scores.metrics_of(run))].metric)
    assert len(names) >= 11
    for name in names:
        value = table[table.metric == name].set_index("arm").value
        found = verdicts.difference(run, name, ARM, THIRD)
        assert found["difference"] == pytest.approx(value[ARM] - value[THIRD], abs=1e-9)
        assert found["low"] <= found["difference"] <= found["high"]


def test_the_best_arm_goes_by_the_metric(run):
    assert verdicts.best(run, KID, [ARM, OTHER, THIRD]) == THIRD
    table = run.scores()
    highest = table[table.metric == "CLIP score"].set_index("arm").value.idxmax()
    assert verdicts.best(run, "CLIP score", [ARM, OTHER, THIRD]) == highest


def test_arms_that_are_in_no_verdicts_are_left_out_of_them(run):
    table = verdicts.compare(run, KID, [ARM, OTHER, THIRD])
    again = verdicts.compare(run, KID, [ARM, "upsampled-flux3_up", OTHER, THIRD])
    assert again.equals(table)
    assert [name for name, one in METHODS.items() if not one.in_verdicts] == ["flux3_up"]


def test_the_best_arm_is_held_against_all_pairs(run):
    table = verdicts.compare(run, KID, [ARM, OTHER, THIRD])
    assert table.arm.tolist() == [ARM, OTHER] and set(table.other) == {THIRD}
    every = [(ARM, THIRD), (OTHER, THIRD), (ARM, OTHER)]
    p = [verdicts.difference(run, KID, *pair)["p"] for pair in every]
    np.testing.assert_allclose(table.p_holm, intervals.holm(p)[:2])
    given = verdicts.compare(run, KID, [ARM, OTHER, THIRD], baseline=ARM)
    assert given.arm.tolist() == [OTHER, THIRD]
    np.testing.assert_allclose(given.p_holm, intervals.holm([p[2], p[0]]))


def test_the_verdict_says_what_the_table_says(run):
    (row,) = verdicts.compare(run, KID, [ARM, THIRD]).to_dict("records")
    told = sentences.difference(row, lower_is_better=True)
    assert told.startswith(
        f"{THIRD} is better than {ARM}" if row["different"] else "These 8 photos cannot tell"
    )


@pytest.mark.parametrize("metric", [OWN, "precision (EfficientNet-Lite0)"])
def test_no_arm_is_called_better_by_what_rewards_a_copy_or_was_not_tried(run, metric):
    for ask in (lambda: verdicts.compare(run, metric, [ARM, OTHER]), lambda: not_worse(run, metric, 1.0)):
        with pytest.raises(ValueError, match=rf"no verdict by {re.escape(metric)}: "):
            ask()


def not_worse(run, metric: str, margin: float | None = None) -> dict:
    return verdicts.not_worse(run, metric, ARM, OTHER, margin)


def test_an_arm_is_not_worse_by_more_than_a_margin(run):
    for metric in (KID, "CLIP score", "found at IoU 0.5"):
        gap = verdicts.difference(run, metric, ARM, OTHER)
        wide = not_worse(run, metric, 1e6)
        assert wide["holds"] and wide["n"] == 8 and wide["margin"] == 1e6
        lower = scores.metrics_of(run)[metric].lower_is_better
        worse = gap["difference"] if lower else -gap["difference"]
        assert worse <= wide["bound"] <= max(gap["high"], -gap["low"]) + 1e-9
        if wide["bound"] > 0:
            tried = [not_worse(run, metric, wide["bound"] * by)["holds"] for by in (0.9, 1.1)]
            assert tried == [False, True]
        assert 2**-8 <= wide["p"] <= 1


def test_the_margin_is_a_tenth_of_what_the_control_is_away(run):
    choice = {"template": "caption", "guidance_scale": 7.5, "compared": ["caption"]}
    run.write_json("choices/template.json", choice)
    with pytest.raises(FileNotFoundError):
        not_worse(run, "CLIP score")
    draw(run, "caption-none-g7.5", seed=9)
    shutil.copy(run.folder / f"scores/{OTHER}.npz", run.folder / "scores/caption-none-g7.5.npz")
    away = abs(verdicts.difference(run, "CLIP score", ARM, OTHER)["difference"])
    assert not_worse(run, "CLIP score")["margin"] == pytest.approx(0.1 * away)


def test_words_of_not_worse():
    found = {"arm": "a", "other": "b", "metric": "KID", "margin": 2, "n": 48, "holds": True, "bound": 1.5}
    sure = "(one-sided 95 %, N = 48 photos)."
    assert sentences.not_worse(found, 1) == (
        f"a is not worse than b in KID by more than 1.5; the margin is 2.0 {sure}"
    )
    assert sentences.not_worse(found | {"bound": -0.2}) == f"a is not worse than b in KID at all {sure}"
    told = sentences.not_worse(found | {"bound": 2.4, "holds": False}, 1, "a tenth")
    assert told.startswith("a may be worse than b in KID by as much as 2.4, so it may not")
    assert "the margin, a tenth, is 2.0 (one-sided" in told


def test_what_is_not_judged_gives_no_verdict(run, tmp_path):
    silent = start(tmp_path, count=8)
    rows = [{"metric": KID, "value": None, "n": 8, "reason": "not judged: nobody knows these photos"}]
    for arm in (ARM, OTHER):
        silent.write_json(f"scores/{arm}.json", rows)
    for ask in (verdicts.best, verdicts.compare):
        with pytest.raises(verdicts.NotJudged, match="not judged: nobody knows these photos"):
            ask(silent, KID, [ARM, OTHER])


def test_fewer_than_six_photos_are_too_few_for_a_verdict(run, demo_judges, tmp_path):
    few = start(tmp_path, count=5)
    for seed, arm in enumerate((ARM, OTHER)):
        draw(few, arm, seed)
    scores.score(few, few.scenes, [ARM, OTHER], demo_judges)
    for metric in (KID, "AP50", "found at IoU 0.5"):
        assert verdicts.difference(few, metric, ARM, OTHER)["p"] >= 2 / 2**5
        with pytest.raises(intervals.TooFew, match="at least 6 photos, got 5"):
            verdicts.compare(few, metric, [ARM, OTHER])


def test_the_difference_of_shares_is_never_without_width(run):
    found = verdicts.difference(run, "found at IoU 0.5", ARM, OTHER)
    assert found["high"] - found["low"] > 0.05 and found["standard_error"] > 0


def test_equal_arms_that_resemble_their_own_photos_differently_are_seldom_called_different(tmp_path):
    """From features to the verdict, through the files of a run; the distance to the own photos fails."""
    run, rng, names = start(tmp_path), np.random.default_rng(0), tuple(map(str, range(N)))
    called = {KID: 0, OWN: 0}
    for k in range(STUDIES):
        photos, arms = study(rng)
        for name, pictures in ((f"close{k}", arms[2]), (f"far{k}", arms[0])):
            scores._save(run, name, Measurements(names, {}, pictures=pictures, photos=photos))
        table = verdicts.compare(run, KID, [f"close{k}", f"far{k}"])
        called[KID] += bool(table.different[0])
        called[OWN] += verdicts.difference(run, OWN, f"close{k}", f"far{k}")["p"] < 0.05
    assert called[KID] <= 0.06 * STUDIES and called[OWN] > 0.9 * STUDIES


def test_only_common_scenes_are_compared(run, demo_judges):
    fewer = "caption-none-g7.5"
    draw(run, fewer, seed=5)
    for scene in run.scenes[:3]:
        run.picture(fewer, scene).unlink()
    scores.score(run, run.scenes, [fewer], demo_judges)
    for metric in (KID, "AP50", "CLIP score", "mean IoU"):
        assert verdicts.difference(run, metric, ARM, fewer)["n"] == 5
    a, b = (collect(run, run.scenes[3:], arm) for arm in (ARM, fewer))
    values = [scores.metrics_of(run)[KID].measure(one).value for one in (a, b)]
    assert verdicts.difference(run, KID, ARM, fewer)["difference"] == pytest.approx(values[0] - values[1])
    for scene in run.scenes[3:6]:
        run.picture(fewer, scene).unlink()
    scores.score(run, run.scenes, [fewer], demo_judges)
    with pytest.raises(intervals.TooFew, match="2 scenes"):
        verdicts.difference(run, KID, ARM, fewer)


def test_equal_arms_lie_apart_by_chance(run):
    found = verdicts.equal_arms(run, ARM, OTHER, gap=0.0)
    assert found["share"] == 1 and found["n"] == 8 and found["metric"] == KID
    again = verdicts.equal_arms(run, ARM, OTHER, gap=found["median"])
    assert again["share"] == pytest.approx(0.5, abs=0.1)
    assert verdicts.equal_arms(run, ARM, OTHER, gap=1e9)["share"] == 0


def test_what_is_not_there_is_named(run):
    with pytest.raises(ValueError, match=r"'CLIP scor' is unknown; .*did you mean 'CLIP score'"):
        verdicts.difference(run, "CLIP scor", ARM, OTHER)
    with pytest.raises(ValueError, match="has no 'labels named'"):
        verdicts.difference(run, "labels named", ARM, OTHER)
    with pytest.raises(ValueError, match="no 'AP50' of 'nowhere': score them first"):
        verdicts.best(run, "AP50", [ARM, "nowhere"])
