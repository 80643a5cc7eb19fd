"""Our loop against diffusers' two GLIGEN pipelines: the same latents from the same noise."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from helpers.generation.denoising import SCHEDULERS, Denoiser, noise
from helpers.generation.generate import generate
from helpers.generation.requests import Request
from helpers.models.loading import Gligen, load_gligen
from helpers.models.sets import model_set
from helpers.runs import arms as settings
from tests.fakes import gligen as fakes

STEPS, SIZE, AGREE = 6, (128, 128), 1e-4  # AGREE: largest relative difference of latents
BOXES = np.array([[0.1, 0.2, 0.5, 0.9], [0.55, 0.1, 0.95, 0.4], [0.3, 0.6, 0.8, 0.8]], np.float32)
PHRASES = ("a worker in a green vest", "an orange cone", "a blue barrel")


@pytest.fixture(scope="module")
def parts(tmp_path_factory) -> dict[str, dict]:
    """The components of a text and of a text + image checkpoint, by grounding."""
    return {
        "text": fakes.components(tmp_path_factory.mktemp("text")),
        "image": fakes.components(tmp_path_factory.mktemp("image"), image=True),
    }


def asked(**changes) -> Request:
    random = np.random.default_rng(0)
    crops = tuple(
        Image.fromarray(random.integers(0, 256, (30 + 9 * n, 40, 3), "u1")) for n in range(len(BOXES))
    )
    request = Request(
        "a.jpg", "a worker with a cone in a warehouse", "blurred", BOXES, PHRASES, crops, "centre"
    )
    return fakes.readable(request, **changes)


def ours(parts: dict, request: Request, scheduler: str = "pndm") -> torch.Tensor:
    return Denoiser(fakes.gligen(parts), STEPS, scheduler, SIZE).latents([request])


def theirs(
    parts: dict, request: Request, output_type: str = "latent", **options
) -> torch.Tensor | np.ndarray:
    """What diffusers makes of it. After a fraction under 1 its fusers stay off: they are switched on again;
    for image grounding it ignores the fraction, so they are switched off after the same number of calls."""
    pipe = fakes.pipeline(parts)
    if request.grounding == "image":
        calls = int(request.grounded_fraction * (STEPS + 1))
        options["callback"] = lambda step, *_: pipe.enable_fuser(step + 1 < calls)
        options = {"gligen_images": list(request.crops)} | options
    told = {"gligen_phrases": list(request.phrases), "gligen_boxes": request.boxes.tolist()}
    made = pipe(
        request.prompt,
        negative_prompt=request.negative_prompt,
        num_inference_steps=STEPS,
        guidance_scale=request.guidance_scale,
        gligen_scheduled_sampling_beta=request.grounded_fraction,
        output_type=output_type,
        latents=noise(request.seed, request.scene, (parts["vae"].config.latent_channels, 16, 16))[None],
        **told | options,
    ).images
    pipe.enable_fuser(True)
    return made


def difference(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).abs().max() / b.abs().max())


@contextmanager
def closed_gates(parts: dict) -> Iterator[None]:
    gates = [
        gate
        for name, gate in parts["unet"].named_parameters()
        if name.endswith(("alpha_attn", "alpha_dense"))
    ]
    with torch.no_grad():
        for gate in gates:
            gate.zero_()
        yield
        for gate in gates:
            gate.fill_(fakes.GATE)


CASES = [("text", fraction, guidance) for fraction in (0.0, 0.3, 1.0) for guidance in (7.5, 1.0)] + [
    ("image", fraction, guidance) for fraction in (0.3, 1.0) for guidance in (7.5, 1.0)
]


@pytest.mark.parametrize(("grounding", "fraction", "guidance"), CASES)
def test_latents_agree_with_diffusers(parts, grounding, fraction, guidance):
    request = asked(grounding=grounding, grounded_fraction=fraction, guidance_scale=guidance)
    assert difference(ours(parts[grounding], request), theirs(parts[grounding], request)) <= AGREE


@pytest.mark.parametrize(("grounding", "fraction", "guidance"), [case for case in CASES if case[1] > 0])
def test_that_agreement_breaks_when_it_should(parts, grounding, fraction, guidance):
    """Swapped boxes, phrases or crops, closed gates, another number of grounded calls: each differs by more
    than twice what test_latents_agree_with_diffusers allows."""
    own, request = (
        parts[grounding],
        asked(grounding=grounding, grounded_fraction=fraction, guidance_scale=guidance),
    )
    reference, other = theirs(own, request), {"grounded_fraction": 0.5}
    swaps = [{"boxes": BOXES[[1, 0, 2]]}, {"phrases": PHRASES[::-1]}, other]
    swaps += [{"crops": request.crops[::-1]}] if grounding == "image" else []
    for changes in swaps:
        assert difference(ours(own, replace(request, **changes)), reference) > 2 * AGREE, changes
    with closed_gates(own):
        assert difference(ours(own, request), reference) > 2 * AGREE


@pytest.mark.parametrize("grounding", ["text", "image"])
def test_pictures_agree_with_diffusers(parts, grounding):
    """Decoding too: no pixel differs by more than a rounding."""
    request = asked(grounding=grounding)
    (picture,) = generate(fakes.gligen(parts[grounding]), [request], STEPS, progress=False)
    reference = theirs(parts[grounding], request, "np")[0] * 255
    assert np.abs(np.asarray(picture.image, np.float64) - reference).max() <= 0.51


def test_grounding_none_is_stable_diffusion_without_fusers(parts):
    request = asked()
    reference = theirs(parts["text"], replace(request, grounded_fraction=0.0))
    assert difference(ours(parts["text"], asked(grounding="none")), reference) <= AGREE
    assert difference(ours(parts["text"], request), reference) > 2 * AGREE


@pytest.mark.filterwarnings(
    "ignore:__array__ implementation:DeprecationWarning"
)  # diffusers' own, with NumPy 2
@pytest.mark.parametrize("name", SCHEDULERS)
def test_every_scheduler_agrees_with_diffusers(parts, name):
    assert tuple(SCHEDULERS) == settings.SCHEDULERS
    kind, options = SCHEDULERS[name]
    scheduler = kind.from_config(parts["text"]["scheduler"].config, **options)
    reference = theirs(parts["text"] | {"scheduler": scheduler}, asked())
    assert difference(ours(parts["text"], asked(), name), reference) <= AGREE
    others = [ours(parts["text"], asked(), other) for other in SCHEDULERS if other != name]
    assert min(difference(other, reference) for other in others) > 2 * AGREE


@pytest.mark.slow
@pytest.mark.parametrize("grounding", ["text", "image"])
def test_the_demo_checkpoints_agree_with_diffusers(grounding):
    checkpoint = model_set("demo").gligen[grounding]
    if not Path(checkpoint.source).is_dir():
        pytest.skip(f"{checkpoint.source} is not there yet: run `make demo-models`")
    gligen: Gligen = load_gligen(checkpoint, grounding, "cpu", torch.float32)
    parts = {name: part for name, part in vars(gligen).items() if name in fakes.PARTS and part is not None}
    parts |= {"safety_checker": None, "feature_extractor": None}
    request = asked(grounding=grounding)
    reference = theirs(parts, request)
    assert difference(ours(parts, request), reference) <= AGREE
    assert difference(ours(parts, replace(request, boxes=BOXES[[1, 0, 2]])), reference) > 2 * AGREE
