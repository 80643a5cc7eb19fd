"""Inclusive tokens: the losses by hand, files that diffusers reads, and prompts that every method reads."""

import json
import math

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file

from helpers.generation import draw as drawing
from helpers.generation import tokens
from helpers.generation.tokens import consistency_loss, direction_loss, learn, read_tokens
from helpers.models import loading
from helpers.models.sets import model_set
from helpers.parameters import ParameterError
from helpers.runs.run import Run
from tests.fakes import gligen as fakes
from tests.fakes.clip import write_clip
from tests.fakes.study import write_scenes

DEMO = model_set("demo")
PLACES = ("in a field", "on a street")


def unit(*degrees):
    angles = torch.tensor(degrees).deg2rad()
    return torch.stack([angles.cos(), angles.sin()], dim=-1)


def test_direction_loss_is_one_minus_the_cosine_of_both_differences():
    photos, texts = torch.tensor([[1.0, 0.0], [0.0, 0.0]]), torch.tensor([[0.0, 0.0], [-3.0, 4.0]])
    assert float(direction_loss(photos, texts)) == pytest.approx(1 - 3 / 5)


def test_direction_loss_is_summed_over_all_pairs():
    photos = torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 1.0]])
    texts = torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, -1.0]])
    # pairs: the same direction; (1, -1) and (1, 1); opposite
    assert float(direction_loss(photos, texts)) == pytest.approx(0 + 1 + 2)


def test_direction_loss_is_0_for_aligned_means():
    photos = torch.randn(4, 8, generator=torch.Generator().manual_seed(0))
    assert float(direction_loss(photos, 0.3 * photos + 5)) == pytest.approx(0, abs=1e-5)


