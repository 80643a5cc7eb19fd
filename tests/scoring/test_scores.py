import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from helpers.generation.draw import draw_round_trip
from helpers.models import loading
from helpers.models.sets import model_set
from helpers.runs.run import Run
from helpers.scenes import images
from helpers.scoring import extraction, features, measurements, scores
from helpers.scoring.measurements import Measurements, collect
from helpers.scoring.metrics import (
    ATTRIBUTES,
    CAPTIONS,
    COMMON,
    EDITS,
    FOUND,
    SEEDS,
    applies,
    measure,
    metrics,
)
from tests.fakes.judged import draw, load_small_judges, start

ARM, SIBLING = "caption-text-g7.5", "caption-text-g7.5-s1"
KID = "KID × 1000 (EfficientNet-Lite0)"
OWN, CROSSED = (f"Fréchet distance (EfficientNet-Lite0) {of}" for of in ("to their own photos", "crossed"))


@pytest.fixture(scope="module")
def demo_judges(tmp_path_factory):
    return load_small_judges(tmp_path_factory.mktemp("judges"))


def values(table) -> dict[str, float]:
    return table.set_index("metric")["value"].to_dict()


def test_models_that_take_all_boxes_are_compared_on_those_that_every_model_takes():
    """In the crowd the 30 largest are found and the others are not."""
    sides = np.linspace(0.9, 0.1, 40)
    crowd = SimpleNamespace(boxes=np.stack([0 * sides, 0 * sides, sides, sides], axis=1))
    small = SimpleNamespace(boxes=crowd.boxes[:2])
    known, scenes = metrics(inception=False), ("a", "b", "c")
    for layouts, value in (((crowd, small, small), 1.0), ((small,) * 3, None)):
        e = Measurements(scenes, {}, layouts=layouts, detections=())
        vars(e)["ious"] = tuple(np.where(np.arange(len(one.boxes)) < 30, 0.9, 0.1) for one in layouts)
        assert applies(known[COMMON], e) == (value is not None)
    e = Measurements(scenes, {}, layouts=(crowd, small, small), detections=())
    vars(e)["ious"] = (np.repeat([0.9, 0.1], [30, 10]), np.full(2, 0.9), np.full(2, 0.9))
    assert measure(known[COMMON], e).value == 1 and measure(known[FOUND], e).value == 34 / 44


def test_every_metric_has_a_value_inside_its_interval(tmp_path, demo_judges):
    run = start(tmp_path)
    draw(run, ARM)
    table = scores.score(run, run.scenes, [ARM], demo_judges)
    known = metrics(inception=False)
    asked = {name for name in known if known[name].group not in (SEEDS, CAPTIONS, EDITS, ATTRIBUTES)}
    asked -= {name for name in known if known[name].crowded}
    assert asked <= set(table.metric)
    assert (table.low <= table.value).all() and (table.value <= table.high).all()
    for name, metric in metrics(inception=False).items():
        least, most = metric.limits
        assert table[table.metric == name][["low", "value", "high"]].stack().between(least, most).all(), name
    assert (table.n == 6).all() and (table.arm == ARM).all()
    assert values(table)["truncated prompts"] == 1
    assert scores.realism(model_set("demo")) == KID in asked
    assert scores.realism(model_set("published")) == "KID × 1000 (Inception)"
    assert set(table.kind) == {"ours"} and set(table.template) == {"caption"} and set(table.seed) == {0}
    directions = table.dropna(subset="lower_is_better").set_index("metric").lower_is_better
    assert directions[KID] and not directions["AP"]
    assert set(table[table.group == "Counted"].metric) >= {"missing pictures", "truncated prompts"}
    rows = run.boxes(ARM)
    assert len(rows) == 12 and rows.iou.mean() == pytest.approx(values(table)["mean IoU"])
    assert rows.found.mean() == pytest.approx(values(table)["found at IoU 0.5"])
    assert rows.crop_correct.mean() == pytest.approx(values(table)["crop accuracy"])


