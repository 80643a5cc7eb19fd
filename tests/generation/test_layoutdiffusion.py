"""LayoutDiffusion as a method: guidance, batches, boxes of no class, and arms."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from PIL import Image

from helpers.generation.denoising import noise
from helpers.generation.draw import draw
from helpers.generation.generate import generate
from helpers.generation.methods.layoutdiffusion import Sampler, class_of, load
from helpers.generation.requests import Request, RequestError
from helpers.models import loading
from helpers.models.checkpoints import CheckpointMissing
from helpers.models.sets import Checkpoint, model_set
from helpers.parameters import ParameterError
from helpers.runs.arms import Arm
from helpers.runs.run import Run
from helpers.scenes import images
from tests.fakes import gligen as gligen_fakes
from tests.fakes import layoutdiffusion as fakes
from tests.fakes.study import write_scenes

SIZE, STEPS = (64, 64), 4
BOXES = np.array([[0.1, 0.2, 0.5, 0.9], [0.4, 0.4, 1, 1], [0, 0, 0.3, 0.2]], np.float32)
PHRASES = ("a red cone", "a helmet", "the green cones")


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    return fakes.parts(gligen_fakes.components(tmp_path_factory.mktemp("parts"))["vae"])


def asked(scene: str = "a", guidance_scale: float = 2.0, **changes) -> Request:
    request = Request(scene, boxes=BOXES, phrases=PHRASES, grounding="layoutdiffusion")
    return replace(request, guidance_scale=guidance_scale, **changes)


def test_guidance_scale_2_is_the_papers_scale_1(parts):
    """e = e(layout) + s (e(layout) - e(null layout)), in DDIM's steps."""
    sampler = Sampler(parts, STEPS, "ddim", SIZE)
    classes = torch.tensor([[0, 1, 2, 4, 4], [0, 4, 4, 4, 4]])
    boxes = torch.zeros(2, 5, 4)
    boxes[:, 0], boxes[0, 1:3] = torch.tensor([0.0, 0, 1, 1]), torch.from_numpy(BOXES[[0, 2]])
    scheduler = sampler.new_scheduler()
    x = noise(0, "a", sampler.shape)[None] * scheduler.init_noise_sigma
    with torch.no_grad():
        layout = parts.model.encode(classes, boxes)
        for time in scheduler.timesteps:
            with_layout, without = parts.model(x.repeat(2, 1, 1, 1), time, layout).sample.chunk(2)
            x = scheduler.step(with_layout + 1 * (with_layout - without), time, x).prev_sample
    torch.testing.assert_close(sampler.latents([asked()]), x, rtol=1e-4, atol=1e-4)


def test_a_batch_equals_one_by_one_and_rows_are_counted(parts):
    sampler, seen = Sampler(parts, STEPS, "pndm", SIZE), []
    handle = parts.unet.conv_in.register_forward_hook(lambda _, inputs, __: seen.append(len(inputs[0])))
    some = [asked(), asked("b", 1.0, boxes=BOXES[:1], phrases=PHRASES[:1]), asked("c", guidance_share=0.5)]
    together = sampler.latents(some)
    assert sum(seen) == sum(map(sampler.rows, some))
    for row, one in enumerate(some):
        torch.testing.assert_close(together[row : row + 1], sampler.latents([one]), rtol=1e-4, atol=1e-4)
    handle.remove()


