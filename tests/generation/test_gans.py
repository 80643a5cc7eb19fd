"""AttnGAN and SSA-GAN as methods: words and masks, batches, checkpoints, and prompts that cannot be drawn."""

import re
from base64 import b64decode
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

from data.training.attngan import build as build_attngan
from data.training.saving import share
from data.training.ssagan import build as build_ssagan
from helpers.generation.generate import generate, write
from helpers.generation.methods import attngan, ssagan
from helpers.generation.methods.gans import GanPipeline, Text, Words
from helpers.generation.requests import Request
from helpers.models.checkpoints import CheckpointMissing
from helpers.models.sets import Checkpoint, model_set
from helpers.parameters import ParameterError
from helpers.scenes.images import read_text
from tests.fakes import gans as fakes
from tests.fakes import gligen as gligen_fakes

SIZE = (64, 64)
PROMPTS = ("a worker", "a red cone with a blue barrel", "crate orange")
KINDS = {"attngan": (attngan, fakes.attngan), "ssagan": (ssagan, fakes.ssagan)}


@pytest.fixture(scope="module")
def gligen(tmp_path_factory):
    return gligen_fakes.components(tmp_path_factory.mktemp("gligen"))


@pytest.fixture(params=KINDS)
def drawing(request, gligen):
    """A method's name, module and parts."""
    module, make = KINDS[request.param]
    parts = gligen["text_encoder"], gligen["tokenizer"], gligen["vae"]
    return request.param, module, GanPipeline(make(latents=True), *parts)


def asked(name: str, prompts=PROMPTS) -> list[Request]:
    return [
        Request(f"scene {i}", prompt, grounding=name, guidance_scale=1) for i, prompt in enumerate(prompts)
    ]


def noises(rows: int, length: int = 100) -> torch.Tensor:
    return torch.randn(rows, length, generator=torch.Generator().manual_seed(1))


def test_a_place_attends_to_real_words_alone_and_wholly_in_batches_too():
    """The published code repeats the mask in the wrong order: places get the mask of another caption."""
    text = fakes.text([2, 7, 4])
    drawn = fakes.attngan(channels=(8, 8, 6))(noises(3), text, noises(3))
    assert [one.shape for one in drawn.maps] == [(3, 4, 4, 7), (3, 8, 8, 7)]
    for attention in drawn.maps:
        torch.testing.assert_close(attention.sum(-1), torch.ones(attention.shape[:3]))
        for row, real in enumerate(text.real):
            assert (attention[row, ..., ~real] == 0).all() and (attention[row, ..., real] > 0).all()


def test_a_place_takes_up_the_words_that_it_attends_to():
    layer = fakes.shaken(attngan.WordAttention(8, fakes.WIDTH))
    text, hidden = fakes.text([5]), torch.randn(1, 8, 2, 2)
    context, attention = layer(hidden, text)
    words = layer.project(text.words)[0]
    torch.testing.assert_close(context[0, :, 1, 0], attention[0, 1, 0] @ words)
    torch.testing.assert_close(attention[0, 1, 0], (words @ hidden[0, :, 1, 0]).softmax(0))


def test_the_condition_varies_with_its_spread():
    model, text = fakes.attngan(), fakes.text([3])
    first, second = (model(noises(1), text, spread) for spread in (torch.zeros(1, 100), torch.ones(1, 100)))
    torch.testing.assert_close(first.mean, second.mean)
    assert (first.pictures[-1] - second.pictures[-1]).abs().max() > 0.01


def test_with_a_mask_of_0_a_norm_is_the_unconditional_one():
    layer = fakes.shaken(ssagan.ConditionalNorm(6, fakes.WIDTH))
    hidden, sentence, mask = torch.randn(2, 6, 4, 4), torch.randn(2, fakes.WIDTH), torch.zeros(2, 1, 4, 4)
    torch.testing.assert_close(layer(hidden, sentence, mask), layer.norm(hidden))
    mask[:, :, :2] = 1
    changed = (layer(hidden, sentence, mask) - layer.norm(hidden)).abs()
    assert (changed[:, :, 2:] == 0).all() and changed[:, :, :2].mean() > 0.01
    one = torch.ones_like(mask)
    expected = (1 + layer.scale(sentence))[..., None, None] * layer.norm(hidden)
    torch.testing.assert_close(
        layer(hidden, sentence, one), expected + layer.shift(sentence)[..., None, None]
    )


def test_a_new_block_is_the_identity_and_a_new_norm_reads_no_sentence():
    block, norm = ssagan.Block(6, 6, fakes.WIDTH).eval(), ssagan.ConditionalNorm(6, fakes.WIDTH).eval()
    hidden, sentence, mask = torch.randn(2, 6, 4, 4), torch.randn(2, fakes.WIDTH), torch.ones(2, 1, 4, 4)
    assert torch.equal(block(hidden, sentence, mask), hidden)
    torch.testing.assert_close(norm(hidden, sentence, mask), norm.norm(hidden))


def test_masks_are_predicted_from_the_block_before_and_grow_with_the_picture():
    drawn = fakes.ssagan()(noises(2), fakes.text([3, 5]))
    assert [mask.shape for mask in drawn.maps] == [(2, 4, 4), (2, 8, 8)]
    assert all(((mask > 0) & (mask < 1)).all() for mask in drawn.maps)
    other = fakes.ssagan()(noises(2), fakes.text([3, 5], seed=1))
    torch.testing.assert_close(drawn.maps[0], other.maps[0])  # it is of the noise alone
    assert (drawn.maps[1] - other.maps[1]).abs().max() > 1e-4


