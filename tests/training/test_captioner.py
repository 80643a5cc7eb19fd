"""The demo captioners: what they learn, that they learn it, and that they are loaded and speak."""

import itertools
from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image

from data.training import captioner, clip, detector, vocabularies
from data.training.caption_quality import caption_f1, parse_caption
from data.training.drawn_scenes import load_scenes
from data.training.saving import save
from data.training.training_loop import Recipe
from data.training.weight_transfer import captioner_to_captioner, detector_to_captioner
from data.training.world import COLOURS, KINDS, PLACES, describe, phrase
from helpers.captioning.captions import caption_all
from helpers.models.loading import load_captioner
from helpers.models.sets import Checkpoint

HALVES = {"opt": vocabularies.opt_tokenizer, "t5": vocabularies.t5_tokenizer}


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    return load_scenes("validation", 24, tmp_path_factory.mktemp("scenes"))


@pytest.fixture(scope="module", params=HALVES)
def half(request):
    return request.param


@pytest.fixture(scope="module")
def processor(scenes, half):
    return captioner.processor(HALVES[half](scenes.captions))


@pytest.fixture
def model(processor, half):
    torch.manual_seed(0)
    return captioner.build(processor, half).eval()


def test_every_object_and_place_is_parsed_back():
    for kind, colour, count, place in itertools.product(KINDS, COLOURS, range(1, 6), PLACES):
        said = parse_caption(describe((kind,) * count, (colour,) * count, place))
        assert (said.objects, said.place, said.rest) == ({phrase(kind, colour): count}, place, ())


def test_mixed_captions_are_parsed_back():
    rng = np.random.default_rng(0)
    for _ in range(500):
        n = rng.integers(1, 6)
        kinds, colours = (tuple(rng.choice(list(names), n).tolist()) for names in (KINDS, COLOURS))
        place = str(rng.choice(list(PLACES)))
        said = parse_caption(describe(kinds, colours, place))
        wanted = Counter(phrase(kind, colour) for kind, colour in zip(kinds, colours, strict=True))
        assert (said.objects, said.place, said.rest) == (wanted, place, ())


def test_what_nobody_would_have_written_is_kept():
    said = parse_caption("A red cone, a red elephant  and two blue crates on a beach")
    assert said.objects == {"a red cone": 1}
    assert said.place is None
    assert said.rest == ("a red elephant", "two blue crates on a beach")


def test_f1_counts_objects():
    true = "two red cones and a blue truck in a field"
    assert caption_f1([true], [true]).f1 == 1
    missed = caption_f1(["a red cone and a blue truck on a street", true], [true, true])
    assert missed.f1 == pytest.approx(2 * 5 / (5 + 6))
    assert (missed.place, missed.whole) == (0.5, 0.5)
    assert caption_f1(["a red cone and a zebra in a field"], [true]).f1 == pytest.approx(2 / (2 + 3))
    assert caption_f1([""], [true]).f1 == 0
    with pytest.raises(ValueError, match="longer"):
        caption_f1([], [true])


def test_the_tokenizers_give_every_caption_back(processor, scenes):
    words = processor.tokenizer
    for text in scenes.captions:
        assert words.decode(words(text)["input_ids"], skip_special_tokens=True) == text
    assert words.convert_tokens_to_ids("<image>") == len(words) - 1
    assert words.unk_token_id not in words("a purple barrel")["input_ids"][1:-1]


def test_the_caption_and_its_end_are_learnt_and_nothing_else(model, processor, scenes):
    said = captioner.tokens(model.config, processor, scenes.captions[:6])
    read = said["input_ids"][:, : captioner.QUERIES + 1]
    assert (read[:, :-1] == model.config.image_token_index).all()
    assert (read[:, -1] == model.config.text_config.bos_token_id).all()
    for labels, text in zip(said["labels"], scenes.captions[:6], strict=True):
        learnt = labels[labels != captioner.SILENT]
        assert learnt[-1] == processor.tokenizer.eos_token_id
        assert processor.tokenizer.decode(learnt[:-1]) == text


