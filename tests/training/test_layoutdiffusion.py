"""Layouts as LayoutDiffusion is trained on them, and what it begins with."""

import numpy as np
import torch

from data.training import gligen
from data.training.drawn_scenes import load_scenes
from data.training.layoutdiffusion import CLASSES, LENGTH, build, from_gligen, layouts
from data.training.world import ALL_PHRASES
from helpers.generation.methods.layoutdiffusion import class_of


def test_classes_are_those_that_phrases_are_matched_to():
    assert [class_of(phrase, CLASSES) for phrase in ALL_PHRASES] == [*range(1, 1 + len(ALL_PHRASES))]


def test_layouts_hold_every_object_or_the_whole_picture_alone(tmp_path):
    scenes, rows = load_scenes("validation", 40, tmp_path), np.arange(40).repeat(20)
    classes, boxes = layouts(np.random.default_rng(0), scenes, rows)
    assert classes.shape == (800, LENGTH) and boxes.shape == (800, LENGTH, 4)
    assert (classes[:, 0] == 0).all() and (boxes[:, 0] == torch.tensor([0.0, 0, 1, 1])).all()
    null = len(CLASSES) - 1
    dropped = (classes[:, 1:] == null).all(1)
    assert 0.15 < dropped.float().mean() < 0.25 and (boxes[dropped, 1:] == 0).all()
    kept = (~dropped).nonzero()[0, 0]
    count = int((scenes.things[rows[kept]] >= 0).sum())
    assert (classes[kept, 1 : 1 + count] == torch.from_numpy(scenes.things[rows[kept]][:count]) + 1).all()
    assert (classes[kept, 1 + count :] == null).all() and (boxes[kept, 1 + count :] == 0).all()
    np.testing.assert_array_equal(boxes[kept, 1 : 1 + count], scenes.boxes[rows[kept]][:count])


def test_all_but_attention_begins_as_gligen():
    text = gligen.build()
    theirs, ours = text.state_dict(), from_gligen(text).unet.state_dict()
    assert all("attentions" in name for name in ours.keys() - theirs.keys())
    assert all(torch.equal(ours[name], theirs[name]) for name in ours.keys() & theirs.keys())
    assert len(ours.keys() & theirs.keys()) > 100


def test_boxes_are_embedded_by_corners_or_by_sines():
    assert build(0).embed_boxes.linear.in_features == 4 and build().embed_boxes.linear.in_features == 64
