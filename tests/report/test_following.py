import numpy as np
import pytest

from helpers.report import comparisons, following
from helpers.runs.arms import Arm
from helpers.scoring import scores
from tests.fakes.judged import draw, load_small_judges, start

ARMS = [Arm("suffix", grounding, 2).name for grounding in ("none", "text", "image")]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Three groundings, all of them noise, over six scenes, scored with their controls."""
    run = start(tmp_path_factory.mktemp("study"))
    prompts = run.read_jsonl("prompts/caption.jsonl")
    run.write_jsonl("prompts/suffix.jsonl", prompts)
    run.write_json(
        "choices/template.json", {"template": "suffix", "guidance_scale": 2, "compared": ["suffix"]}
    )
    for seed, arm in enumerate(ARMS):
        draw(run, arm, seed)
    judges = load_small_judges(tmp_path_factory.mktemp("judges"))
    scores.score(run, run.scenes, ARMS, judges)
    scores.score_controls(run, run.scenes, ARMS[1], judges)
    return run


def test_every_metric_of_pictures_stands_in_one_table_and_what_is_counted_in_the_last(run):
    *groups, counted = comparisons.groups(run).values()
    shown = [metric for group in groups for metric in group]
    assert len(shown) == len(set(shown))
    assert set(shown) == set(scores.metrics_of(run)) - {"labels named", "variety"}
    assert {"missing pictures", "constant pictures", "truncated prompts"} <= set(counted)
    assert not set(counted) & set(shown)


def test_the_area_under_the_accuracy_is_the_mean_iou(run):
    table, values = following.accuracy(run), run.scores().set_index(["arm", "metric"]).value
    for arm in (scores.PHOTOS, *ARMS):
        curve = table[table.arm == arm]
        assert np.trapezoid(curve.share, curve.threshold) == pytest.approx(values[arm, "mean IoU"], abs=0.02)
        assert curve.share.is_monotonic_decreasing and curve.share.iloc[0] == 1


def test_the_photos_stand_beside_the_chosen_arm(run):
    table = following.boxes_by(run, "label").set_index("label")
    assert table.boxes.sum() == 12 and {"AP50", "AP50 in photos", "mean IoU in photos"} <= set(table)


def test_scenes_are_ranked_by_what_was_found(run):
    table = following.per_scene(run, ARMS[1])
    shares = [table.found[scene.name] / table.boxes[scene.name] for scene in following.ranked(run)]
    assert len(shares) == len(run.scenes) and shares == sorted(shares, reverse=True)


def test_a_picture_qualifies_when_all_its_boxes_do(run):
    rows = [
        {"scene": "a", "box": k, "label": "x", "found": k < 2, "iou": 0.6, "crop_correct": True}
        for k in range(3)
    ]
    rows += [{"scene": "b", "box": 0, "label": "x", "found": True, "iou": 0.6, "crop_correct": True}]
    run.write_jsonl("boxes/other.jsonl", rows)
    assert following.per_scene(run, "other").qualifies.to_dict() == {"a": False, "b": True}


def test_seeds_stand_side_by_side_where_there_are_two(run):
    assert list(comparisons.seed_names(run)) == ARMS
    draw(run, Arm("suffix", "text", 2, seed=1).name)
    names = comparisons.seed_names(run)
    assert names["suffix-text-g2-s1"] == "text grounding, another seed" and len(names) == 4


def test_a_sweep_knows_every_arm_and_names_those_without_scores(run):
    table = comparisons.sweep(run)
    assert set(table.arm) == {Arm("suffix", kind, 2).name for kind in ("none", "text", "image")}
    assert set(table.guidance_scale) == {2} and set(table.grounding) == {"none", "text", "image"}
    draw(run, "suffix-text-g11")
    with pytest.raises(FileNotFoundError, match=r"no scores of suffix-text-g11; .* 04_fid"):
        comparisons.sweep(run)
