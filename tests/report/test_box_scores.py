import json
from dataclasses import replace

import numpy as np
import pytest
from bs4 import BeautifulSoup
from PIL import Image

from helpers.report import answers, box_scores, comparisons, gallery
from helpers.report.comparisons import ELSEWHERE
from helpers.runs.arms import Arm
from helpers.runs.layouts import given_boxes
from helpers.scenes import boxes as rectangles
from helpers.scenes import images
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
    *groups, counted = (one.metrics for one in comparisons.everything(run))
    shown = [metric for group in groups for metric in group]
    assert len(shown) == len(set(shown))
    known = {name: one for name, one in scores.metrics_of(run).items() if not one.crowded}
    assert set(shown) == {name for name, one in known.items() if one.group not in ELSEWHERE}
    assert {"missing pictures", "constant pictures", "truncated prompts"} <= set(counted)
    assert not set(counted) & set(shown)


def test_fewer_boxes_are_found_the_more_iou_is_asked_for(run):
    table, values = box_scores.by_iou(run).set_index("arm"), run.scores().set_index(["arm", "metric"]).value
    assert list(table.index) == ["photos", "no grounding", "text grounding", "text + image grounding"]
    for arm, row in zip((scores.PHOTOS, *ARMS), table.to_numpy(), strict=True):
        assert (np.diff(row[:-1]) <= 0).all() and row[-1] == pytest.approx(values[arm, "mean IoU"])
        assert row[box_scores.THRESHOLDS.index(0.5)] == pytest.approx(values[arm, "found at IoU 0.5"])


def test_the_photos_stand_beside_the_chosen_arm(run):
    table = box_scores.by_group(run, "label").set_index("label")
    assert table.boxes.sum() == 12 and {"AP50", "AP50 in photos", "mean IoU in photos"} <= set(table)


def test_scenes_are_ranked_worst_first_and_sampled_with_both_ends(run):
    table, ranked = box_scores.by_scene(run, ARMS[1]), box_scores.ranked(run)
    shares = [table.found[scene.name] / table.boxes[scene.name] for scene in ranked]
    assert len(shares) == len(run.scenes) and shares == sorted(shares)
    names = [scene.name for scene in ranked]
    assert [one.name for one in box_scores.ranked(run, 3)] == [names[0], names[2], names[5]]
    assert len(box_scores.ranked(run, 99)) == 6 and len(box_scores.ranked(run, 1)) == 1


def write_boxes(run, arm, found):
    """One row per box of photo-0; of those after the second, boxes that the scene does not have."""
    rows = [
        {"scene": scene, "box": k, "label": "x", "found": one, "iou": 0.6, "crop_correct": True}
        for scene, marks in found.items()
        for k, one in enumerate(marks)
    ]
    run.write_jsonl(f"boxes/{arm}.jsonl", rows)


def test_a_picture_qualifies_when_all_its_boxes_do(run):
    write_boxes(run, "other", {"a": [True, True, False], "b": [True]})
    assert box_scores.by_scene(run, "other").qualifies.to_dict() == {"a": False, "b": True}


def test_boxes_over_30_are_neither_found_nor_missed(run, monkeypatch):
    monkeypatch.setattr(rectangles, "PLACES", 1)
    write_boxes(run, "crowd", {"photo-0": [True, True], "photo-1": [True, False]})
    assert box_scores.by_box(run, "crowd").mark.tolist() == [
        *("not given to the model", "found"),
        *("not given to the model", "missed"),
    ]
    table = box_scores.by_scene(run, "crowd")
    assert table.boxes.tolist() == [1, 1] and table.dropped.tolist() == [1, 1]
    assert table.qualifies.tolist() == [True, False]
    lines = [box_scores.count(row) for _, row in table.iterrows()]
    assert lines[1] == "0 of 1 boxes found (1 more were not given)"