def test_pictures_that_are_the_photos_are_at_distance_zero(tmp_path, demo_judges):
    run = start(tmp_path)
    for scene in run.scenes:
        photo = images.fit(scene.photo(), 32)
        images.save(photo, run.picture("mine", scene))
    found = values(scores.score(run, run.scenes, ["mine"], demo_judges))
    assert found[OWN] == 0 and found[KID] == pytest.approx(0, abs=1e-9) and found[CROSSED] > 0
    among = scores.score_controls(run, run.scenes, "mine", demo_judges)
    assert values(among[among.arm == scores.PHOTOS])[CROSSED] == pytest.approx(found[CROSSED])
    draw(run, ARM)
    assert values(scores.score(run, run.scenes, [ARM], demo_judges))[OWN] > 0


def test_a_picture_is_judged_once_and_again_when_it_changed(tmp_path, demo_judges, monkeypatch):
    run, seen = start(tmp_path), []
    draw(run, ARM)
    first = scores.score(run, run.scenes, [ARM], demo_judges)
    real = features.detect
    monkeypatch.setattr(features, "detect", lambda *a, **k: seen.append(len(a[1])) or real(*a, **k))
    file = run.folder / "scores" / f"{ARM}.json"
    before = file.stat().st_mtime_ns
    assert scores.score(run, run.scenes, [ARM], demo_judges).equals(first)
    assert seen == [] and file.stat().st_mtime_ns == before
    images.save(Image.effect_noise((32, 32), 90).convert("RGB"), run.picture(ARM, run.scenes[2]))
    changed = scores.score(run, run.scenes, [ARM], demo_judges)
    assert seen == [1]
    assert values(changed)[KID] != values(first)[KID]


def test_an_arm_is_measured_again_only_where_something_changed(tmp_path, demo_judges, monkeypatch):
    run, measured = start(tmp_path), []
    draw(run, ARM)
    scores.score(run, run.scenes, [ARM], demo_judges)
    real = scores.measure
    monkeypatch.setattr(scores, "measure", lambda *one: measured.append(one) or real(*one))
    scores.score(run, run.scenes, [ARM], demo_judges)
    assert not measured
    changes = {
        "a picture": lambda: images.save(Image.new("RGB", (32, 32), "red"), run.picture(ARM, run.scenes[2])),
        "the code": lambda: monkeypatch.setattr(measurements, "_code", lambda: [b"other"]),
        "a file": lambda: (run.folder / "boxes" / f"{ARM}.jsonl").unlink(),
        "an earlier version": lambda: np.savez(run.folder / "scores" / f"{ARM}.npz", values=np.zeros(3)),
    }
    for change in changes.values():
        change()
        measured.clear()
        scores.score(run, run.scenes, [ARM], demo_judges)
        assert measured
    changes["an earlier version"]()
    with pytest.raises(FileNotFoundError, match="of an earlier version; run the notebooks again"):
        scores.arm_scores(run, ARM)


def test_scores_do_not_depend_on_how_many_pictures_are_in_memory(tmp_path, demo_judges, monkeypatch):
    tables = []
    for chunk in (64, 2):
        monkeypatch.setattr(extraction, "CHUNK", chunk)
        run = start(tmp_path / str(chunk))
        draw(run, ARM)
        tables.append(scores.score(run, run.scenes, [ARM], demo_judges))
    np.testing.assert_allclose(tables[0].value, tables[1].value, atol=1e-4)


def test_scores_do_not_depend_on_how_many_arms_are_measured_at_a_time(tmp_path, demo_judges, monkeypatch):
    arms, tables = [f"caption-text-g{scale}" for scale in (1, 2, 5, 7.5)], []
    for number in ("1", "3"):
        monkeypatch.setenv("OMP_NUM_THREADS", number)
        run = start(tmp_path / number)
        for place, arm in enumerate(arms):
            draw(run, arm, place)
        tables.append(scores.score(run, run.scenes, arms, demo_judges))
    first, second = (table[["arm", "metric", "n", "reason"]] for table in tables)
    pd.testing.assert_frame_equal(first, second)
    assert list(dict.fromkeys(first.arm)) == arms
    for column in ("value", "low", "high"):
        np.testing.assert_allclose(tables[0][column], tables[1][column], atol=1e-9)


def test_an_arm_that_fails_beside_others_fails_the_scoring(tmp_path, demo_judges, monkeypatch):
    run, real = start(tmp_path), scores.interval
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    for arm in (ARM, SIBLING):
        draw(run, arm)
    broken = iter([ValueError("a metric of the first arm")])

    def interval(*given):
        for error in broken:
            raise error
        return real(*given)

    monkeypatch.setattr(scores, "interval", interval)
    with pytest.raises(ValueError, match="a metric of the first arm"):
        scores.score(run, run.scenes, [ARM, SIBLING], demo_judges)


