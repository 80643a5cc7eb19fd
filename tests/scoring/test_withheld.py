"""Judges that do not know the photos are not asked; a detector of the user's own is, for labels it knows."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from helpers.models.detectors import detector_checkpoint
from helpers.models.loading import load_detector
from helpers.parameters import ParameterError
from helpers.runs.protocol import knows_photos, models_of, protocol
from helpers.runs.run import Run
from helpers.scoring import scores
from helpers.scoring.measurements import collect
from tests.fakes.detectors import write_detector
from tests.fakes.judged import draw, load_small_judges, start
from tests.fakes.study import write_scenes

ARM = "caption-text-g7.5"
BY_CLIP = {"CLIP score", "R-precision", "crop accuracy", "crop similarity"}
BY_DETECTOR = {"found at IoU 0.5", "mean IoU", "AP", "AP50"}


def real(folder, **more) -> Run:
    """A run of scenes that are not said to be drawn."""
    run = start(folder)
    file = folder / "photos" / "annotations.json"
    entries = [{k: v for k, v in one.items() if k != "drawn"} for one in json.loads(file.read_text())]
    file.write_text(json.dumps(entries))
    card = json.loads((folder / "run" / "run.json").read_text())
    card["protocol"] |= more
    (folder / "run" / "run.json").write_text(json.dumps(card))
    run = Run(folder / "run")
    draw(run, ARM)
    return run


@pytest.fixture(scope="module")
def judges(tmp_path_factory):
    return load_small_judges(tmp_path_factory.mktemp("judges"))


def test_on_real_photos_the_demo_clip_and_detector_are_not_asked(tmp_path, judges):
    run = real(tmp_path)
    assert not knows_photos("demo", run.scenes) and knows_photos("published", run.scenes)
    draw(run, f"{ARM}-s1", seed=1)
    only = SimpleNamespace(efficientnet=judges.efficientnet)  # any other judge is an AttributeError
    scores.score(run, run.scenes, [ARM, f"{ARM}-s1"], only)
    scores.score_controls(run, run.scenes, ARM, only)
    scores.score_captions(run, run.scenes, ["opt"], only)
    table = run.scores()
    for metrics, judge in ((BY_CLIP | {"variety"}, "CLIP"), (BY_DETECTOR, "detector")):
        rows = table[table.metric.isin(metrics)]
        assert metrics == set(rows.metric) and rows.value.isna().all()
        assert set(rows.reason) == {f"not judged: the demo {judge} knows drawn worksites only"}
    own = table[table.arm == ARM].set_index("metric")
    assert own.value.filter(like="EfficientNet-Lite0").notna().any() and own.value["colour distance"] > 0
    assert "variety" not in own.index and table.value[table.metric == "labels named"].notna().all()
    assert all(
        row["found"] is None and row["crop_correct"] is None for row in run.read_jsonl(f"boxes/{ARM}.jsonl")
    )
    assert collect(run, run.scenes, ARM).detections is None


def test_an_own_detector_is_asked_for_the_labels_that_it_knows(tmp_path, judges):
    detector = write_detector(tmp_path / "own")
    matched = {"cone": "Cone", "crate": None}
    matched |= {label: None for label in real(tmp_path / "a").scenes[0].labels if label != "cone"}
    run = real(tmp_path / "b", detector=str(detector), detector_labels=matched)
    loaded = load_detector(detector_checkpoint(str(detector)), "cpu", labels=matched)
    some = SimpleNamespace(efficientnet=judges.efficientnet, detector=loaded)
    table = scores.score(run, run.scenes, [ARM], some).set_index("metric")
    assert table.value[sorted(BY_DETECTOR)].notna().all() and table.value[sorted(BY_CLIP)].isna().all()
    measured = collect(run, run.scenes, ARM)
    assert all(np.isfinite(iou).tolist() == [True, False] for iou in measured.ious)
    assert set(measured.precision.by["label"]) == {"cone"}
    scores.breakdown(run, ARM, "label")


def test_the_protocol_names_the_detector_and_what_it_does_not_know(tmp_path):
    folder, detector = write_scenes(tmp_path / "photos"), write_detector(tmp_path / "own")
    settings = protocol(str(folder), "demo", detector=str(detector), detector_labels="crate=hard hat")
    assert settings["detector"] == str(detector) and settings["detector_labels"]["crate"] == "hard_hat"
    assert settings["not_judged"].endswith(": 12% of the boxes, labels that the detector does not know")
    assert settings["checkpoints"]["detector own"] != "absent" and "demo owlv2" not in settings["checkpoints"]
    given = {name: settings[name] for name in ("detector", "detector_labels")}
    assert protocol(str(folder), "demo", **given) == settings
    models = models_of(settings)
    assert models.detector.source == str(detector) and models.detector_labels == settings["detector_labels"]
    assert models_of({"models": "demo"}).detector.name == "demo owlv2"
    other = write_detector(tmp_path / "other", classes=("dog",))
    with pytest.raises(ParameterError, match=r"it knows none of the labels .*DETECTOR_LABELS=.*=dog"):
        protocol(str(folder), "demo", detector=str(other))
    with pytest.raises(ParameterError, match="give the detector, too"):
        protocol(str(folder), "demo", detector_labels="crate=dog")
