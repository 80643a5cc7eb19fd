from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from helpers.models.loading import load_clip, load_detector
from helpers.models.sets import Checkpoint
from helpers.scoring import features
from tests.fakes.clip import write_clip
from tests.fakes.owlv2 import write_owlv2


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return load_clip(Checkpoint("demo clip", str(write_clip(tmp_path_factory.mktemp("clip")))), device="cpu")


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    folder = write_owlv2(tmp_path_factory.mktemp("owlv2"))
    loaded = load_detector(Checkpoint("demo owlv2", str(folder)), device="cpu")
    loaded.model.box_head.dense2.weight.mul_(0.02)  # else random boxes have no extent
    return loaded


def pictures(*sizes: tuple[int, int], seed: int = 0) -> list[Image.Image]:
    rng = np.random.default_rng(seed)
    return [Image.fromarray(rng.integers(0, 256, (h, w, 3), dtype=np.uint8)) for w, h in sizes]


def test_image_features_have_length_one_and_do_not_depend_on_the_batch(clip):
    shown = pictures((40, 40), (20, 70), (90, 30), (33, 33), (20, 70))
    whole = features.image_features(clip, shown)
    assert whole.shape == (5, 16) and whole.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(whole, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(features.image_features(clip, shown, batch_size=2), whole, atol=1e-5)
    assert len(np.unique(whole.round(4), axis=0)) == 5
    assert features.image_features(clip, []).shape == (0, 16)


def test_nothing_of_a_tall_crop_is_cut_off(clip):
    tall = pictures((20, 80))[0]
    other = tall.copy()
    ImageDraw.Draw(other).rectangle((0, 0, 20, 15), fill="red")  # outside the square in the middle
    a, b = features.image_features(clip, [tall, other])
    assert np.abs(a - b).max() > 1e-3


def test_text_features_do_not_depend_on_the_batch_and_long_texts_are_cut(clip):
    texts = ["a cone", "a red cone beside a crate", "cone " * 100]
    whole = features.text_features(clip, texts)
    np.testing.assert_allclose(np.linalg.norm(whole, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(features.text_features(clip, texts, batch_size=1), whole, atol=1e-5)
    np.testing.assert_allclose(features.text_features(clip, ["cone " * 90])[0], whole[2], atol=1e-5)


def test_the_network_sees_what_pytorch_fid_shows_it(tmp_path, monkeypatch):
    from pytorch_fid import fid_score

    class Means(torch.nn.Module):
        """Stands for Inception: 2048 numbers that depend on range, order of channels and position."""

        def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
            grid = torch.nn.functional.interpolate(x, (26, 26), mode="bilinear")
            return [grid.flatten(1)[:, :2028].repeat(1, 2)[:, :2048, None, None]]

    shown = pictures((31, 31), (31, 31), (50, 20))
    paths = [tmp_path / f"{i}.png" for i in range(3)]
    for picture, path in zip(shown, paths, strict=True):
        picture.save(path)
    monkeypatch.setattr(fid_score, "tqdm", lambda batches: batches)
    theirs = fid_score.get_activations([str(path) for path in paths], Means(), batch_size=1, num_workers=0)
    inception = SimpleNamespace(model=Means(), device=torch.device("cpu"))
    ours = features.inception_features(inception, shown, batch_size=2)
    np.testing.assert_allclose(ours, theirs, atol=1e-6)
    assert len(np.unique(ours, axis=0)) == 3


@pytest.mark.parametrize("size", [(60, 20), (20, 60), (40, 40)])
def test_a_found_box_leads_back_through_the_padding(detector, size):
    """A white rectangle, found in what OWLv2's processor makes of the picture, lies where it was drawn."""
    picture, asked = Image.new("RGB", size), np.array([0.25, 0.2, 0.75, 0.6])
    ImageDraw.Draw(picture).rectangle((asked * np.array(size * 2) - [0, 0, 1, 1]).tolist(), fill="white")
    pixels = (
        detector.processor.image_processor([picture], return_tensors="pt").pixel_values[0].mean(0).numpy()
    )
    white = pixels > 0.7 * pixels.max()
    rows, columns = np.flatnonzero(white.any(1)), np.flatnonzero(white.any(0))
    low, high = np.array([columns[0], rows[0]]), np.array([columns[-1], rows[-1]]) + 1
    box = np.concatenate([low + high, 2 * (high - low)]) / 2 / len(pixels)
    found = features._detections(picture, torch.tensor(box)[None], torch.tensor([[0.9]]), ["a"], 0.1)
    np.testing.assert_allclose(found.boxes[0], asked, atol=1.5 / 32 * max(size) / min(size))


def test_detections_are_those_of_the_processor_and_the_whole_model(detector, monkeypatch):
    monkeypatch.setattr(features, "QUERY", "{}")  # the small vocabulary has a token a letter, and room for 16
    labels, shown = ["Crate", "cone", "truck"], pictures((60, 40), (40, 50))
    queries = [features.QUERY.format(label.lower()) for label in labels]
    for picture, ours in zip(shown, features.detect(detector, shown, labels, threshold=0), strict=True):
        options = {"padding": "max_length", "max_length": 16, "return_tensors": "pt"}
        words = detector.processor.tokenizer(queries, **options)
        pixels = detector.processor.image_processor([picture], return_tensors="pt").pixel_values
        with torch.no_grad():
            output = detector.model(pixel_values=pixels, **words)
        size = torch.tensor([[picture.height, picture.width]])
        theirs = detector.processor.post_process_grounded_object_detection(output, 0.0, size, [labels])[0]
        boxes = np.clip(theirs["boxes"].numpy() / np.array(picture.size * 2), 0, 1)
        kept = (boxes[:, 2:] > boxes[:, :2]).all(1)
        order = np.argsort(-theirs["scores"].numpy()[kept], kind="stable")
        assert len(ours.boxes) == kept.sum() >= 3
        np.testing.assert_allclose(ours.boxes, boxes[kept][order], atol=1e-4)
        np.testing.assert_allclose(ours.scores, theirs["scores"].numpy()[kept][order], atol=1e-4)
        assert ours.labels == tuple(np.array(theirs["text_labels"])[kept][order])


def test_pictures_are_searched_for_what_is_asked_whatever_the_batch(detector):
    shown = pictures((32, 32), (32, 32), (32, 32))
    found = features.detect(detector, shown, ["crate", "truck"], threshold=0.0)
    assert all({*one.labels} <= {"crate", "truck"} for one in found)
    alone = features.detect(detector, shown[1:2], ["truck", "crate"], threshold=0.0)[0]
    np.testing.assert_allclose(alone.boxes, found[1].boxes, atol=1e-5)
    assert alone.labels == found[1].labels


def test_a_detector_that_is_asked_for_nothing_or_finds_nothing(detector):
    shown = pictures((32, 32))
    for found in (features.detect(detector, shown, []), features.detect(detector, shown, ["cone"], 1.0)):
        assert found[0].boxes.shape == (0, 4) and found[0].labels == () and found[0].scores.shape == (0,)