def test_what_cannot_be_scored_is_counted_and_left_out(tmp_path, demo_judges):
    run = start(tmp_path, count=8)
    draw(run, ARM, dropped_phrases='["a cone"]')
    paths = [run.picture(ARM, scene) for scene in run.scenes]
    paths[0].unlink()
    paths[1].write_bytes(paths[1].read_bytes()[:200])
    images.save(Image.new("RGB", (32, 32), "black"), paths[2])
    images.save(Image.effect_noise((32, 32), 90).convert("RGB"), paths[3], {"flagged": "true"})
    table = scores.score(run, run.scenes, [ARM], demo_judges)
    found = values(table)
    assert (found["missing pictures"], found["constant pictures"], found["flagged pictures"]) == (2, 1, 1)
    assert found["dropped boxes"] == 4
    assert (table.n == 4).all()
    assert set(run.boxes(ARM).scene) == {scene.name for scene in run.scenes[4:]}


def test_too_few_pictures_are_said_and_none_at_all_is_an_error(tmp_path, demo_judges):
    run = start(tmp_path)
    draw(run, ARM)
    for scene in run.scenes[2:]:
        run.picture(ARM, scene).unlink()
    scores.score(run, run.scenes, [ARM], demo_judges)
    rows = {row["metric"]: row for row in json.loads((run.folder / "scores" / f"{ARM}.json").read_text())}
    assert rows[KID]["value"] is None and rows[KID]["reason"] == "2 scenes, at least 3 are needed"
    assert rows["missing pictures"]["value"] == 4
    for scene in run.scenes[:2]:
        run.picture(ARM, scene).unlink()
    with pytest.raises(
        ValueError, match=f"'{ARM}': none of 6 scenes has a usable picture .*'missing pictures': 6"
    ):
        scores.score(run, run.scenes, [ARM], demo_judges)


def test_another_seed_gives_a_variety(tmp_path, demo_judges):
    run = start(tmp_path)
    draw(run, ARM)
    draw(run, SIBLING)
    draw(run, "caption-text-g11-s1", seed=3)
    table = scores.score(run, run.scenes, [ARM, SIBLING, "caption-text-g11-s1"], demo_judges)
    assert table[table.metric == "variety"].arm.tolist() == [SIBLING]  # the later of the two has it
    assert values(table[table.arm == SIBLING])["variety"] == pytest.approx(0, abs=1e-6)
    draw(run, SIBLING, seed=1)
    run.picture(ARM, run.scenes[0]).unlink()
    table = scores.score(run, run.scenes, [SIBLING], demo_judges)
    assert values(table)["variety"] > 1e-4


def test_the_controls(tmp_path, demo_judges, monkeypatch):
    run = start(tmp_path)
    draw(run, ARM)
    scores.score(run, run.scenes, [ARM], demo_judges)

    class Half:
        """An autoencoder that halves the contrast."""

        def encode(self, x: torch.Tensor) -> SimpleNamespace:
            return SimpleNamespace(latent_dist=SimpleNamespace(mode=lambda: x))

        def decode(self, z: torch.Tensor) -> SimpleNamespace:
            return SimpleNamespace(sample=z / 2)

    gligen = SimpleNamespace(vae=Half(), device=torch.device("cpu"), dtype=torch.float32)
    monkeypatch.setattr(loading, "load_gligen", lambda *_: gligen)
    monkeypatch.setattr(loading, "release", lambda _: None)
    assert scores.ROUND_TRIP not in set(scores.score_controls(run, run.scenes, ARM, demo_judges).arm)
    assert [draw_round_trip(run), draw_round_trip(run)] == [6, 0]
    table = scores.score_controls(run, run.scenes, ARM, demo_judges).set_index(["arm", "metric"])
    assert set(table.kind) == {"control"}
    photos = table.loc[scores.PHOTOS]
    assert photos.n[KID] == 3 and photos.low[KID] < photos.value[KID] < photos.high[KID]
    assert np.isnan(photos.value[OWN]) and photos.reason[OWN] == "each photo is its own"
    assert photos.n[CROSSED] == 6 and photos.value[CROSSED] > 0
    assert photos.n["AP50"] == 6
    assert "missing pictures" not in photos.index
    assert set(table.loc[scores.SHUFFLED + ARM].index) == {
        "mean IoU",
        "found at IoU 0.5",
        "AP",
        "AP50",
        "AP75",
        "AR",
    }
    assert table.loc[scores.CHANCE].value.to_dict() == {"R-precision": 1 / 6, "crop accuracy": 1 / 2}
    assert table.loc[scores.ROUND_TRIP].value[OWN] > 0
    back = np.asarray(images.load(run.picture(scores.ROUND_TRIP, run.scenes[0]))).astype(float)
    photo = np.asarray(images.fit(run.scenes[0].photo(), 32)).astype(float)
    np.testing.assert_allclose(back - 127.5, (photo - 127.5) / 2, atol=1)


