"""TurboEdit: its equations, by a network that stands in for the UNet, and the published layout."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler, EulerDiscreteScheduler, StableDiffusionPipeline
from PIL import Image

from helpers.generation.generate import generate
from helpers.generation.methods import loader
from helpers.generation.methods.turboedit import CLIP, TIMESTEPS, edit, posterior_mean
from helpers.generation.requests import Request
from helpers.models.sets import Checkpoint, model_set
from tests.fakes import gligen as fakes

TIMES = TIMESTEPS[4]
BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
SCHEDULER = DDPMScheduler(**BETAS, clip_sample=False)
ALPHAS = SCHEDULER.alphas_cumprod


def latents(seed, count=2):
    return torch.randn((count, 4, 6, 6), generator=torch.Generator().manual_seed(seed))


def network(target):
    """Noise that depends on latents, timestep and prompt; rows of the target prompt get `target` added."""

    def predict(rows, time):
        shift = torch.cat([torch.zeros(2 * len(rows) // 3), torch.full([len(rows) // 3], float(target))])
        return torch.tanh(rows * (1 + time / 1000)) + shift.reshape(-1, 1, 1, 1) * torch.cos(rows)

    return predict


def run(target=0.5, photo=None, **settings):
    photo = latents(0) if photo is None else photo
    noises = [latents(10 + index, len(photo)) for index in range(4)]
    options = {"pseudo_guidance": 1.5, "shift": 200, "clip": math.inf} | settings
    return edit(network(target), photo, noises, ALPHAS, TIMES, **options)


def test_posterior_mean_is_that_of_ddpm(monkeypatch):
    monkeypatch.setattr(
        "diffusers.schedulers.scheduling_ddpm.randn_tensor", lambda shape, **_: torch.zeros(shape)
    )
    SCHEDULER.set_timesteps(timesteps=TIMES)
    x, noise_pred = latents(1), latents(2)
    for time, previous in zip(TIMES, [*TIMES[1:], None], strict=True):
        signal = 1.0 if previous is None else float(ALPHAS[previous])
        mean = posterior_mean(x, noise_pred, float(ALPHAS[time]), signal)
        assert torch.allclose(mean, SCHEDULER.step(noise_pred, time, x).prev_sample, atol=1e-5)


@pytest.mark.parametrize("settings", [{"target": 0}, {"pseudo_guidance": 0}])
def test_the_same_prompt_or_no_guidance_gives_the_photo_back(settings):
    assert torch.allclose(run(**settings), latents(0), atol=1e-5)


def test_without_shift_and_scaling_it_is_edit_friendly_inversion():
    photo, predict = latents(0), network(0.5)
    chain = []
    for index, time in enumerate(TIMES):
        signal = float(ALPHAS[time])
        chain.append(signal**0.5 * photo + (1 - signal) ** 0.5 * latents(10 + index))
    signals = [float(ALPHAS[time]) for time in TIMES] + [1.0]
    edited = chain[0]
    for index, (here, there) in enumerate(zip(chain, [*chain[1:], photo], strict=True)):

        def mean(x, row, index=index):
            noise_pred = predict(torch.cat([x, x, x]), TIMES[index]).chunk(3)[row]
            return posterior_mean(x, noise_pred, signals[index], signals[index + 1])

        edited = mean(edited, 2) + there - mean(here, 0)
    assert torch.allclose(run(shift=0, pseudo_guidance=1), edited, atol=1e-5)


def test_guidance_enters_one_step_linearly():
    def one(weight):
        return edit(network(0.5), latents(0), [latents(9)], ALPHAS, [799], weight, clip=math.inf)

    assert torch.allclose(one(2.0) - one(1.0), one(1.0) - one(0.0), atol=1e-5)
    assert not torch.allclose(one(1.0), one(0.0), atol=1e-2)


def test_each_picture_of_a_batch_has_its_own_clip_and_guidance():
    photo = torch.cat([latents(0, 1), 20 * latents(3, 1)])
    together = run(photo=photo, clip=CLIP, pseudo_guidance=torch.tensor([1.0, 2.0]))
    noises = [latents(10 + index) for index in range(4)]
    for row, weight in enumerate((1.0, 2.0)):
        own = [noise[row : row + 1] for noise in noises]
        alone = edit(network(0.5), photo[row : row + 1], own, ALPHAS, TIMES, weight, clip=CLIP)
        assert torch.allclose(together[row : row + 1], alone, atol=1e-4)
    assert not torch.allclose(run(photo=photo, clip=math.inf)[1], run(photo=photo, clip=CLIP)[1], atol=1e-2)


def test_it_draws_with_a_few_step_model_as_that_is_published(tmp_path):
    """stabilityai/sd-turbo: no gated layers, another scheduler, twins in half precision."""
    parts = fakes.components(tmp_path, attention_type="default")
    parts |= {"scheduler": EulerDiscreteScheduler(**BETAS, steps_offset=1, timestep_spacing="trailing")}
    pipe = StableDiffusionPipeline(**parts, requires_safety_checker=False)
    pipe.save_pretrained(tmp_path / "published", variant="fp16")
    own = Checkpoint("turbo", str(tmp_path / "published"), variant="fp16")
    published = replace(model_set("published"), methods={"turboedit": own})
    assert model_set("published").methods["turboedit"].source == "stabilityai/sd-turbo"
    key, load = loader("turboedit", published, None)
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), "u1"))
    prompts = {"prompt": "a red cone", "source_prompt": "a green cone", "photo": lambda: photo}
    asked = Request("a", grounding="turboedit", guidance_scale=1, **prompts)
    (picture,) = generate(load(), [asked], 4, height=64, width=64, progress=False)
    assert key == own.source and picture.record["checkpoint"] == "turbo" and picture.image.size == (64, 64)
    assert loader("turboedit_text", published, None)[0] == "text"
