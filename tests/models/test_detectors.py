"""Detectors of the user's own: which checkpoints, which labels, and what they find."""

import json

import numpy as np
import pytest
from PIL import Image

from helpers.models.checkpoints import CheckpointMissing
from helpers.models.detectors import classes_of, detector_checkpoint, match_labels, parse_labels
from helpers.models.loading import load_detector
from helpers.parameters import ParameterError
from helpers.scoring import features
from tests.fakes.detectors import write_detector
from tests.fakes.owlv2 import write_owlv2


def test_labels_match_by_name_whatever_the_case_blanks_and_lines():
    matched = match_labels(
        ["Hard-Hat", "cone", "crate", "Face mask"], ["hardhat", "CONE", "face_mask", "x"], {}
    )
    assert matched == {"Hard-Hat": "hardhat", "cone": "CONE", "crate": None, "Face mask": "face_mask"}
    given = parse_labels("  crate=x   hard_hat=face mask ")
    assert given == {"crate": "x", "hard_hat": "face mask"}
    again = match_labels(matched, ["hardhat", "CONE", "face_mask", "x"], given)
    assert again == {"Hard-Hat": "face_mask", "cone": "CONE", "crate": "x", "Face mask": "face_mask"}
    assert match_labels(matched, ["hardhat", "CONE", "face_mask", "x"], again) == again
    assert match_labels(["worker", "cone"], None, {"worker": "person"}) == {"worker": "person"}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"crane": "x"}, "'crane': no box has this label; choose one of 'crate'; did you mean 'crate'"),
        ({"crate": "Z"}, "'Z': the detector has no such class; choose one of 'x'"),
    ],
)
def test_a_map_that_names_what_is_not_there_is_refused(given, said):
    with pytest.raises(ParameterError, match=said):
        match_labels(["crate"], ["x"], given)


@pytest.mark.parametrize("text", ["crate", "=x", "crate=", "a=b c="])
def test_a_map_that_is_written_otherwise_is_refused(text):
    with pytest.raises(ParameterError, match="give LABEL=CLASS"):
        parse_labels(text)


def test_which_checkpoints_are_detectors(tmp_path):
    own = detector_checkpoint(str(write_detector(tmp_path / "own")))
    assert own.revision is None and classes_of(tmp_path / "own") == ("Cone", "hard_hat")
    assert classes_of(write_owlv2(tmp_path / "owlv2")) is None
    (tmp_path / "own" / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(ParameterError, match="'bert' is no object detector"):
        classes_of(tmp_path / "own")
    hub = detector_checkpoint("PekingU/rtdetr_r50vd@0123abc")
    assert (hub.source, hub.revision, hub.safetensors) == ("PekingU/rtdetr_r50vd", "0123abc", None)
    assert detector_checkpoint("PekingU/rtdetr_r50vd").revision == "main"
    with pytest.raises(ParameterError, match="no such folder, and not the name of a hub repository"):
        detector_checkpoint("nowhere")


@pytest.mark.parametrize("kind", ["yolos", "detr", "rt_detr"])
def test_detections_are_those_of_the_library(kind, tmp_path):
    folder, rng = write_detector(tmp_path / kind, kind), np.random.default_rng(0)
    detector = load_detector(
        detector_checkpoint(str(folder)), "cpu", labels={"worker": "hard_hat", "crate": None}
    )
    assert not detector.model.training and not any(one.requires_grad for one in detector.model.parameters())
    shown = [Image.fromarray(rng.integers(0, 256, (40, 60, 3), dtype=np.uint8)) for _ in range(3)]
    labels = ["cone", "worker", "crate"]
    found = features.detect(detector, shown, labels, threshold=0.0, batch_size=2)
    inputs = detector.processor(images=shown, return_tensors="pt")
    results = detector.processor.post_process_object_detection(
        detector.model(**inputs), threshold=0.0, target_sizes=[(40, 60)] * 3
    )
    for ours, theirs in zip(found, results, strict=True):
        names = [("cone", "worker")[k] for k in theirs["labels"].tolist()]
        boxes = np.clip(theirs["boxes"].numpy() / [60, 40, 60, 40], 0, 1)
        kept = [k for k in range(len(names)) if (boxes[k, 2:] > boxes[k, :2]).all()]
        assert len(ours.boxes) == len(kept) and (np.diff(ours.scores) <= 0).all()
        assert sorted(ours.labels) == sorted(names[k] for k in kept)
        np.testing.assert_allclose(np.sort(ours.scores), np.sort(theirs["scores"].numpy()[kept]), atol=1e-5)
    assert len(found[0].boxes)


def test_a_detector_that_lacks_weights_is_refused(tmp_path):
    folder = write_detector(tmp_path / "own")
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointMissing, match="lacks the weights"):
        load_detector(detector_checkpoint(str(folder)), "cpu")
