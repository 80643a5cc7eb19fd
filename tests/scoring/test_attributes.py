"""How even categories of pictures are, and how often the one asked for is shown, against values by hand."""

import math

import numpy as np
import pytest

from helpers.scoring import scores, verdicts
from helpers.scoring.attributes import Categories, chance, classify, divergence, kl_to_uniform
from helpers.scoring.metrics import interval, metrics
from helpers.scoring.verdicts import NotJudged
from tests.fakes.judged import draw, load_small_judges, start

KL = metrics(False)["attribute KL"]


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ((5, 5, 5), 0),
        ((9, 0, 0), math.log(3)),
        ((3, 1), 0.75 * math.log(1.5) + 0.25 * math.log(0.5)),
        ((2, 1, 1, 0), 0.5 * math.log(2) + 0.5 * math.log(1)),
    ],
)
def test_kl_to_uniform_by_hand(counts, expected):
    assert kl_to_uniform(np.array(counts)) == pytest.approx(expected, abs=1e-12)


def test_chance_is_what_an_even_draw_shows_on_average():
    assert chance(3, 96) == pytest.approx(1 / 96)
    rng, n = np.random.default_rng(0), 96
    values = [kl_to_uniform(np.bincount(rng.integers(3, size=n), minlength=3)) for _ in range(3000)]
    assert np.mean(values) == pytest.approx(chance(3, n), rel=0.1)


def test_a_picture_is_of_the_category_whose_mean_text_is_nearest():
    texts = np.array([[[1.0, 0.0], [0.6, 0.8]], [[0.0, 1.0], [0.0, 1.0]]])
    assert classify(np.array([[1.0, 0.1], [0.1, 1.0]]), texts).tolist() == [0, 1]


def test_divergence_is_left_out_scene_by_scene():
    found = divergence(Categories(np.array([0, 0, 1]), 2))
    assert found.value == pytest.approx(kl_to_uniform(np.array([2, 1])))
    assert found.left_out == pytest.approx([0, 0, math.log(2)])


def test_categories_that_are_perfectly_even_are_not_known_exactly():
    for n in (12, 48, 96):
        found = interval(KL, divergence(Categories(np.arange(n) % 3, 3)))
        assert found.value == 0 and found.low == 0 and 0.4 / n < found.high < 2 / n


@pytest.mark.parametrize("shares", [(1 / 3, 1 / 3, 1 / 3), (0.6, 0.3, 0.1), (0.85, 0.1, 0.05)])
def test_the_interval_holds_the_truth_as_often_as_it_says(shares):
    rng, truth, held = np.random.default_rng(1), kl_to_uniform(np.array(shares)), []
    for _ in range(400):
        found = interval(KL, divergence(Categories(rng.choice(3, 96, p=shares), 3)))
        held.append(found.low <= truth + 1e-12 and truth <= found.high)
    assert 0.91 <= np.mean(held) <= 0.99


@pytest.fixture(scope="module")
def judges(tmp_path_factory):
    return load_small_judges(tmp_path_factory.mktemp("judges"))


def started(folder, right=1.0):
    """A run with two arms of an attribute: one that asks for categories, one that does not."""
    run = start(folder)
    categories = ["in a field", "on a street"]
    texts = {category: [f"a cone {category}"] for category in categories}
    about = {"attribute": "place", "categories": categories, "texts": texts, "right": right}
    run.write_json("tokens/place.json", about)
    for template in ("place_tokens", "place_bare"):
        rows = [
            {"scene": scene.name, "prompt": "a cone", "truncated": False, "attribute": "place"}
            | {"category": categories[k % 2] if template == "place_tokens" else None}
            for k, scene in enumerate(run.scenes)
        ]
        run.write_jsonl(f"prompts/{template}.jsonl", rows)
    for seed, arm in enumerate(("place_tokens-text-g2", "place_bare-text-g2", "caption-text-g2")):
        draw(run, arm, seed)
    return run, ("place_tokens-text-g2", "place_bare-text-g2", "caption-text-g2")


def test_arms_of_an_attribute_have_its_scores_and_no_others_do(tmp_path, judges):
    run, (tokens, bare, caption) = started(tmp_path)
    table = scores.score(run, run.scenes, [tokens, bare, caption], judges).set_index(["arm", "metric"])
    assert table.group[tokens, "attribute KL"] == "Attributes" and table.lower_is_better[bare, "attribute KL"]
    assert 0 <= table.value[tokens, "hit rate"] <= 1 and table.n[tokens, "hit rate"] == 6
    assert (bare, "attribute KL") in table.index and (bare, "hit rate") not in table.index
    assert not any((caption, metric) in table.index for metric in ("attribute KL", "hit rate"))
    row = verdicts.difference(run, "attribute KL", tokens, bare)
    values = table.value.xs("attribute KL", level="metric")
    assert row["difference"] == pytest.approx(values[tokens] - values[bare]) and 0 < row["p"] <= 1


def test_where_clip_does_not_know_the_reference_photos_there_is_no_claim(tmp_path, judges):
    run, (tokens, bare, _) = started(tmp_path, right=0.97)
    table = scores.score(run, run.scenes, [tokens, bare], judges)
    rows = table[table.metric.isin(["attribute KL", "hit rate"])]
    said = "not judged: CLIP names the place of 0.97 of the reference photos rightly, fewer than 0.98"
    assert len(rows) == 3 and rows.value.isna().all() and set(rows.reason) == {said}
    with pytest.raises(NotJudged, match=r"0\.97 of the reference photos"):
        verdicts.compare(run, "attribute KL", [tokens, bare])