def test_what_was_seen_once_gives_the_loss_of_the_whole_model(model, processor, scenes):
    pixels = clip.normalised(clip.photo_tensor(scenes, np.arange(24)))
    said = captioner.tokens(model.config, processor, scenes.captions)
    seen = captioner.hidden_states(model, scenes, batch_size=7)
    assert seen.shape == (24, 65, 128) and seen.dtype == np.float16
    with torch.no_grad():
        whole = model.get_image_features(pixels).pooler_output
        answered = captioner.query_outputs(model, torch.from_numpy(seen).float())
        torch.testing.assert_close(answered, whole, atol=2e-3, rtol=1e-2)
        before = model(pixel_values=pixels, **said).loss
    assert 4 < before < 12  # about the logarithm of the vocabulary


@pytest.mark.parametrize("frozen", [True, False])
def test_a_short_training_lowers_the_loss(model, processor, scenes, tmp_path, frozen):
    pixels = clip.normalised(clip.photo_tensor(scenes, np.arange(24)))
    said = captioner.tokens(model.config, processor, scenes.captions)
    with torch.no_grad():
        before = model(pixel_values=pixels, **said).loss
    eyes = model.vision_model.encoder.layers[0].mlp.fc1.weight.clone()
    recipe = Recipe(steps=12, batch_size=12, learning_rate=3e-3, warmup=3, average=0.5)
    seen = captioner.hidden_states(model, scenes) if frozen else None
    captioner.fit_captioner("tiny", model, processor, scenes, tmp_path, recipe, seen)
    with torch.no_grad():
        assert model(pixel_values=pixels, **said).loss < 0.75 * before
    assert torch.equal(eyes, model.vision_model.encoder.layers[0].mlp.fc1.weight) == frozen


def test_the_eyes_of_the_detector_are_a_start(model, scenes, tmp_path):
    torch.manual_seed(1)
    trained = detector.build(vocabularies.clip_tokenizer(scenes.training_captions, tmp_path))
    pixels = clip.normalised(clip.photo_tensor(scenes, np.arange(8)))
    detector_to_captioner(trained, model, pixels)
    vision = trained.owlv2.vision_model
    with torch.no_grad():
        theirs = vision.post_layernorm(vision(pixels).last_hidden_state)
        ours = model.vision_model(pixels).last_hidden_state
    assert torch.cosine_similarity(theirs, ours, dim=-1).mean() > 0.95
    torch.testing.assert_close(ours[:, 0], theirs[:, 0], atol=0.3, rtol=0.3)


def test_both_captioners_see_the_same(scenes):
    both = {
        name: captioner.build(captioner.processor(HALVES[name](scenes.captions)), name) for name in HALVES
    }
    captioner_to_captioner(both["opt"], both["t5"])
    given, taken = both["opt"].state_dict(), both["t5"].state_dict()
    shared = [key for key in taken if not key.startswith("language_model.")]
    assert {"query_tokens", "language_projection.weight"} <= {*shared}
    assert all(torch.equal(given[key], taken[key]) for key in shared)


def test_queries_differ_from_the_start(model):
    assert (model.query_tokens.std(1) > 0.1).all()


def test_saved_in_half_precision_it_is_loaded_and_speaks(model, processor, scenes, half, tmp_path):
    save(model, processor, tmp_path / "blip2")
    assert (tmp_path / "blip2" / "model.safetensors").stat().st_size < 4.2e6
    checkpoint = Checkpoint("demo blip2", str(tmp_path / "blip2"))
    loaded = load_captioner(checkpoint, device="cpu")
    assert loaded.processor.num_query_tokens == captioner.QUERIES
    pixels = clip.normalised(clip.photo_tensor(scenes, np.arange(2)))
    said = captioner.tokens(model.config, processor, scenes.captions[:2])
    with torch.no_grad():
        torch.testing.assert_close(
            loaded.model(pixel_values=pixels, **said).loss,
            model(pixel_values=pixels, **said).loss,
            atol=1e-2,
            rtol=1e-2,
        )
    made = caption_all(checkpoint, [Image.fromarray(photo) for photo in scenes.photos[:2]], max_new_tokens=5)
    assert len(made) == 2 and all(isinstance(one.generated_text, str) for one in made)


def test_the_photo_is_read_as_in_training(processor, scenes):
    read = processor(images=[Image.fromarray(scenes.photos[0])], return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(
        read, clip.normalised(clip.photo_tensor(scenes, np.array([0]))), atol=1e-5, rtol=0
    )
