"""The classification accuracy score, on crops whose answer is known and against a classifier trained anew."""

import numpy as np

from helpers.scoring import classification
from helpers.scoring.classification import RIDGE, named

LABELS = [("cone", "truck"), ("truck",), ("cone", "crate"), ("crate", "cone", "truck"), ("crate",)] * 4
KINDS = ("cone", "truck", "crate")
SHAPES = {kind: np.random.default_rng(k).normal(0, 40, 48) for k, kind in enumerate(KINDS)}


def crops(labels, noise=20.0, seed=0):
    """Pixels (k, 48) per scene: the shape of each label in noise."""
    rng = np.random.default_rng(seed)
    drawn = [[128 + SHAPES[label] + rng.normal(0, noise, 48) for label in some] for some in labels]
    return [np.clip(some, 0, 255).astype(np.uint8).reshape(-1, 48) for some in drawn]


def share(*parts):
    return np.concatenate(named(*parts)).mean()


def test_pictures_of_the_right_things_teach_what_photos_show():
    photos = crops(LABELS, seed=1)
    right = named(crops(LABELS), LABELS, photos, LABELS)
    assert [len(some) for some in right] == [len(some) for some in LABELS]
    assert np.concatenate(right).mean() > 0.95


def test_pictures_of_other_things_teach_nothing():
    other = dict(zip(SHAPES, ("truck", "crate", "cone"), strict=True))
    drawn = crops([[other[label] for label in some] for some in LABELS])
    assert share(drawn, LABELS, crops(LABELS, seed=1), LABELS) < 0.1


def test_a_scene_is_tested_by_a_classifier_that_never_saw_its_picture():
    """Noise of which each picture repeats its own photo: learnt by heart, it would name everything."""
    photos = [np.random.default_rng(k).integers(0, 256, (len(some), 48)) for k, some in enumerate(LABELS)]
    assert share(photos, LABELS, photos, LABELS) < 0.65


def test_leaving_a_scene_out_is_training_without_it():
    drawn, photos = crops(LABELS, 90), crops(LABELS, 90, 1)
    right = named(drawn, LABELS, photos, LABELS)
    x, said = np.concatenate(drawn).astype(float), np.array([label for some in LABELS for label in some])
    names, centre = np.unique(said), x.mean(0)
    targets = (said[:, None] == names).astype(float)
    shares, ridge = targets.mean(0), RIDGE * np.square(x - centre).sum() / len(x)
    own = np.repeat(np.arange(len(LABELS)), [len(some) for some in LABELS])
    for scene, labels in enumerate(LABELS):
        kept, found = own != scene, photos[scene] - centre
        kernel = (x[kept] - centre) @ (x[kept] - centre).T + ridge * np.eye(kept.sum())
        scores = found @ (x[kept] - centre).T @ np.linalg.solve(kernel, (targets - shares)[kept]) + shares
        assert np.array_equal(names[scores.argmax(1)] == labels, right[scene])


def test_scenes_without_boxes_and_flat_pictures_are_no_error():
    flat, labels = [np.full((len(some), 3), 7, np.uint8) for some in (*LABELS, ())], [*LABELS, ()]
    right = named(flat, labels, flat, labels)
    assert len(right[-1]) == 0 and np.isin(np.concatenate(right), (0, 1)).all()


def test_of_many_boxes_those_of_the_first_scenes_are_learnt(monkeypatch):
    monkeypatch.setattr(classification, "MOST", 20)
    assert share(crops(LABELS), LABELS, crops(LABELS, seed=1), LABELS) > 0.9
