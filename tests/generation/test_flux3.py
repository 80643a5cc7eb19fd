"""FLUX 3 with tiny random parts: plumbing that must hold whatever the weights, and nothing about layouts."""

import json
import socket
from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import Flux3DistilledAutoBlocks, Flux3Transformer2DModel
from PIL import Image

from helpers.captioning.layout_prompts import table
from helpers.generation.denoising import noise
from helpers.generation.draw import draw
from helpers.generation.generate import generate
from helpers.generation.methods import flux3, loader
from helpers.generation.pictures import record
from helpers.generation.requests import Request, RequestError
from helpers.models import loading, sets
from helpers.models.sets import model_set
from helpers.parameters import ParameterError
from helpers.report import box_scores, gallery
from helpers.runs.arms import Arm
from helpers.scenes import images
from tests.fakes import flux3 as fakes
from tests.generation.test_methods import start

SIDE, STEPS = 64, 2
DEMO = model_set("demo")
WORDS = "a worker", "a worker in a street", "a worker in a street with many barrels and ladders and crates"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = str(fakes.write_flux3(tmp_path_factory.mktemp("flux3")))
    return replace(model_set("published").methods["flux3"], source=folder, revision=None)


@pytest.fixture(autouse=True)
def tiny(checkpoint, monkeypatch):
    """It stands in the place of the published weights, and nothing asks a hub; one thread, because several
    wait for each other at so small matrices."""
    demo = replace(DEMO, methods={"flux3": checkpoint})
    monkeypatch.setitem(sets.MODEL_SETS, "demo", lambda: demo)
    monkeypatch.setattr(flux3, "LAYERS", fakes.LAYERS)
    monkeypatch.setattr(loading.gc, "collect", lambda: None)  # which takes a while beside all other tests
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("the network was asked"))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def parts():
    return flux3.load(model_set("demo"), "cpu")


def ask(scene: str, prompt: str = WORDS[0], boxes: int = 1, **more) -> Request:
    low = np.random.default_rng(boxes).uniform(0, 0.5, (boxes, 2))
    layout = {"boxes": np.hstack([low, low + 0.3]), "phrases": ("a cone",) * boxes} if boxes else {}
    return Request(scene, prompt, grounding="flux3", guidance_scale=1, **layout | more)


def pictures(parts, requests, batch_size=8, side=SIDE):
    options = {"height": side, "width": side, "batch_size": batch_size, "progress": False}
    return list(generate(parts, requests, STEPS, **options))


def levels(a: Image.Image, b: Image.Image) -> int:
    return int(np.abs(np.asarray(a, int) - np.asarray(b, int)).max())


