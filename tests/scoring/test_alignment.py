from itertools import combinations

import numpy as np
import pytest

from helpers.scoring import alignment


def random_features(n: int, d: int = 6, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d))


def test_clip_score_is_a_hundred_times_the_cosine_and_never_negative():
    images = np.array([[2.0, 0], [1, 1], [1, 0]])
    texts = np.array([[3.0, 0], [1, 0], [-1, 0]])
    np.testing.assert_allclose(alignment.clip_score(images, texts), [100, 100 / np.sqrt(2), 0], atol=1e-9)
    np.testing.assert_allclose(alignment.similarity(images, texts), [1, 1 / np.sqrt(2), -1])


def test_r_precision_against_all_others_is_whether_the_own_text_is_nearest():
    images, texts = random_features(9), random_features(9, seed=1)
    near = images @ (texts / np.linalg.norm(texts, axis=1, keepdims=True)).T
    np.testing.assert_array_equal(alignment.r_precision(images, texts), near.argmax(1) == np.arange(9))
    np.testing.assert_array_equal(alignment.r_precision(texts, texts), np.ones(9))


@pytest.mark.parametrize("others", [1, 2, 4])
def test_r_precision_is_the_mean_over_all_draws_of_the_others(others):
    images, texts = random_features(6), random_features(6, seed=1)
    near = images @ (texts / np.linalg.norm(texts, axis=1, keepdims=True)).T
    expected = [
        np.mean(
            [
                near[i, i] > near[i, list(drawn)].max()
                for drawn in combinations(sorted({*range(6)} - {i}), others)
            ]
        )
        for i in range(6)
    ]
    np.testing.assert_allclose(alignment.r_precision(images, texts, others), expected)
    assert 0 < np.mean(expected) < 1


def test_texts_that_cannot_be_told_apart_give_chance():
    images, same = random_features(8), np.ones((8, 6))
    np.testing.assert_allclose(alignment.r_precision(images, same), np.full(8, 1 / 8))
    np.testing.assert_allclose(alignment.r_precision(images, same, others=3), np.full(8, 1 / 4))


def test_random_pictures_reach_chance_among_99():
    images, texts = random_features(400, 16), random_features(400, 16, seed=1)
    assert alignment.r_precision(images, texts).mean() == pytest.approx(1 / 100, abs=0.005)


def test_a_crop_is_right_when_its_phrase_is_nearer_than_every_other():
    phrases = np.eye(3)
    crops = np.array([[5.0, 1, 0], [0, 1, 2], [1, 1, 0]])
    own = np.array([0, 1, 1])
    np.testing.assert_array_equal(alignment.crop_correct(crops, phrases, own), [True, False, False])
    np.testing.assert_array_equal(alignment.crop_correct(crops[:2], phrases[:2], own[:2]), [True, True])
    assert alignment.crop_correct(np.empty((0, 3)), phrases, np.empty(0, int)).shape == (0,)


@pytest.mark.parametrize(
    ("phrase", "colour"),
    [
        ("a worker in a Green vest", "green"),
        ("a blue barrel", "blue"),
        ("Head", None),
        ("a red and a blue cone", None),
        ("a coloured, bored worker", None),
        ("a grey truck, grey as rain", "grey"),
    ],
)
def test_the_colour_that_a_phrase_names(phrase, colour):
    assert alignment.named_colour(phrase) == colour


def test_lab_of_known_colours():
    values = alignment.lab(np.array([[255, 255, 255], [0, 0, 0], [255, 0, 0], [0, 0, 255]], np.uint8))
    known = [[100, 0, 0], [0, 0, 0], [53.24, 80.09, 67.20], [32.30, 79.19, -107.86]]
    np.testing.assert_allclose(values, known, atol=0.02)


def test_a_crop_shows_a_colour_when_a_tenth_of_it_does():
    crop = np.full((10, 10, 3), 128, np.uint8)
    crop[0] = alignment.COLOURS["red"]
    assert alignment.colour_distance(crop, "red", share=0.05) == pytest.approx(0, abs=1e-9)
    assert alignment.colour_distance(crop, "red", share=0.5) > 40
    assert alignment.colour_distance(crop, "blue") > 40


@pytest.mark.parametrize(
    ("text", "labels", "share"),
    [
        ("two workers beside a truck", ("worker", "truck", "cone", "worker"), 2 / 3),
        ("a man in a conference", ("cone", "Man"), 1 / 2),
        ("boxes on a shelf", ("Box",), 1),
        ("a glove", ("gloves",), 1),
        ("", ("a",), 0),
        ("a", (), np.nan),
    ],
)
def test_the_share_of_labels_that_a_caption_names(text, labels, share):
    assert alignment.labels_named(text, labels) == pytest.approx(share, nan_ok=True)


def test_what_cannot_be_aligned_is_said():
    with pytest.raises(ValueError, match="row 1 is all zeros"):
        alignment.similarity(np.array([[1.0], [0]]), np.ones((2, 1)))
    with pytest.raises(ValueError, match=r"shapes are \(2, 1\) and \(3, 1\)"):
        alignment.clip_score(np.ones((2, 1)), np.ones((3, 1)))
    with pytest.raises(ValueError, match="finite"):
        alignment.clip_score(np.array([[np.nan]]), np.ones((1, 1)))


@pytest.mark.parametrize("label", ["hard_hat", "Hard-Hat", "hard hat", "traffic_light", "TrafficLight"])
def test_class_names_are_named_as_words(label):
    assert alignment.labels_named("a man in a hard hat under a traffic light", [label]) == 1