@pytest.mark.parametrize("column", ["label", "size"])
def test_box_following_by_label_and_by_size(tmp_path, demo_judges, column):
    run = start(tmp_path)
    draw(run, ARM)
    whole = values(scores.score(run, run.scenes, [ARM], demo_judges))
    table = scores.breakdown(run, ARM, column)
    assert table.boxes.sum() == 12
    assert np.average(table.mean_iou, weights=table.boxes) == pytest.approx(whole["mean IoU"])
    assert np.isfinite(table[["AP", "AP50"]]).all(axis=None)
    if column == "label":
        assert table.AP50.mean() == pytest.approx(whole["AP50"])


def test_shuffled_boxes_are_other_scenes_boxes(tmp_path, demo_judges):
    run = start(tmp_path)
    draw(run, ARM)
    scores.score(run, run.scenes, [ARM], demo_judges)
    measurements = collect(run, run.scenes, ARM)
    shuffled = measurements.shuffled()
    own = {id(one): i for i, one in enumerate(measurements.layouts)}
    assert sorted(own[id(one)] for one in shuffled.layouts) == list(range(6))
    assert all(own[id(one)] != i for i, one in enumerate(shuffled.layouts))
    assert shuffled.detections is measurements.detections


def test_captions_against_their_photos(tmp_path, demo_judges):
    run = start(tmp_path)
    rows = run.read_jsonl("captions/opt.jsonl")
    rows[0] |= {"generated_text": "", "flags": ["empty"]}
    run.write_jsonl("captions/t5.jsonl", rows)
    table = (
        scores.score_captions(run, run.scenes, ["opt", "t5"], demo_judges).set_index(["arm", "metric"]).value
    )
    assert table[f"{scores.CAPTIONER}opt", "empty captions"] == 0
    assert table[f"{scores.CAPTIONER}t5", "empty captions"] == 1
    # every caption names cone and crate; the first scene's second label is another one
    assert table[f"{scores.CAPTIONER}opt", "labels named"] == pytest.approx((0.5 + 5) / 6)
    assert table[f"{scores.CAPTIONER}t5", "labels named"] == pytest.approx(5 / 6)
    assert {"CLIP score", "R-precision"} <= set(table[f"{scores.CAPTIONER}opt"].index)


def test_boxes_that_were_cropped_away_are_not_asked_for(tmp_path, demo_judges):
    run = start(tmp_path, fit="crop")
    entries = json.loads((tmp_path / "photos" / "annotations.json").read_text())
    Image.new("RGB", (128, 64), "red").save(tmp_path / "photos" / "photo-1.png")
    entries[1] |= {"width": 128, "bboxes": [[0, 0, 20, 60], [40, 10, 90, 60]]}
    (tmp_path / "photos" / "annotations.json").write_text(json.dumps(entries))
    run = Run(run.folder)
    draw(run, ARM)
    scores.score(run, run.scenes, [ARM], demo_judges)
    rows = run.boxes(ARM)
    assert rows[rows.scene == "photo-1"].label.tolist() == ["crate"]
    assert len(rows) == 11


def test_without_judges_only_what_is_known_is_told(tmp_path, demo_judges):
    run = start(tmp_path)
    draw(run, ARM)
    with pytest.raises(LookupError, match=f"arm '{ARM}': .* not in the run folder; score it first"):
        collect(run, run.scenes, ARM)
    scores.score(run, run.scenes, [ARM], demo_judges)
    assert collect(run, run.scenes, ARM).image_embeds.shape == (6, 16)