def test_boxes_of_no_class_and_of_no_room_are_dropped_and_said(parts):
    many = asked(boxes=np.concatenate([BOXES[[1, 0, 2]]] * 2), phrases=(*PHRASES[::-1], *PHRASES[::-1]))
    first, second = generate(parts, [asked(), many], STEPS, "ddim", *SIZE, progress=False)
    assert first.record["phrases"] == ["a red cone", "the green cones"]
    assert first.record["dropped_phrases"] == ["a helmet"]
    np.testing.assert_allclose(first.record["dropped_boxes"], BOXES[[1]])
    assert len(second.record["phrases"]) == 4 and second.record["dropped_phrases"] == ["a helmet"] * 2
    five = asked(boxes=np.concatenate([BOXES[:1]] * 5), phrases=PHRASES[:1] * 5)
    (crowded,) = generate(parts, [five], STEPS, "ddim", *SIZE, progress=False)
    assert len(crowded.record["boxes"]) == 4 and crowded.record["dropped_phrases"] == ["a red cone"]
    plain = Sampler(parts, STEPS, "ddim", SIZE).latents([asked(boxes=BOXES[[0, 2]], phrases=PHRASES[::2])])
    torch.testing.assert_close(
        Sampler(parts, STEPS, "ddim", SIZE).latents([asked()]), plain, rtol=0, atol=1e-5
    )


def test_a_class_is_found_by_its_words():
    found = [
        class_of(one, fakes.CLASSES) for one in ("Green CONES", "a cone", "traffic lights", "green light")
    ]
    assert found == [2, None, 3, None]
    assert class_of("a green and a red cone", fakes.CLASSES) == 2  # said first


def test_what_it_does_not_read_or_lacks_is_refused(parts):
    with pytest.raises(
        RequestError, match="prompt: 'layoutdiffusion' does not read it, it reads boxes, phrases"
    ):
        generate(parts, [asked(prompt="a street")], STEPS, progress=False)
    with pytest.raises(ParameterError, match="'layoutdiffusion' has no such knob"):
        Arm("suffix", "layoutdiffusion", 2, grounded_fraction=0.3)


def test_a_model_of_pixels_draws_without_an_autoencoder():
    own = fakes.model(channels=3)
    own = type(fakes.parts(None))(own, own.unet, None, fakes.scheduler())
    (picture,) = generate(own, [asked()], STEPS, "ddim", progress=False)
    assert picture.image.size == (8, 8)
    (large,) = generate(own, [asked()], STEPS, "ddim", 16, 24, progress=False)
    enlarged = picture.image.resize((24, 16), Image.Resampling.LANCZOS)
    assert large.image.size == (24, 16) and large.record["width"] == 24
    assert np.abs(np.asarray(large.image, int) - np.asarray(enlarged, int)).max() <= 1


def test_the_shipped_model_shares_the_autoencoder_of_gligen(tmp_path):
    models = model_set("demo")
    parts = load(models)
    shipped = loading.load_gligen(models.gligen["text"], "text").vae
    assert isinstance(parts.vae, AutoencoderKL) and len(parts.commit) == 16
    for ours, theirs in zip(parts.vae.parameters(), shipped.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    absent = {"layoutdiffusion": Checkpoint("demo layoutdiffusion", str(tmp_path / "absent"))}
    with pytest.raises(CheckpointMissing, match=r"'demo layoutdiffusion'.*no such folder"):
        load(replace(models, methods=absent))


def test_an_arm_is_drawn_and_its_pictures_say_what_was_left_out(tmp_path, parts, monkeypatch):
    monkeypatch.setattr("helpers.generation.methods.layoutdiffusion.load", lambda *_: parts)
    monkeypatch.setattr(loading, "release", lambda parts: None)
    dataset = str(write_scenes(tmp_path / "photos", 3))
    settings = {"models": "demo", "fit": "squash", "size": 64, "steps": STEPS, "scheduler": "ddim"}
    run = Run.open(tmp_path / "run", dataset=dataset, safety=False, **settings)
    run.write_jsonl("prompts/suffix.jsonl", [{"scene": one.name, "prompt": "a cone"} for one in run.scenes])
    assert len(draw(run, ["suffix-layoutdiffusion-g2"], progress=False)) == 3
    record = images.read_text(run.picture("suffix-layoutdiffusion-g2", run.scenes[0]))
    there = len(json.loads(record["phrases"])) + len(json.loads(record["dropped_phrases"]))
    assert there == len(run.scenes[0].boxes) and record["prompt"] == "" and record["unet_rows"] == "8"
