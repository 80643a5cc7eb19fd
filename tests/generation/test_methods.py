"""Methods by their interface: what they read, their knobs, batches of them, and equality with diffusers."""

import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionImg2ImgPipeline
from PIL import Image

from helpers.generation import draw as drawing
from helpers.generation import methods, pictures
from helpers.generation.denoising import SCHEDULERS, Denoiser, noise
from helpers.generation.draw import draw, request
from helpers.generation.generate import generate
from helpers.generation.methods import inpaint, sdedit
from helpers.generation.requests import Request, RequestError
from helpers.models import loading
from helpers.parameters import ParameterError
from helpers.runs.arms import Arm
from helpers.runs.external import is_external, unfinished
from helpers.runs.methods import GROUNDINGS, METHODS, READS, Method
from helpers.runs.run import Run
from helpers.scenes import images
from tests.fakes import gligen as fakes
from tests.fakes.study import write_scenes

ROOT = Path(__file__).resolve().parents[2]
STEPS, SIZE = 5, (64, 64)


@pytest.fixture(scope="module")
def gligen(tmp_path_factory):
    return fakes.gligen(fakes.components(tmp_path_factory.mktemp("text")))


def photo(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (64, 64, 3), "u1"))


def edit(scene: str = "a", strength: float = 0.6, seed: int = 0, **changes) -> Request:
    asked = Request(scene, "a worker with a cone", photo=lambda: photo(seed), grounding="sdedit")
    return replace(asked, knobs={"strength": strength}, **changes)


def difference(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).abs().max() / b.abs().max())


def test_every_method_is_a_line_and_a_module():
    assert tuple(METHODS)[:3] == GROUNDINGS
    for name, method in METHODS.items():
        assert set(method.reads) <= set(READS) and re.fullmatch("[a-z][a-z0-9_]*", name)
        asked = Request("a", grounding=name)
        assert callable(methods.sampler([asked]).draw) and callable(methods.sampler([asked]).rows)


@pytest.mark.parametrize(
    ("arm", "said"),
    [
        ({"grounding": "sdedit", "grounded_fraction": 0.3}, "'sdedit' has no such knob"),
        ({"grounding": "text", "knobs": {"strength": 0.3}}, "'text' has no such knob"),
        ({"grounding": "sdedit", "knobs": {"strength": 2}}, "strength = 2: give the share"),
        ({"grounding": "sdedit", "layout": "mirrored"}, "SDEdit shows what stands in the photo's own boxes"),
        ({"grounding": "sdedti"}, "did you mean 'sdedit'"),
    ],
)
def test_a_knob_that_a_method_lacks_is_an_error(arm, said):
    with pytest.raises(ParameterError, match=said):
        Arm("suffix", guidance_scale=2, **arm)


def test_arms_of_methods_are_named_by_their_knobs():
    arm = Arm("suffix", "sdedit", 2, seed=1, knobs={"strength": 0.4})
    assert arm.name == "suffix-sdedit-g2-s1-t0.4" and Arm.parse(arm.name) == arm and not arm.is_plain
    usual = Arm("suffix", "sdedit", 2, knobs={"strength": 0.6})
    assert usual == Arm("suffix", "sdedit", 2) and usual.name == "suffix-sdedit-g2"
    assert not is_external(arm.name)
    for wrong in ("suffix-text-g2-t0.4", "suffix-sdedit", "suffix-sdedit-g2-t"):
        with pytest.raises(ParameterError):
            Arm.parse(wrong)


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_at_full_strength_sdedit_is_the_picture_without_boxes(gligen, scheduler):
    """And at less it keeps the more of the photo the less it is."""
    plain = replace(edit(), grounding="none", photo=None, knobs={})
    reference = Denoiser(gligen, STEPS, scheduler, SIZE).latents([plain])
    sampler = sdedit.Sampler(gligen, STEPS, scheduler, SIZE)
    assert torch.equal(sampler.latents([edit(strength=1)]), reference)
    with torch.no_grad():
        own = sampler.encode([edit()])
    far = [float((sampler.latents([edit(strength=x)]) - own).norm()) for x in (0.2, 0.6, 1)]
    assert far == sorted(far)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # theirs, with NumPy 2