def test_boxes_that_the_record_of_a_picture_calls_dropped_are_marked_so(run):
    """Such as those of no class of LayoutDiffusion; of two equal boxes the one with that phrase alone."""
    arm, none = "suffix-layoutdiffusion-g2", {"dropped_boxes": "[]", "dropped_phrases": "[]"}
    first, second = run.scenes[0].boxes
    draw(run, arm, **none)
    write_boxes(run, arm, {"photo-0": [False, True], "photo-1": [True, False]})
    assert box_scores.by_box(run, arm).mark.tolist() == ["missed", "found", "found", "missed"]
    for phrase, marks in (("a crate", ["missed", "not given to the model"]), ("a cone", ["missed", "found"])):
        record = {"dropped_boxes": json.dumps([second.tolist()]), "dropped_phrases": json.dumps([phrase])}
        images.save(Image.new("RGB", (32, 32)), run.picture(arm, "photo-0"), record)
        run.write_json(f"scores/{arm}.json", [{"metric": "dropped boxes", "value": 1, "n": 2}])
        assert box_scores.by_box(run, arm).mark.tolist() == [*marks, "found", "missed"]
    (run.folder / "scores" / f"{arm}.json").unlink()
    twins = replace(run.scenes[0], boxes=np.stack([second, second]))
    images.save(
        Image.new("RGB", (32, 32)), run.picture(arm, "photo-0"), record | {"dropped_phrases": '["a crate"]'}
    )
    assert [one.tolist() for one in given_boxes(run, arm, twins)] == [[0], [1]]
    draw(run, "suffix-none-g2", **none)  # is given none, and judged by those that others are given
    crowd = replace(run.scenes[0], boxes=np.tile(first, (40, 1)), phrases=("x",) * 40, labels=("x",) * 40)
    assert len(given_boxes(run, "suffix-none-g2", crowd)[1]) == 10


def test_no_box_is_dropped_of_an_arm_whose_model_takes_them_all(run):
    phrases = {"phrases": ("x",) * 40, "labels": ("x",) * 40}
    crowd = replace(run.scenes[0], boxes=np.tile([0, 0, 0.5, 0.5], (40, 1)), **phrases)
    for arm, many in (("caption-text-g2", 30), ("suffix-flux3", 40), ("photos", 30), ("elsewhere", 30)):
        kept, dropped = given_boxes(run, arm, crowd)
        assert len(kept) == many and len(dropped) == 40 - many, arm


def test_found_and_missed_boxes_are_marked_in_photo_and_pictures(run):
    page = BeautifulSoup(
        gallery.compare(run, run.scenes[:1], {ARMS[1]: "text"}, scored=True).data, "html.parser"
    )
    marks = box_scores.by_box(run, ARMS[1])
    missed = (marks[marks.scene == "photo-0"].mark == "missed").sum()
    photo, picture = page.find_all("figure")
    assert len(picture.find_all("rect", attrs={"stroke-dasharray": True})) == missed
    assert "of 2 boxes found" in photo.figcaption.text and "of 2 boxes found" in picture.figcaption.text


def test_the_report_opens_with_how_many_boxes_were_not_given(run, monkeypatch):
    run.card["protocol"] |= {"steps": 2}
    run.card |= {"started": "today"}
    assert "not given" not in answers.opening(run).data
    monkeypatch.setattr(answers, "PLACES", 1)
    assert "not given <b>6</b>" in answers.opening(run).data


def test_question_five_says_under_which_licence_pictures_are(run, monkeypatch):
    assert not [line for line in answers.training(run).grounds if "Read before" in line]
    monkeypatch.setattr(type(run), "licences", lambda run, arms: {"FLUX": "terms"})
    assert "Read before you train: pictures of FLUX are under terms." in answers.training(run).grounds


def test_seeds_stand_side_by_side_where_there_are_two(run):
    assert list(comparisons.seeds(run).names) == ARMS
    draw(run, Arm("suffix", "text", 2, seed=1).name)
    names = comparisons.seeds(run).names
    assert names["suffix-text-g2-s1"] == "text grounding, another seed" and len(names) == 4


def test_a_sweep_knows_every_arm_and_names_those_without_scores(run):
    table = run.scores(comparisons.sweep(run).names)
    assert set(table.arm) == {Arm("suffix", kind, 2).name for kind in ("none", "text", "image")}
    assert set(table.guidance_scale) == {2} and set(table.grounding) == {"none", "text", "image"}
    draw(run, "suffix-text-g11")
    with pytest.raises(FileNotFoundError, match=r"no scores of suffix-text-g11; .* 04_fid"):
        comparisons.sweep(run)
