"""The demo detector: who learns which box, and that it learns, and that it is saved and loaded."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from data.training import clip, detector
from data.training.drawn_scenes import load_scenes
from data.training.saving import save
from data.training.training_loop import Recipe
from data.training.vocabularies import clip_tokenizer
from data.training.weight_transfer import clip_to_detector
from helpers.models.loading import load_detector
from helpers.models.sets import Checkpoint
from helpers.scoring.features import detect


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    return load_scenes("validation", 24, tmp_path_factory.mktemp("scenes"))


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory):
    return tmp_path_factory.mktemp("vocabulary")


@pytest.fixture(scope="module")
def tokenizer(scenes, vocabulary):
    return clip_tokenizer(scenes.training_captions, vocabulary)


@pytest.fixture(scope="module")
def untrained(tokenizer):
    torch.manual_seed(0)
    return detector.build(tokenizer).eval()


def sum_of_losses(model, scenes, tokenizer):
    said = tokenizer(list(detector.KINDS + detector.ALL_PHRASES), padding=True, return_tensors="pt")
    photos = clip.normalised(clip.photo_tensor(scenes, np.arange(len(scenes))))
    with torch.no_grad():
        found = detector.predict(model, photos, said)
        return sum(detector.losses(*found, torch.from_numpy(scenes.boxes), scenes.things).values()).item()


def test_a_short_training_lowers_the_losses(scenes, tokenizer, untrained, tmp_path):
    recipe = Recipe(steps=15, batch_size=12, learning_rate=2e-3, warmup=3, average=0.5)
    trained = detector.fit_detector(scenes, tokenizer, tmp_path, recipe)
    assert sum_of_losses(trained, scenes, tokenizer) < 0.8 * sum_of_losses(untrained, scenes, tokenizer)


def test_the_training_pass_is_the_pass_of_the_published_model(scenes, tokenizer, vocabulary, untrained):
    photo = Image.fromarray(scenes.photos[3])
    inputs = detector.processor(tokenizer)(images=photo, text=[["cone", "a truck"]], return_tensors="pt")
    texts = {name: inputs[name] for name in ("input_ids", "attention_mask")}
    pixels = clip.normalised(clip.photo_tensor(scenes, np.array([3])))
    assert inputs["input_ids"].shape == (2, 16)
    torch.testing.assert_close(inputs["pixel_values"], pixels, atol=1e-5, rtol=0)
    with torch.no_grad():
        theirs, (boxes, logits, objectness) = untrained(**inputs), detector.predict(untrained, pixels, texts)
    torch.testing.assert_close(logits, theirs.logits, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(objectness, theirs.objectness_logits, atol=1e-4, rtol=1e-4)
    centre, size = theirs.pred_boxes[..., :2], theirs.pred_boxes[..., 2:]
    torch.testing.assert_close(
        boxes, torch.cat([centre - size / 2, centre + size / 2], -1), atol=1e-5, rtol=0
    )


def test_each_box_is_answered_for_by_one_patch_near_its_middle(scenes, untrained):
    n, patches = len(scenes), detector.GRID**2
    rng = torch.Generator().manual_seed(1)
    found, chances = torch.rand(n, patches, 4, generator=rng), torch.rand(n, patches, 42, generator=rng)
    owner, answers = detector.assign(found, chances, torch.from_numpy(scenes.boxes), scenes.things)
    for i in range(n):
        asked = np.flatnonzero(scenes.things[i] >= 0)
        place = np.flatnonzero(answers[i])
        assert sorted(owner[i, place]) == list(asked)
        box = scenes.boxes[i, owner[i, place]]
        rows, columns = np.divmod(place, detector.GRID)
        centre = (np.stack([columns, rows], 1) + 0.5) / detector.GRID
        assert (np.abs(centre - (box[:, :2] + box[:, 2:]) / 2) <= 1 / detector.GRID + 1e-6).all()


def test_patches_outside_of_every_box_learn_none(scenes, untrained):
    boxes = torch.tensor([[[0.5, 0.5, 1.0, 1.0]]])
    found, chances = torch.zeros(1, 64, 4), torch.zeros(1, 64, 42)
    owner, answers = detector.assign(found, chances, boxes, np.array([[7]]))
    grid = owner.reshape(8, 8)
    assert (grid[4:, 4:] == 0).all() and (grid[:4] == -1).all() and (grid[:, :4] == -1).all()
    assert answers.sum() == 1


def test_the_patch_that_says_it_best_is_chosen():
    boxes = torch.tensor([[[0.25, 0.25, 0.75, 0.75]]])  # four patches are equally near to its middle
    found = boxes.expand(1, 64, 4).clone()
    chances = torch.zeros(1, 64, 42)
    chances[0, 4 * 8 + 3, len(detector.KINDS) + 7] = 0.5
    _, answers = detector.assign(found, chances, boxes, np.array([[7]]))
    assert np.flatnonzero(answers[0]).tolist() == [4 * 8 + 3]


def test_mirrored_photos_keep_their_boxes(scenes):
    photos, boxes = clip.photo_tensor(scenes, np.arange(8)), torch.from_numpy(scenes.boxes[:8])
    turned, moved = detector.mirrored(np.random.default_rng(0), photos, boxes)
    flipped = (turned != photos).flatten(1).any(1)
    assert 0 < flipped.sum() < 8
    torch.testing.assert_close(turned[flipped].flip(-1), photos[flipped])
    torch.testing.assert_close(moved[flipped][..., [0, 2]], 1 - boxes[flipped][..., [2, 0]])
    assert (moved[..., [1, 3]] == boxes[..., [1, 3]]).all() and (moved[~flipped] == boxes[~flipped]).all()


def test_the_vision_tower_of_clip_is_a_start(untrained, tokenizer):
    torch.manual_seed(1)
    theirs, ours = clip.build(tokenizer).vision_model, detector.build(tokenizer)
    with torch.no_grad():
        theirs.embeddings.position_embedding.weight[1:] = torch.arange(128.0)
    clip_to_detector(SimpleNamespace(vision_model=theirs), ours)
    started = ours.owlv2.vision_model
    torch.testing.assert_close(
        started.embeddings.patch_embedding.weight, theirs.embeddings.patch_embedding.weight
    )
    torch.testing.assert_close(
        started.embeddings.position_embedding.weight[1:], torch.arange(128.0).expand(64, -1)
    )
    torch.testing.assert_close(
        started.encoder.layers[3].mlp.fc2.weight, theirs.encoder.layers[3].mlp.fc2.weight
    )


def test_saved_in_half_precision_it_is_loaded_and_finds_the_same(
    scenes, tokenizer, vocabulary, untrained, tmp_path
):
    folder = tmp_path / "owlv2"
    save(untrained, detector.processor(tokenizer), folder)
    assert untrained.dtype == torch.float32
    assert (folder / "model.safetensors").stat().st_size < 2.6e6
    loaded = load_detector(Checkpoint("demo owlv2", str(folder)), device="cpu")
    said = tokenizer(["a cone", "a truck"], padding=True, return_tensors="pt")
    photos = clip.normalised(clip.photo_tensor(scenes, np.arange(4)))
    with torch.no_grad():
        before, after = (
            detector.predict(untrained, photos, said),
            detector.predict(loaded.model, photos, said),
        )
    torch.testing.assert_close(after[0], before[0], atol=5e-3, rtol=0)
    pictures = [Image.fromarray(photo) for photo in scenes.photos[:2]]
    found = detect(loaded, pictures, ["truck"], threshold=0.0)
    assert all({*one.labels} == {"truck"} and len(one.scores) > 50 for one in found)
