"""The small detector and classifier: that they learn, depend on the seed alone, and mix as they say."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from helpers.scoring.adherence import average_precision
from helpers.scoring.training import (
    SIDE,
    Example,
    SmallDetector,
    augment,
    detection_loss,
    mixed_batches,
    train_classifier,
    train_detector,
)

LABELS = ["block", "disc"]


def scene(seed, size=SIDE):
    """A red block and a blue disc somewhere on grey."""
    rng = np.random.default_rng(seed)
    image, boxes = Image.new("RGB", (size, size), (120, 120, 120)), []
    for half, colour, draw in ((0, "red", "rectangle"), (0.5, "blue", "ellipse")):
        side = rng.uniform(0.2, 0.4)
        low = np.array([half + rng.uniform(0, 0.5 - side), rng.uniform(0, 1 - side)])
        box = np.concatenate([low, low + side])
        getattr(ImageDraw.Draw(image), draw)((box * size).tolist(), fill=colour)
        boxes.append(box)
    return Example(image, np.array(boxes, np.float32), tuple(LABELS))


@pytest.fixture(scope="module")
def examples():
    return [scene(seed) for seed in range(16)]


def test_a_detector_learns_where_things_are(examples):
    detect = train_detector(mixed_batches(examples, examples, 0.0, 8, 30, 0), LABELS, 30, 0)
    others = [scene(seed, size=96) for seed in range(100, 112)]
    found = detect([one.image for one in others])
    assert average_precision(others, found).over["AP50"][0] > 0.6
    assert all((np.diff(one.scores) <= 0).all() and len(one.scores) <= 100 for one in found)


def test_a_training_depends_on_its_seed_alone(examples):
    pictures = [one.image for one in examples[:2]]
    first, again, other = (
        train_detector(mixed_batches(examples, examples, 0.5, 2, 2, seed), LABELS, 2, seed)(pictures)
        for seed in (0, 0, 1)
    )
    assert np.array_equal(first[0].boxes, again[0].boxes) and np.array_equal(first[0].scores, again[0].scores)
    assert not np.array_equal(first[0].scores, other[0].scores)


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_batches_hold_the_share_of_pictures_that_was_asked_for(examples, share):
    photos, pictures = examples[:8], examples[8:]
    drawn = [one for batch in mixed_batches(photos, pictures, share, 16, 50, 0) for one in batch]
    assert len(drawn) == 800
    assert np.mean([any(one is other for other in pictures) for one in drawn]) == pytest.approx(
        share, abs=0.05
    )


def test_boxes_follow_what_happens_to_their_picture(examples):
    """Where a picture was moved, scaled and mirrored, its red block is still inside the box of its label."""
    torch.manual_seed(0)
    pixels, asked = augment(examples, LABELS)
    for picture, (boxes, classes) in zip(pixels, asked, strict=True):
        red = (picture[0] - picture[2]).clamp(min=0)
        for box, which in zip((boxes * SIDE).round().int().tolist(), classes.tolist(), strict=True):
            x_min, y_min, x_max, y_max = box
            inside = red[y_min:y_max, x_min:x_max].mean()
            assert (inside > 0.5) == (which == 0)


def test_a_cell_must_find_the_smallest_box_around_it():
    model = SmallDetector(2)
    logits, boxes = torch.full((1, 256, 2), -9.0), torch.tensor([0.4, 0.4, 0.6, 0.6]).expand(1, 256, 4)
    small, large = torch.tensor([0.4, 0.4, 0.6, 0.6]), torch.tensor([0.0, 0.0, 1.0, 1.0])
    alone = detection_loss(logits, boxes, [(small[None], torch.tensor([0]))], model.centres)
    logits[0, ((model.centres - 0.5).abs() <= 0.05).all(1), 0] = 9.0
    assert detection_loss(logits, boxes, [(small[None], torch.tensor([0]))], model.centres) < 0.01 < alone
    both = detection_loss(logits, boxes, [(torch.stack([large, small]), torch.tensor([1, 0]))], model.centres)
    assert both > 1  # the cells around the small box should find the large one, too small ones excepted
    assert detection_loss(logits, boxes, [(torch.empty(0, 4), torch.empty(0).long())], model.centres) >= 0


def test_a_classifier_names_crops_by_box(examples):
    judge = train_classifier(mixed_batches(examples, examples, 0.0, 8, 20, 0), LABELS, 20, 0)
    others = [scene(seed) for seed in range(100, 108)]
    right = judge(others)
    assert [len(one) for one in right] == [2] * 8 and np.concatenate(right).mean() > 0.9


def test_any_detector_of_transformers_is_fine_tuned(examples, tmp_path):
    from transformers import YolosConfig, YolosForObjectDetection, YolosImageProcessor

    from helpers.scoring.finetuning import finetune

    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = YolosConfig(**sizes, image_size=[32, 32], patch_size=16, num_detection_tokens=6, num_labels=5)
    YolosForObjectDetection(config).save_pretrained(tmp_path)
    YolosImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    detect = finetune(str(tmp_path), mixed_batches(examples, examples, 0.5, 2, 2, 0), LABELS, 2, 0)
    found = detect([examples[0].image, examples[1].image.resize((64, 96))])
    assert len(found) == 2 and set(found[0].labels) <= set(LABELS)
    assert all((one.boxes >= 0).all() and (one.boxes <= 1).all() for one in found)