@pytest.mark.parametrize("scheduler", ["ddim", "dpm++2m"])
@pytest.mark.parametrize("guidance", [1.0, 7.5])
def test_sdedit_is_the_image_to_image_pipeline_of_diffusers(gligen, monkeypatch, scheduler, guidance):
    """Theirs with our noise, and with the mode of the photo's latents in place of a drawn sample."""
    kind, options = SCHEDULERS[scheduler]
    parts = {name: getattr(gligen, name) for name in ("unet", "vae", "text_encoder", "tokenizer")}
    parts |= {"scheduler": kind.from_config(gligen.scheduler.config, **options)}
    pipe = StableDiffusionImg2ImgPipeline(
        **parts, safety_checker=None, feature_extractor=None, requires_safety_checker=False
    )
    pipe.set_progress_bar_config(disable=True)
    module = sys.modules[type(pipe).__module__]
    monkeypatch.setattr(module, "randn_tensor", lambda shape, **_: noise(0, "a", tuple(shape[1:]))[None])
    monkeypatch.setattr(module, "retrieve_latents", lambda encoded, **_: encoded.latent_dist.mode())
    asked = edit(guidance_scale=guidance)
    given = {"strength": 0.6, "num_inference_steps": STEPS, "guidance_scale": guidance}
    theirs = pipe(asked.prompt, image=photo(0), output_type="latent", **given).images
    ours = sdedit.Sampler(gligen, STEPS, scheduler, SIZE).latents([asked])
    assert difference(ours, theirs) <= 1e-4
    other = sdedit.Sampler(gligen, STEPS, scheduler, SIZE).latents([replace(asked, photo=lambda: photo(1))])
    assert difference(other, theirs) > 1e-2


def test_a_batch_of_edits_equals_one_by_one_and_rows_are_counted(gligen):
    sampler, seen = sdedit.Sampler(gligen, STEPS, "pndm", SIZE), []
    handle = gligen.unet.conv_in.register_forward_hook(lambda _, inputs, __: seen.append(len(inputs[0])))
    edits = [edit("a"), edit("b", seed=1, guidance_scale=1.0), edit("c", seed=2, guidance_share=0.5)]
    together = sampler.latents(edits)
    assert sum(seen) == sum(map(sampler.rows, edits))
    for row, one in enumerate(edits):
        assert difference(together[row], sampler.latents([one])[0]) <= 1e-4
    handle.remove()
    with pytest.raises(ParameterError, match=r"strength = 0\.1: of 5 steps none is left; give at least 0\.2"):
        sampler.latents([edit(strength=0.1)])


def test_what_cannot_share_a_batch_is_refused(gligen):
    def refused(requests, said):
        with pytest.raises(ValueError, match=said):
            generate(gligen, requests, STEPS, progress=False)

    refused([edit(), Request("a", "a cone")], "'sdedit', 'text' in one call")
    refused([edit(), edit("b", strength=0.3)], "differ in their knobs")
    with pytest.raises(RequestError, match="no photo: 'sdedit' needs one"):
        generate(gligen, [replace(edit(), photo=None)], STEPS, progress=False)


def test_a_request_gives_what_its_method_reads_and_no_more(tmp_path, monkeypatch):
    run = start(tmp_path)
    monkeypatch.setitem(METHODS, "all", Method("all", READS))
    for name, method in METHODS.items():
        texts = {"source_prompt": "a photo", "instruction": "make it green"}
        scale = 2 if "guidance_scale" in method.knobs else 1
        arm = Arm("caption", name, scale)
        made = request(run.scenes[0], "a cone", arm, run.card["protocol"], edit=texts | {"box": 1})
        given = [
            one
            for one in READS
            if (value := getattr(made, one)) is not None and (callable(value) or len(value))
        ]
        assert given == [one for one in READS if one in method.reads], name


def start(folder, **settings) -> Run:
    dataset = str(write_scenes(folder / "photos", 3))
    usual = {"dataset": dataset, "models": "demo", "fit": "squash", "size": 64, "steps": 4}
    run = Run.open(folder / "run", **usual | {"scheduler": "ddim", "safety": False} | settings)
    run.write_jsonl("prompts/caption.jsonl", [{"scene": one.name, "prompt": "a cone"} for one in run.scenes])
    return run


@pytest.fixture
def loaded(gligen, monkeypatch):
    monkeypatch.setattr(loading, "load_gligen", lambda *_, **__: gligen)
    monkeypatch.setattr(loading, "release", lambda parts: None)