def test_it_is_the_pipeline_of_diffusers_without_its_upsampler(parts):
    (made,) = pictures(parts, [ask("a")])
    blocks = Flux3DistilledAutoBlocks()
    blocks.sub_blocks.pop("prompt_upsampler")
    pipe = blocks.init_pipeline()
    networks = {name: getattr(parts, name) for name in ("transformer", "vae")}
    parts.hold("text_encoder", *networks)  # freed, it is read again
    pipe.update_components(text_encoder=parts.text_encoder, tokenizer=parts.processor, **networks)
    given = {"height": SIDE, "width": SIDE, "num_inference_steps": STEPS, "output": "images"}
    given |= {"text_encoder_out_layers": fakes.LAYERS, "prompt": made.record["layout_prompt"]}
    own = noise(0, "a", (fakes.CHANNELS, SIDE // 16, SIDE // 16))[None]
    assert levels(made.image, pipe(latents=own, **given)[0]) <= 1
    generator, same = torch.Generator().manual_seed(5), torch.Generator().manual_seed(5)
    drawn = pipe(generator=generator, **given)[0]
    given["latents"] = torch.randn(own.shape, generator=same)
    assert levels(drawn, pipe(**given)[0]) == 0 and levels(drawn, made.image) > 1
    assert not hasattr(flux3.Sampler(parts, STEPS, "", (SIDE, SIDE)).pipe, "prompt_upsampler")


def test_pictures_share_a_batch_where_their_windows_are_equal_and_keep_their_order(parts):
    asked = [ask(f"s{k}", WORDS[k % 3], boxes=k % 4, seed=k) for k in range(7)]
    sampler, calls = flux3.Sampler(parts, STEPS, "", (SIDE, SIDE)), []
    assert sampler.prepare(asked) == 7 and parts.text_encoder is None
    windows = [parts.embeds[flux3.prompt_of(one)].shape[1] for one in asked]
    assert 1 < len(set(windows)) < 7 and not any(window % 80 for window in windows)
    parts.transformer.register_forward_pre_hook(
        lambda _, __, given: calls.append(len(given["hidden_states"])), with_kwargs=True
    )
    together = sampler.draw(asked, step=lambda done, total: calls.append((done, total)))
    sizes = [call for call in calls if isinstance(call, int)]
    assert sorted(sizes) == sorted(windows.count(one) for one in set(windows) for _ in range(STEPS))
    assert calls[-1] == (len(sizes), len(sizes))
    for one, picture in zip(asked, together, strict=True):
        assert levels(sampler.draw([one])[0], picture) <= 1
    assert min(levels(together[0], other) for other in together[1:]) > 1


def test_prompts_are_encoded_in_portions_where_they_are_many(parts, monkeypatch):
    asked = [ask(f"s{k}", WORDS[k % 2]) for k in range(3)]
    whole = pictures(parts, asked)
    monkeypatch.setattr(flux3, "HELD", 1)
    fresh, held = flux3.load(model_set("demo"), "cpu"), []
    hold = flux3.Flux3.hold
    monkeypatch.setattr(flux3.Flux3, "hold", lambda self, *names: (held.append(names), hold(self, *names)))
    portions = pictures(fresh, asked)
    assert held == [("text_encoder",), ("transformer", "vae")] * 3
    assert all(levels(a.image, b.image) <= 1 for a, b in zip(whole, portions, strict=True))
    held.clear()
    again = pictures(fresh, asked[-1:])
    assert held == [("transformer", "vae")] and levels(again[0].image, portions[-1].image) <= 1


def test_all_boxes_are_given_and_the_record_says_what_was_read(parts):
    crowd = ask("crowd", boxes=69)
    assert len(table(flux3.prompt_of(crowd))) == 69
    (made,) = pictures(parts, [ask("a", boxes=3)])
    assert record(crowd, None)["dropped_boxes"] == [] and len(record(crowd, None)["boxes"]) == 69
    assert len(table(made.record["layout_prompt"])) == 3 and made.record["prompt_tokens"] > 3 * 45
    assert made.record["licence"].startswith("FLUX Kommunity License 1.0: non-commercial")
    (none,) = pictures(parts, [replace(ask("a", boxes=0), grounding="flux3_none")])
    assert none.record["layout_prompt"] == WORDS[0] and none.record["unet_rows"] == STEPS


def test_what_cannot_be_drawn_is_said_before_a_network_is_loaded(parts, monkeypatch):
    monkeypatch.setattr(flux3, "network", lambda *_: pytest.fail("a network was loaded"))
    with pytest.raises(RequestError, match=r"scene 'crowd', prompt: 10,.* tokens of 8,192 at most"):
        pictures(parts, [ask("a"), ask("crowd", boxes=130)])
    with pytest.raises(ParameterError, match=r"size = \(72, 72\): .* a multiple of 16"):
        pictures(parts, [ask("a")], side=72)
    with pytest.raises(ParameterError, match="size = 500: give pixels, a multiple of 16"):
        Arm("suffix", "flux3", knobs={"size": 500})
    for wrong in ({"guidance_scale": 3}, {"grounded_fraction": 0.3}, {"scheduler": "ddim"}):
        with pytest.raises(ParameterError, match="'flux3' has no such knob"):
            Arm("suffix", "flux3", **wrong)
    tabled = flux3.prompt_of(ask("a"))
    with pytest.raises(RequestError, match="scene 'a', prompt: it has a table"):
        pictures(parts, [ask("a", tabled)])
    with pytest.raises(RequestError, match="scene 'a', prompt: it has no table"):
        pictures(parts, [replace(ask("a"), grounding="flux3_up")])
    assert flux3.prompt_of(replace(ask("a", tabled), grounding="flux3_up")) == tabled


def test_an_arm_is_drawn_and_resumed(tmp_path):
    run = start(tmp_path, safety=False)
    names = ["caption-flux3-n2-p64", "caption-flux3_none-n2-p64", "caption-flux3-n2-other-p80"]
    assert [Arm.parse(name).name for name in names] == names
    assert len(draw(run, names, progress=False)) == 9
    told = images.read_text(run.picture(names[0], run.scenes[0]))
    assert len(table(told["layout_prompt"])) == 2 and told["steps"] == "2"
    assert json.loads(told["height"]) == 64 and told["scheduler"].startswith("FlowMatch")
    assert images.load(run.picture(names[2], run.scenes[0])).size == (80, 80)
    assert box_scores.dropped(run, names).empty and gallery.compare(run, run.scenes, {names[2]: "b"}).data
    path = run.picture(names[0], run.scenes[1])
    before = images.load(path)
    path.unlink()
    assert len(draw(run, names, progress=False)) == 1 and levels(images.load(path), before) <= 1


def test_a_model_set_without_its_weights_says_so(monkeypatch):
    monkeypatch.setitem(sets.MODEL_SETS, "demo", lambda: replace(DEMO, methods={}))
    key, load = loader("flux3", model_set("demo"), None)
    assert key == loader("flux3_none", model_set("demo"), None)[0]
    with pytest.raises(ParameterError, match=r"'demo': no checkpoint of 'flux3' .* MODELS=published"):
        load()


def test_the_published_model_is_as_large_as_it_is_said():
    """Its configuration in diffusers, with the embedding of a step-distilled one."""
    with torch.device("meta"):
        model = Flux3Transformer2DModel(flow_map=True)
    assert round(sum(one.numel() for one in model.parameters()) / 1e9, 3) == 5.549
    assert (model.config.in_channels, model.config.joint_attention_dim) == (128, 8 * 2560)
