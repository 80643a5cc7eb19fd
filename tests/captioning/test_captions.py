"""Captions: in batches, one by one, half by half, and against the whole model's own `generate`."""

import numpy as np
import pytest
import torch
from PIL import Image

from helpers.captioning import captions
from helpers.captioning.captions import Caption, caption, caption_all, caption_in_halves, fits, flags
from helpers.models.loading import load_captioner
from helpers.models.sets import Checkpoint
from tests.fakes.blip2 import QUERIES, write_blip2


def photos(n: int = 5) -> list[Image.Image]:
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 256, (30 + 7 * i, 50, 3), dtype=np.uint8)) for i in range(n)]


def texts(made: list[Caption]) -> list[str]:
    return [one.generated_text for one in made]


@pytest.fixture(scope="module", params=["opt", "t5"])
def language(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def checkpoint(language, tmp_path_factory) -> Checkpoint:
    return Checkpoint("tiny", str(write_blip2(tmp_path_factory.mktemp("blip2") / language, language)))


@pytest.fixture(scope="module")
def captioner(checkpoint):
    return load_captioner(checkpoint, device="cpu")


@pytest.fixture(scope="module")
def whole(captioner) -> list[str]:
    """What the library's `generate` of the whole model says; OPT repeats image tokens and the start token."""
    pixels = captioner.processor(images=photos(), return_tensors="pt")["pixel_values"]
    tokens = captioner.model.generate(pixels, num_beams=4, max_new_tokens=8, do_sample=False)
    prompt = QUERIES + 1 if captioner.model.config.use_decoder_only_language_model else 0
    words = captioner.processor.batch_decode(tokens[:, prompt:], skip_special_tokens=True)
    assert len(set(words)) > 2, "captions that do not look at the photo prove nothing"
    return [text.strip() for text in words]


@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_captions_are_those_of_the_whole_model_in_batches_of_any_size(captioner, whole, batch_size):
    assert texts(caption(captioner, photos(), max_new_tokens=8, batch_size=batch_size)) == whole


def test_photos_may_come_one_at_a_time_and_keep_their_order(captioner, whole):
    assert texts(caption(captioner, iter(photos()[::-1]), max_new_tokens=8, batch_size=2)) == whole[::-1]
    assert caption(captioner, []) == []


def test_beams_and_length_are_as_asked(captioner, whole):
    pixels = captioner.processor(images=photos(), return_tensors="pt")["pixel_values"]
    tokens = captioner.model.generate(pixels, num_beams=1, max_new_tokens=3, do_sample=False)[:, -3:]
    greedy = captioner.processor.batch_decode(tokens, skip_special_tokens=True)
    assert texts(caption(captioner, photos(), beams=1, max_new_tokens=3)) == [text.strip() for text in greedy]


def test_seconds_are_a_share_of_the_batch(captioner, monkeypatch):
    clock = iter([0, 1, 10, 13])  # a batch of two: 1 s of seeing, 3 s of saying
    monkeypatch.setattr(captions.time, "perf_counter", lambda: next(clock))
    assert [one.seconds for one in caption(captioner, photos(2), batch_size=2)] == [2, 2]


def test_halves_say_what_the_whole_model_says(checkpoint, whole):
    made = caption_in_halves(checkpoint, photos(), max_new_tokens=8, batch_size=2, device="cpu")
    assert texts(made) == whole


def test_a_half_holds_nothing_of_the_other(checkpoint, captioner):
    sizes = {}
    for half in ("vision", "language"):
        model = load_captioner(checkpoint, half=half).model
        sizes[half] = sum(weight.numel() for weight in model.parameters())
    assert sum(sizes.values()) == sum(weight.numel() for weight in captioner.model.parameters())
    assert min(sizes.values()) > 1000


def test_only_one_half_is_in_memory_at_a_time(checkpoint, monkeypatch):
    held = []

    def load(*names, half, **options):
        assert all(model.model.query_tokens.is_meta for model in held), "both halves in memory"
        loaded = load_captioner(*names, half=half, **options)
        held.extend([loaded] if half == "vision" else [])
        return loaded

    monkeypatch.setattr(captions, "load_captioner", load)
    caption_in_halves(checkpoint, photos(1), max_new_tokens=2)
    assert len(held) == 1


def test_repositories_without_image_token_caption_the_same(tmp_path, language, whole):
    old = load_captioner(Checkpoint("old", str(write_blip2(tmp_path / "old", language, image_token=False))))
    assert texts(caption(old, photos(), max_new_tokens=8)) == whole
    assert old.processor.num_query_tokens == QUERIES
    asked = old.processor(images=photos(1), text="a", return_tensors="pt")
    assert old.model.generate(**asked, max_new_tokens=2).shape[0] == 1, "a text prompt finds its image tokens"


def test_half_precision_captions(checkpoint):
    captioner = load_captioner(checkpoint, dtype=torch.bfloat16)
    assert captioner.model.language_projection.weight.dtype == torch.bfloat16
    assert all(isinstance(text, str) for text in texts(caption(captioner, photos(2), max_new_tokens=4)))


def test_what_does_not_fit_is_captioned_half_by_half(checkpoint, captioner, monkeypatch):
    weights = 4 * sum(weight.numel() for weight in captioner.model.parameters())
    assert fits(checkpoint)
    assert fits(checkpoint, memory=2 * weights) and not fits(checkpoint, memory=weights)
    used = []
    monkeypatch.setattr(captions, "fits", lambda one: False)
    monkeypatch.setattr(captions, "caption_in_halves", lambda *names, **options: used.append(options) or [])
    assert caption_all(checkpoint, photos(1), beams=2) == [] and used == [{"beams": 2}]


def test_all_is_loaded_captioned_and_released(checkpoint, whole):
    assert texts(caption_all(checkpoint, photos(), max_new_tokens=8)) == whole


@pytest.mark.parametrize(
    ("text", "prompt", "found"),
    [
        ("a worker in a green vest", "", ()),
        ("", "", ("empty",)),
        (" . ", "", ("empty",)),
        ("a dog and a dog", "", ()),
        ("very very large", "", ()),
        ("cone cone cone", "", ("repeats",)),
        ("a red cone, a red cone, a red cone", "", ("repeats",)),
        ("a man in a A MAN IN A field", "", ("repeats",)),
        ("a photo of a truck", "a photo of", ("echo",)),
        ("A photo of", "a photo of ", ("echo",)),
        ("this is a photo of a truck", "a photo of", ()),
        ("", "a photo of", ("empty",)),
        ("a photo of a of a", "a photo", ("repeats", "echo")),
    ],
)
def test_what_is_wrong_with_a_caption(text, prompt, found):
    assert flags(text, prompt) == found
