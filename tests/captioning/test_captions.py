"""Captions: in batches, one by one, half by half, and against the whole model's own `generate`."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

from helpers.captioning import captions
from helpers.captioning.captions import Caption, caption_all, fits, flags
from helpers.models import devices
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


@pytest.fixture
def small_gpu(monkeypatch):
    """As if a GPU were there that holds a half of the model and not the whole."""
    monkeypatch.setattr(captions, "fits", lambda checkpoint: False)


@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_captions_are_those_of_the_whole_model_in_batches_of_any_size(checkpoint, whole, batch_size):
    assert texts(caption_all(checkpoint, photos(), max_new_tokens=8, batch_size=batch_size)) == whole


def test_photos_may_come_one_at_a_time_and_keep_their_order(checkpoint, whole):
    made = caption_all(checkpoint, iter(photos()[::-1]), max_new_tokens=8, batch_size=2)
    assert texts(made) == whole[::-1]
    assert caption_all(checkpoint, []) == []


def test_beams_and_length_are_as_asked(checkpoint, captioner):
    pixels = captioner.processor(images=photos(), return_tensors="pt")["pixel_values"]
    tokens = captioner.model.generate(pixels, num_beams=1, max_new_tokens=3, do_sample=False)[:, -3:]
    greedy = captioner.processor.batch_decode(tokens, skip_special_tokens=True)
    made = caption_all(checkpoint, photos(), beams=1, max_new_tokens=3)
    assert texts(made) == [text.strip() for text in greedy]


def test_seconds_are_a_share_of_the_batch(checkpoint, monkeypatch):
    clock = iter([0, 1, 10, 13])  # a batch of two: 1 s of seeing, 3 s of saying
    monkeypatch.setattr(captions.time, "perf_counter", lambda: next(clock))
    assert [one.seconds for one in caption_all(checkpoint, photos(2), batch_size=2)] == [2, 2]


def test_halves_say_what_the_whole_model_says(checkpoint, whole, small_gpu):
    assert texts(caption_all(checkpoint, photos(), max_new_tokens=8, batch_size=2)) == whole


def test_a_half_holds_nothing_of_the_other(checkpoint, captioner):
    sizes = {}
    for half in ("vision", "language"):
        model = load_captioner(checkpoint, half=half).model
        sizes[half] = sum(weight.numel() for weight in model.parameters())
    assert sum(sizes.values()) == sum(weight.numel() for weight in captioner.model.parameters())
    assert min(sizes.values()) > 1000


def test_only_one_half_is_in_memory_at_a_time(checkpoint, monkeypatch, small_gpu):
    held = []

    def load(*names, half, **options):
        assert all(model.model.query_tokens.is_meta for model in held), "both halves in memory"
        loaded = load_captioner(*names, half=half, **options)
        held.extend([loaded] if half == "vision" else [])
        return loaded

    monkeypatch.setattr(captions, "load_captioner", load)
    caption_all(checkpoint, photos(1), max_new_tokens=2)
    assert len(held) == 1


def test_repositories_without_image_token_caption_the_same(tmp_path, language, whole):
    checkpoint = Checkpoint("old", str(write_blip2(tmp_path / "old", language, image_token=False)))
    assert texts(caption_all(checkpoint, photos(), max_new_tokens=8)) == whole
    old = load_captioner(checkpoint)
    assert old.processor.num_query_tokens == QUERIES
    asked = old.processor(images=photos(1), text="a", return_tensors="pt")
    assert old.model.generate(**asked, max_new_tokens=2).shape[0] == 1, "a text prompt finds its image tokens"


def test_half_precision_captions(checkpoint, monkeypatch):
    monkeypatch.setattr(captions, "load_captioner", partial(load_captioner, dtype=torch.bfloat16))
    assert all(isinstance(text, str) for text in texts(caption_all(checkpoint, photos(2), max_new_tokens=4)))


def test_what_does_not_fit_is_known_before_it_is_loaded(checkpoint, captioner, monkeypatch):
    assert fits(checkpoint)
    numbers = sum(weight.numel() for weight in captioner.model.parameters())
    monkeypatch.setattr(devices, "best_device", lambda: torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    for memory, whole in ((4 * numbers, True), (2 * numbers, False)):
        monkeypatch.setattr(devices, "memory", lambda device, memory=memory: memory)
        assert fits(replace(checkpoint, parameters=numbers)) == whole


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a worker in a green vest", ()),
        ("", ("empty",)),
        (" . ", ("empty",)),
        ("a dog and a dog", ()),
        ("very very large", ()),
        ("cone cone cone", ("repeats",)),
        ("a red cone, a red cone, a red cone", ("repeats",)),
        ("a man in a A MAN IN A field", ("repeats",)),
    ],
)
def test_what_is_wrong_with_a_caption(text, found):
    assert flags(text) == found
