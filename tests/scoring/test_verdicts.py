import numpy as np
import pytest

from helpers.scenes import images
from helpers.scoring import intervals, scores, verdicts
from helpers.scoring.measurements import collect
from tests.fakes.judged import draw, load_small_judges, start

ARM, OTHER, THIRD = "caption-text-g7.5", "label-text-g7.5", "suffix-text-g7.5"
FRECHET = "Fréchet distance (demo CLIP)"


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
        photo = images.fit(scene.photo(), scene.boxes, 32)[0]
        images.save(photo.point(lambda value: value // 2 + 60), run.picture(THIRD, scene))
    scores.score(run, run.scenes, [ARM, OTHER, THIRD], demo_judges)
    return run


def row(difference: float, error: float, p: float = 0.01, n: int = 48, different: bool = True) -> dict:
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
        "different": different,
        **facts,
    }


def test_a_difference_that_counts_names_the_better_arm():
    assert verdicts.sentence(row(3.2, 1.0), lower_is_better=True, digits=2) == (
        "a is better than b in FID: lower by 3.20 (1.20 to 5.20, p = 0.010), N = 48 photos."
    )
    assert verdicts.sentence(row(-3.2, 1.0, p=0.0001), lower_is_better=True, digits=1) == (
        "b is better than a in FID: lower by 3.2 (1.2 to 5.2, p < 0.001), N = 48 photos."
    )
    told = verdicts.sentence(row(0.25, 0.1), lower_is_better=False)
    assert told.startswith("b is better than a in FID: higher by 0.250")


def test_a_difference_that_does_not_count_says_how_many_photos_would():
    told = verdicts.sentence(row(-0.58, 1.7, p=0.73, n=100, different=False), lower_is_better=True, digits=2)
    assert told == (
        "These 100 photos cannot tell a and b apart in FID: a minus b is 0.58 (-2.82 to 3.98, p = 0.730); "
        "about 6,700 would be needed to be sure of a difference of this size."
    )
    assert "; more than a million would be needed" in verdicts.sentence(row(1e-3, 5, different=False), True)
    assert "but not among this many" in verdicts.sentence(row(3.2, 1.0, p=0.06, different=False), True)
    equal = verdicts.sentence(row(0, 0, p=1, different=False), True)
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
    assert verdicts.best(run, FRECHET, [ARM, OTHER, THIRD]) == THIRD
    table = run.scores()
    highest = table[table.metric == "CLIP score"].set_index("arm").value.idxmax()
    assert verdicts.best(run, "CLIP score", [ARM, OTHER, THIRD]) == highest


def test_the_best_arm_is_held_against_all_pairs(run):
    table = verdicts.compare(run, FRECHET, [ARM, OTHER, THIRD])
    assert table.arm.tolist() == [ARM, OTHER] and set(table.other) == {THIRD}
    every = [(ARM, THIRD), (OTHER, THIRD), (ARM, OTHER)]
    p = [verdicts.difference(run, FRECHET, *pair)["p"] for pair in every]
    np.testing.assert_allclose(table.p_holm, intervals.holm(p)[:2])
    given = verdicts.compare(run, FRECHET, [ARM, OTHER, THIRD], baseline=ARM)
    assert given.arm.tolist() == [OTHER, THIRD]
    np.testing.assert_allclose(given.p_holm, intervals.holm([p[2], p[0]]))


def test_the_verdict_says_what_the_table_says(run):
    told = verdicts.verdict(run, FRECHET, [ARM, THIRD])
    different = verdicts.compare(run, FRECHET, [ARM, THIRD]).different[0]
    assert told.startswith(f"{THIRD} is better than {ARM}" if different else "These 8 photos cannot tell")
    assert verdicts.verdict(run, FRECHET, [ARM, OTHER, THIRD]).count(" photos") >= 2


def test_only_common_scenes_are_compared(run, demo_judges):
    fewer = "caption-none-g7.5"
    draw(run, fewer, seed=5)
    for scene in run.scenes[:3]:
        run.picture(fewer, scene).unlink()
    scores.score(run, run.scenes, [fewer], demo_judges)
    for metric in (FRECHET, "AP50", "CLIP score", "mean IoU"):
        assert verdicts.difference(run, metric, ARM, fewer)["n"] == 5
    a, b = (collect(run, run.scenes[3:], arm) for arm in (ARM, fewer))
    values = [scores.metrics_of(run)[FRECHET].distance(one.pictures, one.photos) for one in (a, b)]
    assert verdicts.difference(run, FRECHET, ARM, fewer)["difference"] == pytest.approx(values[0] - values[1])
    with pytest.raises(ValueError, match=r"different scenes; only one of them has photo-0, photo-1, photo-2"):
        verdicts.difference(run, FRECHET, ARM, fewer, strict=True)
    for scene in run.scenes[3:6]:
        run.picture(fewer, scene).unlink()
    scores.score(run, run.scenes, [fewer], demo_judges)
    with pytest.raises(intervals.TooFew, match="2 scenes"):
        verdicts.difference(run, FRECHET, ARM, fewer)


def test_equal_arms_lie_apart_by_chance(run):
    found = verdicts.equal_arms(run, ARM, OTHER, gap=0.0, draws=30)
    assert found["share"] == 1 and found["n"] == 8 and found["metric"] == FRECHET
    assert verdicts.equal_arms(run, ARM, OTHER, gap=found["median"], draws=30)["share"] == pytest.approx(
        0.5, abs=0.1
    )
    assert verdicts.equal_arms(run, ARM, OTHER, gap=1e9, draws=30)["share"] == 0


def test_what_is_not_there_is_named(run):
    with pytest.raises(ValueError, match=r"'AP5' is unknown; .*did you mean 'AP50'"):
        verdicts.difference(run, "AP5", ARM, OTHER)
    with pytest.raises(ValueError, match="has no 'labels named'"):
        verdicts.difference(run, "labels named", ARM, OTHER)
    with pytest.raises(ValueError, match="no 'AP50' of 'nowhere': score them first"):
        verdicts.best(run, "AP50", [ARM, "nowhere"])