def test_consistency_is_a_hinge_at_a_cosine_of_0_8():
    bare = unit(0.0, 90.0)
    near = torch.stack([unit(30.0, 90.0), unit(-30.0, 60.0)])  # cosines 0.87, 1; 0.87, 0.87
    assert float(consistency_loss(near, bare)) == 0
    edge = math.degrees(math.acos(0.8))
    at_it = torch.stack([unit(edge, 90.0 - edge)] * 2)
    assert float(consistency_loss(at_it, bare)) == pytest.approx(0, abs=1e-6)
    far = torch.stack([unit(60.0, 90.0), unit(0.0, 90.0)])  # of one category one prompt is at 0.5
    assert float(consistency_loss(far, bare)) == pytest.approx(0.3 / 2)
    three = torch.stack([*far, unit(0.0, 90.0)])  # each category is in two pairs
    assert float(consistency_loss(three, bare)) == pytest.approx(0.3)


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run of the demo set with a random CLIP and five scenes that say their place."""
    dataset = write_scenes(tmp_path / "photos", 5)
    entries = json.loads((dataset / "annotations.json").read_text())
    for k, entry in enumerate(entries):
        entry |= {"place": PLACES[k % 2], "phrases": ["a red cone", "a crate"]}
    (dataset / "annotations.json").write_text(json.dumps(entries))
    write_clip(tmp_path / "data" / "models" / "clip")
    monkeypatch.setenv("GROUNDED_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(tokens, "STEPS", 6)
    settings = {"dataset": str(dataset), "models": "demo", "fit": "squash", "size": 64, "safety": False}
    return Run.open(tmp_path / "run", **settings, steps=2, scheduler="ddim")


def test_tokens_are_written_with_the_prompts_of_three_templates(run):
    about = learn(run, "place")
    assert about["categories"] == [*PLACES] and about["photos"] == {"in a field": 3, "on a street": 2}
    assert 0 <= about["right"] <= 1 and about["seconds"] >= 0
    files = sorted((run.folder / "tokens").glob("*.safetensors"))
    assert [path.name for path in files] == ["place-0.safetensors", "place-1.safetensors"]
    (embedding,) = load_file(files[1]).values()
    assert embedding.shape == (3, 16) and embedding.abs().sum() > 0
    rows = run.prompts("place_tokens")
    assert list(rows.category.value_counts()) == [3, 2]
    assert run.prompts("place_words").category.tolist() == rows.category.tolist()
    assert run.prompts("place_bare").category.isna().all()


def test_training_is_repeatable_and_is_not_repeated(run, monkeypatch):
    learn(run, "place")
    path = run.folder / "tokens" / "place-0.safetensors"
    first = load_file(path)["<place-0>"]
    (run.folder / "tokens" / "place.json").unlink()
    learn(run, "place")
    assert torch.allclose(load_file(path)["<place-0>"], first, atol=1e-5)
    monkeypatch.setattr(tokens, "load_clip", None)  # who calls it fails
    assert learn(run, "place")["categories"] == [*PLACES]
    with pytest.raises(ParameterError, match=r"'place' were learnt with text .*name the attribute anew"):
        learn(run, "place", text="{category} {labels}")


def test_learning_brings_texts_closer_to_the_directions_of_the_photos(run, monkeypatch):
    seen = []

    def watched(*features):
        seen.append(float((loss := direction_loss(*features)).detach()))
        return loss

    monkeypatch.setattr(tokens, "STEPS", 60)
    monkeypatch.setattr(tokens, "direction_loss", watched)
    learn(run, "place")
    assert seen[0] == pytest.approx(1) and np.mean(seen[-10:]) < 0.7  # at first no text says a category


def test_diffusers_own_loader_reads_them_into_its_own_pipeline(run, tmp_path):
    learn(run, "place")
    parts = fakes.components(tmp_path / "parts", attention_type="default")
    pipe = StableDiffusionPipeline(**parts, requires_safety_checker=False)
    before = len(pipe.tokenizer)
    pipe.load_textual_inversion(str(run.folder / "tokens" / "place-1.safetensors"))
    assert len(pipe.tokenizer) == before + 3
    prompt = pipe.maybe_convert_prompt("a red cone <place-1>", pipe.tokenizer)
    assert prompt == "a red cone <place-1> <place-1>_1 <place-1>_2"  # what stands in our prompts
    known = pipe.text_encoder.get_input_embeddings().weight[before:]
    assert torch.equal(known, load_file(run.folder / "tokens" / "place-1.safetensors")["<place-1>"])


def test_every_method_reads_them_through_the_prompt_and_other_prompts_stay(run, tmp_path, monkeypatch):
    learn(run, "place")
    rows = [{"scene": one.name, "prompt": "a red cone"} for one in run.scenes]
    run.write_jsonl("prompts/caption.jsonl", rows)
    asked, arms = [], ["place_tokens-text-g2", "place_tokens-sdedit-g2", "caption-text-g2"]
    made = fakes.gligen(fakes.components(tmp_path / "parts"))
    monkeypatch.setattr(loading, "load_gligen", lambda *_, **__: made)
    monkeypatch.setattr(loading, "release", lambda gligen: None)
    encode = made.text_encoder.forward
    monkeypatch.setattr(made.text_encoder, "forward", lambda *a, **k: asked.append(a or k) or encode(*a, **k))
    words = len(made.tokenizer)
    plain = made.text_encoder(made.tokenizer(["a red cone"], return_tensors="pt").input_ids)[0]
    asked.clear()
    drawing.draw(run, arms, progress=False)
    assert not any(run.missing(arm, run.scenes) for arm in arms)
    given = [one[0] if isinstance(one, tuple) else one["input_ids"] for one in asked]
    prompts = [row for ids in given for row in ids if (row >= words).any()]
    of_tokens = {tuple(row[row >= words].tolist()) for row in prompts}
    assert of_tokens == {(words, words + 1, words + 2), (words + 3, words + 4, words + 5)}
    again = made.text_encoder(made.tokenizer(["a red cone"], return_tensors="pt").input_ids)[0]
    assert torch.equal(plain, again)


def test_a_method_without_a_text_encoder_stays_as_it_is(run):
    learn(run, "place")
    parts = object()
    assert read_tokens(parts, run.folder / "tokens") is parts


def test_the_generators_of_the_demo_set_read_the_words_that_clip_reads():
    """What is learnt in CLIP's embedding means the same in the generator's."""
    clip = loading.load_clip(DEMO.clip, "cpu")
    own = clip.model.text_model.get_input_embeddings().weight
    for kind, checkpoint in DEMO.gligen.items():
        gligen = loading.load_gligen(checkpoint, kind, "cpu", torch.float32)
        assert torch.equal(gligen.text_encoder.get_input_embeddings().weight, own)
        assert gligen.tokenizer.get_vocab() == clip.processor.tokenizer.get_vocab()
