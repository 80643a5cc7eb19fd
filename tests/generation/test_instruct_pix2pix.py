"""InstructPix2Pix: equality with diffusers' pipeline, batches, and the published layout."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from helpers.generation.denoising import SCHEDULERS, noise
from helpers.generation.generate import generate
from helpers.generation.methods.instruct_pix2pix import Sampler
from helpers.generation.requests import Request, RequestError
from helpers.models.loading import load_stable_diffusion
from helpers.models.sets import Checkpoint
from helpers.parameters import ParameterError
from tests.fakes import gligen as fakes

STEPS, SIZE = 5, (64, 64)


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("editor")
    return fakes.gligen(fakes.components(folder, attention_type="default", in_channels=8))


def pipeline(parts, scheduler):
    names = ("unet", "vae", "text_encoder", "tokenizer")
    return fakes.editor({name: getattr(parts, name) for name in names} | {"scheduler": scheduler})


def photo(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (64, 64, 3), "u1"))


def edit(scene: str = "a", image_guidance: float = 1.5, photo_seed: int = 0, **changes) -> Request:
    asked = Request(scene, instruction="a green cone", photo=lambda: photo(photo_seed), grounding="ip2p")
    return replace(asked, knobs={"image_guidance": image_guidance}, **changes)


def difference(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).abs().max() / b.abs().max())


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # theirs, with NumPy 2
@pytest.mark.parametrize("scheduler", ["pndm", "ddim", "dpm++2m"])
@pytest.mark.parametrize(("guidance", "image_guidance"), [(7.5, 1.5), (2.0, 1.0)])
def test_it_is_the_pipeline_of_diffusers(parts, scheduler, guidance, image_guidance):
    kind, options = SCHEDULERS[scheduler]
    theirs = pipeline(parts, kind.from_config(parts.scheduler.config, **options))(
        "a green cone",
        image=photo(0),
        num_inference_steps=STEPS,
        guidance_scale=guidance,
        image_guidance_scale=image_guidance,
        latents=noise(0, "a", (4, 8, 8))[None],
        output_type="latent",
    ).images
    ours = Sampler(parts, STEPS, scheduler, SIZE)
    assert difference(ours.latents([edit("a", image_guidance, guidance_scale=guidance)]), theirs) <= 2e-5
    for other in (edit(photo_seed=1, guidance_scale=guidance), replace(edit(), instruction="a red cone")):
        assert difference(ours.latents([other]), theirs) > 1e-3


def test_a_batch_of_different_edits_equals_one_by_one_and_rows_are_counted(parts):
    sampler, seen = Sampler(parts, STEPS, "pndm", SIZE), []
    handle = parts.unet.conv_in.register_forward_hook(lambda _, inputs, __: seen.append(len(inputs[0])))
    edits = [edit("a"), edit("b", 2.0, 1, guidance_scale=1.0), edit("c", 1.0, 2, instruction="a red vest")]
    together = sampler.latents(edits)
    assert sum(seen) == sum(map(sampler.rows, edits))
    handle.remove()
    filled = sampler.latents(edits, rows=8)
    for row, one in enumerate(edits):
        assert difference(together[row], sampler.latents([one])[0]) <= 1e-4
        assert difference(filled[row], together[row]) <= 1e-4


def test_without_guidance_neither_photo_nor_instruction_matters(parts):
    """image_guidance 0 leaves the row without both, guidance_scale 0 those without the instruction."""
    sampler = Sampler(parts, STEPS, "ddim", SIZE)
    neither = sampler.latents([edit(image_guidance=0, guidance_scale=0)])
    other = edit(image_guidance=0, guidance_scale=0, photo_seed=3, instruction="a red vest")
    assert difference(sampler.latents([other]), neither) <= 1e-5
    without_text = [edit(guidance_scale=0), edit(guidance_scale=0, instruction="a red vest")]
    assert difference(*sampler.latents(without_text)) <= 1e-5


def test_it_is_read_as_it_is_published(tmp_path):
    published = fakes.write_editor(tmp_path / "published")
    loaded = load_stable_diffusion(Checkpoint("published", str(published)))
    same = fakes.gligen(fakes.components(tmp_path, attention_type="default", in_channels=8))
    for scheduler in SCHEDULERS:
        ours = Sampler(loaded, STEPS, scheduler, SIZE).latents([edit()])
        assert difference(ours, Sampler(same, STEPS, scheduler, SIZE).latents([edit()])) <= 1e-5


def test_what_cannot_be_edited_is_refused(parts, tmp_path):
    for wrong, said in [
        (replace(edit(), photo=None), "no photo: 'ip2p' needs one"),
        (replace(edit(), instruction=""), "no instruction: 'ip2p' needs one"),
        (replace(edit(), prompt="a green cone"), "'ip2p' does not read it"),
    ]:
        with pytest.raises(RequestError, match=said):
            generate(parts, [wrong], STEPS, progress=False)
    other = fakes.gligen(fakes.components(tmp_path))
    with pytest.raises(ParameterError, match="reads 4 channels, not 8"):
        generate(other, [edit()], STEPS, progress=False)