def test_one_prompt_alone_is_drawn_as_in_a_batch(drawing):
    name, module, parts = drawing
    sampler, requests = module.Sampler(parts, 8, "ddim", SIZE), asked(name)
    together = sampler.make(requests).pictures[-1]
    for row, request in enumerate(requests):
        alone = sampler.make([request], least=3).pictures[-1]
        assert len(alone) == 3
        torch.testing.assert_close(alone[:1], together[row : row + 1], rtol=1e-4, atol=1e-4)
    others = [
        replace(requests[0], seed=1),
        replace(requests[0], scene="other"),
        replace(requests[0], prompt="a"),
    ]
    for other in sampler.make(others).pictures[-1]:
        assert (other - together[0]).abs().max() > 1e-3


def test_pictures_have_the_size_of_the_run_and_say_what_was_cut(drawing):
    name, _, parts = drawing
    requests = asked(name, ("a cone", "a cone " * 60))
    pictures = list(generate(parts, requests, height=64, width=48, progress=False))
    assert [picture.image.size for picture in pictures] == [(48, 64)] * 2
    assert [len(picture.record["cut_texts"]) for picture in pictures] == [0, 1]
    assert pictures[0].record["unet_rows"] == 1
    assert ("mask" in pictures[0].record) == (name == "ssagan")


def test_the_last_mask_is_kept_as_a_picture(gligen, tmp_path):
    parts = GanPipeline(
        fakes.ssagan(latents=True), gligen["text_encoder"], gligen["tokenizer"], gligen["vae"]
    )
    (request,), file = asked("ssagan", ("a cone",)), tmp_path / "a.png"
    write(generate(parts, [request], height=64, width=64, progress=False), lambda _: file)
    kept = np.asarray(Image.open(BytesIO(b64decode(read_text(file)["mask"]))))
    mask = ssagan.Sampler(parts, 8, "ddim", SIZE).make([request]).maps[-1][0]
    np.testing.assert_allclose(kept, 255 * mask, atol=0.6)
    assert kept.std() > 1


def test_a_prompt_without_a_word_is_refused(drawing):
    name, module, parts = drawing
    with pytest.raises(ParameterError, match=re.escape("scene 'scene 1', prompt ' , ': no word")):
        module.Sampler(parts, 8, "ddim", SIZE).draw(asked(name, ("a cone", " , ")))


def test_words_of_the_published_vocabulary():
    model = fakes.shaken(Words(("<end>", "a", "red", "cone"), embedding=5, width=6))
    together, alone = model(["A red cone.", "cone"]), model(["cone"])
    assert together.words.shape == (2, 3, 6) and together.real.tolist() == [[True] * 3, [True, False, False]]
    torch.testing.assert_close(together.words[1, :1], alone.words[0])
    torch.testing.assert_close(together.sentence[1:], alone.sentence)
    # of both directions the last state: at the last word, and at the first
    torch.testing.assert_close(
        together.sentence[0], torch.cat([together.words[0, 2, :3], together.words[0, 0, 3:]])
    )
    with pytest.warns(UserWarning, match="does not know: helmet"):
        some = model(["a helmet", "cone"])
    torch.testing.assert_close(some.words[0, :1], model(["a"]).words[0])
    with (
        pytest.warns(UserWarning),
        pytest.raises(ParameterError, match="'helmet': the checkpoint knows none"),
    ):
        model(["a", "helmet"])


@pytest.mark.parametrize("name", KINDS)
def test_a_checkpoint_takes_its_shared_parts_from_the_folder_beside_it(name, gligen, tmp_path):
    for part in ("tokenizer", "text_encoder", "vae"):
        gligen[part].save_pretrained(tmp_path / "gligen-text" / part)
    module, make = KINDS[name]
    parts = gligen["text_encoder"], gligen["tokenizer"], gligen["vae"]
    GanPipeline(make(latents=True), *parts).save_pretrained(tmp_path / name)
    share(tmp_path / name, "text_encoder", "tokenizer", "vae")
    models = replace(model_set("demo"), methods={name: Checkpoint(name, str(tmp_path / name))})
    parts = module.load(models)
    assert isinstance(parts.encode(["a cone"]), Text) and parts.generator.dtype == torch.float32
    (picture,) = module.Sampler(parts, 8, "ddim", SIZE).draw(asked(name)[:1])
    assert picture.size == SIZE
    (tmp_path / "gligen-text" / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(CheckpointMissing, match="vae"):
        module.load(models)


@pytest.mark.parametrize("name", KINDS)
def test_published_weights_that_were_not_converted_are_asked_for(name, tmp_path, monkeypatch):
    monkeypatch.setenv("GROUNDED_DATA", str(tmp_path))
    with pytest.raises(CheckpointMissing, match=f"python -m data.converters.{name} FOLDER"):
        KINDS[name][0].load(model_set("published"))


@pytest.mark.parametrize("build", [build_attngan, build_ssagan])
def test_the_demo_generators_draw_the_demo_latents(build):
    model, text = build().eval(), fakes.text([3], width=128)
    spread = (noises(1),) if build is build_attngan else ()
    assert model(noises(1), text, *spread).pictures[-1].shape == (1, 8, 16, 16)