@pytest.mark.parametrize("fit", ["squash", "crop"])
def test_edits_are_drawn_as_arms_resume_and_say_what_they_took(tmp_path, loaded, fit):
    run = start(tmp_path, fit=fit)
    names = ["caption-sdedit-g2-t0.5", "caption-sdedit-g1-t0.5", "caption-inpaint-g2", "caption-none-g2"]
    assert len(draw(run, names, progress=False)) == 12 and not unfinished(run)
    record = images.read_text(run.picture(names[0], run.scenes[0]))
    assert record["unet_rows"] == "4" and float(record["seconds"]) > 0
    assert (record["grounding"], record["strength"], record["arm"]) == ("sdedit", "0.5", names[0])
    assert json.loads(record["boxes"]) == [] and record["scheduler"] == "ddim"
    path = run.picture(names[0], run.scenes[1])
    before = images.to_array([images.load(path)])
    path.unlink()
    assert len(draw(run, names, progress=False)) == 1
    np.testing.assert_array_equal(images.to_array([images.load(path)]), before)


def test_a_record_names_the_settings_that_the_method_has_and_no_others():
    settings = {"steps": 4, "scheduler": "ddim", "height": 64}
    turbo, text = (
        pictures.record(Request("a", grounding=name), None, **settings) for name in ("turboedit", "text")
    )
    assert {"steps", "pseudo_guidance", "seed", "height"} <= turbo.keys()
    assert not {"scheduler", "guidance_scale", "guidance_share", "grounded_fraction"} & turbo.keys()
    assert {"steps", "scheduler", "guidance_scale", "grounded_fraction"} <= text.keys()
    assert "pseudo_guidance" not in text


def test_where_the_template_is_no_set_of_edits_a_method_that_reads_one_says_so(tmp_path, loaded, monkeypatch):
    monkeypatch.setitem(METHODS, "told", Method("told", ("photo", "instruction")))
    run = start(tmp_path)
    with pytest.raises(drawing.ArmsFailed, match="its scenes have no instruction, which 'told' reads"):
        draw(run, ["caption-told-g1"], progress=False)


def test_inpainting_keeps_the_photo_in_an_arm(tmp_path, loaded, gligen):
    run = start(tmp_path)
    draw(run, ["caption-inpaint-g2"], progress=False)
    scene = run.scenes[0]
    made = request(scene, "a cone", Arm("caption", "inpaint", 2), run.card["protocol"])
    sampler = inpaint.Sampler(gligen, 4, "ddim", SIZE)
    (picture,) = sampler.draw([made])
    there = np.asarray(images.load(run.picture("caption-inpaint-g2", scene)), int)
    assert np.abs(np.asarray(picture, int) - there).max() <= 1  # alone, and as a part of a batch
    with torch.no_grad():
        own = sampler.encode([made])[0]
    kept = torch.from_numpy(inpaint.mask(made.boxes, *sampler.shape[1:])).bool()
    assert kept.any() and torch.allclose(sampler.latents([made])[0][:, kept], own[:, kept])


def test_the_method_of_the_readme_draws(tmp_path, monkeypatch):
    """Its file and its line, as they stand there."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    pattern = r"```(?:py)?\n# helpers/(?:generation/methods/mean|runs/methods)\.py.*?\n(.*?)```"
    file, line = re.findall(pattern, text, re.DOTALL)
    (tmp_path / "mean_of_the_readme.py").write_text(file)
    monkeypatch.syspath_prepend(tmp_path)
    name, method = next(iter(eval(f"{{{line}}}", {"Method": Method, "FOLDER": ""}).items()))
    monkeypatch.setitem(METHODS, name, replace(method, module="mean_of_the_readme"))
    monkeypatch.setattr(loading, "release", lambda parts: None)
    run = start(tmp_path / "study")
    arm = f"caption-{name}"
    assert Arm.parse(arm).name == arm and len(file.splitlines()) <= 20
    assert len(draw(run, [arm], progress=False)) == len(run.scenes)
    pixels = np.asarray(images.load(run.picture(arm, run.scenes[0])))
    assert (pixels == pixels[0, 0]).all() and images.read_text(run.picture(arm, run.scenes[0]))[
        "unet_rows"
    ] == "0"
