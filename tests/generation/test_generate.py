"""The batched loop: a picture does not depend on its neighbours, and nothing it needs stays behind."""

import time
import warnings
from collections import Counter
from dataclasses import replace
from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from diffusers.models.attention import GatedSelfAttentionDense
from hypothesis import given, settings
from hypothesis import strategies as some
from PIL import Image

from helpers.generation import generate as grounding
from helpers.generation.conditioning import Conditions
from helpers.generation.denoising import SCHEDULERS, Denoiser, noise
from helpers.generation.generate import generate, write
from helpers.generation.methods import inpaint
from helpers.generation.methods.inpaint import mask
from helpers.generation.requests import Request, RequestError, entries
from helpers.models.loading import load_gligen
from helpers.models.sets import model_set
from helpers.parameters import ParameterError
from helpers.runs.arms import MOST_STEPS
from helpers.scenes import images
from tests.fakes import gligen as fakes

STEPS, SIZE = 3, (64, 64)
BOXES = np.array([[0.1, 0.2, 0.5, 0.9], [0.55, 0.1, 0.95, 0.4], [0.3, 0.6, 0.8, 0.8]], np.float32)
PHRASES = ("a worker in a green vest", "an orange cone", "a blue barrel")
GATES = ("alpha_attn", "alpha_dense")


@pytest.fixture(scope="module")
def parts(tmp_path_factory) -> dict:
    return fakes.components(tmp_path_factory.mktemp("image"), image=True)


@pytest.fixture(scope="module")
def gligen(parts) -> SimpleNamespace:
    """A text + image checkpoint."""
    return fakes.gligen(parts)


@pytest.fixture(scope="module")
def text_gligen(tmp_path_factory) -> SimpleNamespace:
    return fakes.gligen(fakes.components(tmp_path_factory.mktemp("text")))


@cache
def picture(seed: int, width: int = 40, height: int = 40) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), "u1"))


def asked(scene: str = "a", boxes: int = 3, **changes) -> Request:
    request = Request(scene, "a worker with a cone", "blurred", BOXES[:boxes], PHRASES[:boxes])
    return fakes.readable(replace(request, crops=tuple(picture(n) for n in range(boxes))), **changes)


def latents(gligen, requests, scheduler: str = "pndm", **options) -> torch.Tensor:
    return Denoiser(gligen, STEPS, scheduler, SIZE).latents(requests, **options)


def made(gligen, requests, **options) -> list[np.ndarray]:
    options = {"steps": STEPS, "height": 64, "width": 64, "progress": False} | options
    return [np.asarray(one.image) for one in generate(gligen, requests, **options)]


def difference(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).abs().max() / b.abs().max())


REQUESTS = some.builds(
    asked,
    scene=some.sampled_from("abc"),
    boxes=some.integers(0, 3),
    prompt=some.sampled_from(["a worker with a cone", "a crate", ""]),
    negative_prompt=some.sampled_from(["", "blurred"]),
    grounding=some.sampled_from(["none", "text", "image"]),
    guidance_scale=some.sampled_from([0.0, 1.0, 3.0, 7.5]),
    grounded_fraction=some.sampled_from([0.0, 0.3, 0.5, 1.0]),
    seed=some.integers(0, 2),
)


@settings(deadline=None, max_examples=8, derandomize=True, database=None)
@given(batch=some.lists(REQUESTS, min_size=2, max_size=5))
def test_in_any_mix_a_picture_is_what_it_is_alone(gligen, batch):
    together = latents(gligen, batch)
    for row, request in enumerate(batch):
        assert difference(together[row], latents(gligen, [request])[0]) <= 1e-4, request


def test_order_and_batch_size_do_not_matter(gligen):
    kinds = (
        {"grounding": "none"},
        {},
        {"grounding": "image"},
        {"guidance_scale": 1.0},
        {"grounded_fraction": 1.0},
    )
    requests = [asked(f"scene {n}", **{"grounded_fraction": 0.5} | kind) for n, kind in enumerate(kinds)]
    reference = made(gligen, requests, batch_size=1)
    for batch_size in (2, 5, 16):
        again = made(gligen, requests[::-1], batch_size=batch_size)[::-1]
        for one, other in zip(reference, again, strict=True):
            assert np.abs(one.astype(int) - other).max() <= 1


def test_with_fixed_shapes_a_resumed_run_makes_the_same_bits(gligen):
    requests = [asked(f"scene {n}", boxes=n % 4) for n in range(5)]
    whole = made(gligen, requests, batch_size=3, fixed_shapes=True)
    rest = made(gligen, [requests[4], requests[1]], batch_size=3, fixed_shapes=True)
    assert fakes.same(rest, [whole[4], whole[1]])


def test_noise_depends_on_seed_and_scene_alone():
    one = noise(3, "a.jpg", (4, 16, 16))
    torch.rand(5)
    torch.testing.assert_close(one, noise(3, "a.jpg", (4, 16, 16)), rtol=0, atol=0)
    others = [noise(4, "a.jpg", (4, 16, 16)), noise(3, "b.jpg", (4, 16, 16)), noise(31, ".jpg", (4, 16, 16))]
    assert all(abs(float(torch.corrcoef(torch.stack([one, x]).flatten(1))[0, 1])) < 0.15 for x in others)
    assert one.dtype == torch.float32 and abs(float(one.std()) - 1) < 0.1


def test_arms_of_a_scene_start_from_the_same_noise(gligen):
    """Without boxes and guidance the arms of a scene are equal: they differ by what they ask for alone."""
    arms = [asked(grounding=kind, guidance_scale=scale) for kind in ("none", "text") for scale in (1.0, 7.5)]
    off = [replace(one, grounded_fraction=0.0, guidance_scale=1.0) for one in arms]
    made = latents(gligen, off)
    assert all(difference(made[row], made[0]) <= 1e-5 for row in range(4))


def test_the_unet_is_left_as_it_was_found(gligen):
    def state() -> tuple:
        unet = gligen.unet
        modules = {name: (type(module), module.training) for name, module in unet.named_modules()}
        hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in unet.modules()]
        enabled = [m.enabled for m in unet.modules() if isinstance(m, GatedSelfAttentionDense)]
        pointers = {name: (id(value), value._version) for name, value in unet.named_parameters()}
        return modules, hooks, enabled, pointers, set(vars(unet))

    before, values = state(), {name: value.clone() for name, value in gligen.unet.state_dict().items()}
    latents(
        gligen,
        [asked(grounding=kind, grounded_fraction=0.4) for kind in ("none", "text", "image")],
    )
    assert state() == before
    assert all(torch.equal(value, values[name]) for name, value in gligen.unet.state_dict().items())


class Counted:
    """Rows that reach a module of the UNet, call by call."""

    def __init__(self, module: torch.nn.Module) -> None:
        self.rows: list[int] = []
        self.handle = module.register_forward_hook(lambda _, inputs, __: self.rows.append(len(inputs[0])))

    def __enter__(self) -> list[int]:
        return self.rows

    def __exit__(self, *_) -> None:
        self.handle.remove()


def rows(gligen, requests, **options) -> tuple[list[int], list[int]]:
    """Rows of every UNet call and of every call of its first fuser."""
    fuser = next(m for m in gligen.unet.modules() if isinstance(m, GatedSelfAttentionDense))
    with Counted(gligen.unet.conv_in) as all_rows, Counted(fuser) as grounded:
        latents(gligen, requests, **options)
    return all_rows, grounded


def test_calls_outside_the_interval_of_guidance_have_no_unconditional_rows(gligen):
    """Of 4 calls the middle two; a share of 1 changes nothing, a share of 0 is no guidance."""
    half = [asked(guidance_share=0.5), asked("b", guidance_share=0.5)]
    assert rows(gligen, half)[0] == [2, 4, 4, 2]
    assert rows(gligen, half, rows=6)[0] == [3, 6, 6, 3]
    assert rows(gligen, [asked(guidance_share=0.5), asked("b")])[0] == [3, 4, 4, 3]
    alone = latents(gligen, [asked(guidance_share=0.5)])
    assert difference(latents(gligen, [asked("b"), half[0]])[1:], alone) <= 1e-5
    assert difference(alone, latents(gligen, [asked()])) > 1e-3
    without = latents(gligen, [asked(guidance_scale=1.0)])
    assert difference(latents(gligen, [asked(guidance_share=0.0)]), without) <= 1e-5
    pictures = generate(gligen, [half[0], asked(), asked(guidance_scale=1.0)], steps=3, progress=False)
    assert [picture.record["unet_rows"] for picture in pictures] == [6, 8, 4]


def test_one_call_a_step_on_the_rows_that_need_it(gligen):
    """PNDM makes STEPS + 1 = 4 calls. Pictures with guidance over 1 have an untold row, others have none."""
    assert rows(gligen, [asked(), asked("b")]) == ([4] * 4, [4] * 4)
    assert rows(gligen, [asked(guidance_scale=1.0), asked("b", guidance_scale=0.5)]) == ([2] * 4, [2] * 4)
    assert rows(gligen, [asked(), asked("b", guidance_scale=1.0)]) == ([3] * 4, [3] * 4)
    assert rows(gligen, [asked(grounding="none")]) == ([2] * 4, [])


def test_grounded_fraction_saves_its_share(gligen):
    assert rows(gligen, [asked(grounded_fraction=0.5), asked("b", grounded_fraction=0.5)]) == (
        [4] * 4,
        [4] * 2,
    )
    mixed = [asked(grounded_fraction=0.5), asked("b"), asked("c", grounding="none")]
    assert rows(gligen, mixed) == ([4, 2, 4, 2, 2, 4, 2, 4], [4, 4, 2, 2])


def test_calls_are_filled_up_to_fixed_shapes(gligen):
    mixed = [asked(grounded_fraction=0.5), asked("b", guidance_scale=1.0)]
    assert set(rows(gligen, mixed, rows=6)[0]) == {6}
    assert difference(latents(gligen, mixed, rows=6), latents(gligen, mixed)) <= 1e-5


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_the_loop_never_waits_for_the_device(gligen, monkeypatch, scheduler):
    """On torch's meta device nothing can be read back: any item(), bool() or copy to the host would raise."""
    requests = [asked(grounded_fraction=0.3), asked("b", grounding="none", guidance_scale=1.0)]
    conditions = Conditions(gligen)
    told = (
        conditions.prompt_embeds([""] * 3).to("meta"),
        conditions.tokens([entries(asked())] * 2)[:3].to("meta"),
    )
    monkeypatch.setattr(Denoiser, "_conditions", lambda *_: told)
    with torch.device("meta"):
        unet = type(gligen.unet).from_config(gligen.unet.config)
    beyond = SimpleNamespace(**vars(gligen) | {"unet": unet, "device": torch.device("meta")})
    assert latents(beyond, requests, scheduler).shape == (2, 4, 8, 8)
    with pytest.raises(RuntimeError):
        latents(beyond, requests, scheduler).max().item()


def test_inputs_are_computed_once(gligen, monkeypatch):
    """Four pictures that share prompts, phrases and crops: each distinct one is encoded once."""
    seen = Counter()
    for name in ("_encode_prompts", "_encode_phrases", "_encode_images"):
        encode = getattr(Conditions, name)

        def counted(self, inputs, name=name, encode=encode):
            seen[name] += len(inputs)
            return encode(self, inputs)

        counted.__name__ = name
        monkeypatch.setattr(Conditions, name, counted)
    made(gligen, [asked(f"scene {n}", grounding="image") for n in range(4)], batch_size=2)
    assert seen == {"_encode_prompts": 2, "_encode_phrases": 3, "_encode_images": 3}


def test_tokens_are_exact_whatever_the_unet_runs_in(gligen, tmp_path):
    half = fakes.gligen(fakes.components(tmp_path, image=True))
    half.unet.to(torch.bfloat16)
    half.unet.position_net.load_state_dict(gligen.unet.position_net.state_dict())
    twin = fakes.gligen(fakes.components(tmp_path, image=True))
    twin.unet.position_net.load_state_dict(half.unet.position_net.state_dict())
    used = [entries(asked(grounding="image"))]
    with torch.no_grad():
        exact = Conditions(twin).tokens(used)
        assert torch.equal(Conditions(half).tokens(used), exact.to(torch.bfloat16))
    result = latents(half, [asked()])
    assert result.dtype == torch.float32 and result.isfinite().all()


def test_without_boxes_all_tokens_are_null(gligen):
    conditions = Conditions(gligen)
    tokens = conditions.tokens([entries(asked(boxes=0)), entries(asked(boxes=1))])
    assert torch.equal(tokens[0], tokens[2])
    filled = (tokens[1] != tokens[2]).any(dim=1).nonzero().flatten().tolist()
    assert filled == [0, 30]  # the box's phrase, and the box with a null image
    assert latents(gligen, [asked(boxes=0)]).isfinite().all()


@pytest.mark.parametrize("count", [1, 30, 33])
def test_any_number_of_boxes(gligen, count):
    side = np.linspace(0.1, 0.9, count)
    boxes = np.stack([np.zeros(count), np.zeros(count), side, side], axis=1)
    request = asked(boxes=0, prompt="a cone")
    request = replace(request, boxes=boxes, phrases=tuple(f"thing {n}" for n in range(count)))
    first = max(count - 30, 0)
    largest = replace(request, boxes=boxes[first:], phrases=request.phrases[first:])
    result, same = generate(gligen, [request, largest], STEPS, height=64, width=64, progress=False)
    assert result.record["dropped_phrases"] == [f"thing {n}" for n in range(first)]
    assert len(result.record["boxes"]) == count - first and len(result.record["dropped_boxes"]) == first
    assert np.array_equal(np.asarray(result.image), np.asarray(same.image))


def test_texts_over_77_tokens_are_cut_and_reported(gligen):
    long = " ".join(["cone"] * 100)
    request = asked(boxes=1, phrases=(long,), prompt=long + " cone")
    (one,) = generate(gligen, [request], STEPS, height=64, width=64, progress=False)
    assert one.record["cut_texts"] == [long + " cone", long]
    short = " ".join(["cone"] * 75)
    same = replace(request, phrases=(short,), prompt=short)
    assert difference(latents(gligen, [request]), latents(gligen, [same])) <= 1e-6


def test_a_tall_crop_is_seen_whole_or_in_its_middle(gligen):
    """What changes at the top of a crop, outside its middle square, changes the picture where it is squashed,
    as in GLIGEN's training, and nothing where the processor cuts the middle out."""
    processor = gligen.processor.image_processor
    assert processor.do_center_crop
    tall, other = picture(5).resize((30, 90)), picture(5).resize((30, 90))
    other.paste("red", (0, 0, 30, 18))
    for fit, changed in (("squash", True), ("centre", False)):
        requests = [
            asked(grounding="image", crops=(one,) * len(asked().phrases), crop_fit=fit)
            for one in (tall, other)
        ]
        one, two = latents(gligen, requests[:1]), latents(gligen, requests[1:])
        assert (difference(one, two) > 1e-4) == changed, fit


def test_a_processor_that_cuts_nothing_shows_the_same_bits_either_way():
    """Of the demo models, whose pictures were made before there was a choice."""
    loaded = load_gligen(model_set("demo").gligen["image"], "image", "cpu")
    conditions = Conditions(loaded)
    shown = [conditions._pixels(picture(5).resize((30, 90)), fit) for fit in ("squash", "centre")]
    assert torch.equal(*shown)


@pytest.mark.parametrize("size", [(64, 96), (96, 64)])
def test_other_sizes(text_gligen, size):
    (one,) = generate(text_gligen, [asked()], STEPS, height=size[0], width=size[1], progress=False)
    assert one.image.size == (size[1], size[0])
    assert (one.record["height"], one.record["width"]) == size


def test_the_inpainting_mask_follows_boxes_of_pictures_that_are_not_square():
    kept = mask(np.array([[0.5, 0.0, 1.0, 0.25]], np.float32), height=8, width=12)
    expected = np.ones((8, 12))
    expected[:2, 6:] = 0
    np.testing.assert_array_equal(kept, expected)
    assert (mask(np.array([[0.3, 0.6, 0.4, 0.61]], np.float32), 10, 10) == 0).sum() == 1
    assert mask(np.empty((0, 4)), 4, 4).all()


def test_inpainting_keeps_the_photo_outside_the_boxes(tmp_path):
    gligen = fakes.gligen(fakes.components(tmp_path))
    photo = picture(3, width=120, height=80)
    request = asked(boxes=1, grounding="inpaint", photo=lambda: photo)
    denoiser = inpaint.Sampler(gligen, STEPS, "pndm", (64, 96))
    result, again, other = (denoiser.latents([one]) for one in (request, request, replace(request, seed=1)))
    assert torch.equal(result, again)
    pixels = images.to_tensor(images.to_array([photo.resize((96, 64), Image.Resampling.LANCZOS)]))
    with torch.no_grad():
        clean = gligen.vae.encode(pixels).latent_dist.mode() * gligen.vae.config.scaling_factor
    kept = torch.from_numpy(mask(request.boxes, 8, 12)).bool()
    torch.testing.assert_close(result[0][:, kept], clean[0][:, kept])
    assert difference(result[0][:, ~kept], clean[0][:, ~kept]) > 0.1
    assert difference(result[0][:, ~kept], other[0][:, ~kept]) > 0.1
    another = replace(request, scene="b", photo=lambda: picture(4))
    both = denoiser.latents([another, request])
    assert difference(both[1], result[0]) <= 1e-4
    assert difference(both[0], denoiser.latents([another])[0]) <= 1e-4
    text = Denoiser(gligen, STEPS, "pndm", (64, 96)).latents([asked(boxes=1)])
    assert text.isfinite().all() and difference(text, result) > 0.1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"scheduler": "pdnm"}, ("scheduler", "'pdnm'", "did you mean 'pndm'")),
        ({"steps": 0}, ("steps", "0")),
        ({"batch_size": 0.5}, ("batch_size", "0.5")),
        ({"height": 100}, ("height", "100", "multiple of 8")),
        ({"width": -8}, ("width", "-8")),
        ({"safety": True}, ("safety", "without a safety checker")),
    ],
)
def test_settings_that_cannot_be_right_fail_before_any_model_runs(options, words):
    untouched = SimpleNamespace(
        unet=SimpleNamespace(config=SimpleNamespace(attention_type="gated", sample_size=16)),
        vae=SimpleNamespace(config=SimpleNamespace(block_out_channels=(1,) * 4)),
        safety_checker=None,
    )
    with pytest.raises(ParameterError) as error:
        generate(untouched, [asked()], **options)
    assert all(word in str(error.value) for word in words)
    with pytest.raises(RequestError, match=r"text [+] image"):
        generate(untouched, [asked(grounding="image")])


def test_a_unet_without_fusers_draws_without_grounding_only(tmp_path):
    plain = fakes.gligen(fakes.components(tmp_path, attention_type="default"))
    assert latents(plain, [asked(grounding="none")]).isfinite().all()
    with pytest.raises(RequestError, match="no grounding layers"):
        generate(plain, [asked()])


def stream(fits: int, count: int = 7, size: int = 8) -> tuple[list[int], list[int]]:
    """Pictures made of `count` requests, and the batch sizes tried; over `fits` memory runs out."""
    tried = []

    def make(requests: list[int], batch_size: int) -> list[int]:
        tried.append(batch_size)
        if batch_size > fits:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return requests

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        done = list(grounding._stream(make, list(range(count)), size, False, len))
    assert [str(one.message) for one in told] == [
        f"out of memory at batch_size {one}; going on with {one // 2}" for one in tried if one > fits
    ]
    return done, tried


def test_batches_are_halved_when_memory_runs_out():
    assert stream(fits=2) == ([0, 1, 2, 3, 4, 5, 6], [8, 4, 2, 2, 2, 2])
    assert stream(fits=8) == ([0, 1, 2, 3, 4, 5, 6], [8])
    with pytest.raises(MemoryError, match="batch_size 1"):
        stream(fits=0)


def test_other_errors_are_not_taken_for_lack_of_memory():
    def make(requests, batch_size):
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        list(grounding._stream(make, [1], 4, False, len))


def test_the_batch_size_follows_free_memory(gligen, monkeypatch):
    def fitting(free: float) -> int:
        monkeypatch.setattr(grounding.psutil, "virtual_memory", lambda: SimpleNamespace(available=free))
        return grounding.fitting(gligen, (512, 512))

    sizes = [fitting(free) for free in (0, 1e8, 1e9, 1e12)]
    assert sizes == sorted(sizes) and sizes[0] == 1 and 1 < sizes[2] <= sizes[3] == 8


def test_written_pictures_explain_themselves(gligen, tmp_path):
    requests = [asked("a"), asked("b", guidance_scale=3.0, grounding="image")]
    done = generate(gligen, requests, STEPS, height=64, width=64, progress=False)
    records = write(done, lambda request: tmp_path / "arm" / f"{request.scene}.png")
    text = images.read_text(tmp_path / "arm" / "b.png")
    assert text["grounding"] == "image" and text["seed"] == "0"
    assert text["guidance_scale"] == "3.0" and text["scheduler"] == "pndm" and text["flagged"] == "false"
    assert records[1]["phrases"] == list(PHRASES) and str(records[1]["boxes"]) == text["boxes"]
    assert [record["scene"] for record in records] == ["a", "b"]
    reference = made(gligen, requests)
    np.testing.assert_array_equal(np.asarray(images.load(tmp_path / "arm" / "b.png")), reference[1])


def finished(count: int, wait_for=None):
    for n in range(count):
        record = {"scene": str(n), "width": 8, "height": 8, "flagged": False}
        yield grounding.Picture(asked(str(n)), picture(n, 8, 8), record)
        if wait_for is not None:
            wait_for(n)


def test_pictures_are_saved_while_the_next_ones_are_made(tmp_path):
    def wait(n: int) -> None:
        deadline = time.monotonic() + 30
        while not images.is_whole(tmp_path / f"{n}.png"):
            assert time.monotonic() < deadline, f"picture {n} is not on disk while the next one is made"
            time.sleep(0.01)

    assert len(write(finished(4, wait), lambda request: tmp_path / f"{request.scene}.png")) == 4


def test_when_interrupted_finished_pictures_are_on_disk(tmp_path):
    def interrupt(n: int) -> None:
        if n == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(finished(9, interrupt), lambda request: tmp_path / f"{request.scene}.png")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.png", "1.png", "2.png"]
    assert all(images.is_whole(path) for path in tmp_path.iterdir())


def test_a_picture_that_cannot_be_saved_is_an_error(tmp_path):
    (tmp_path / "file").write_text("in the way of a folder")
    with pytest.raises(OSError, match="file"):
        write(finished(2), lambda request: tmp_path / "file" / f"{request.scene}.png")


@pytest.mark.parametrize("flagged", [False, True])
def test_flagged_pictures_are_withheld_and_never_painted_black(tmp_path, flagged):
    gligen = fakes.gligen(fakes.components(tmp_path, safety=True))
    gligen.safety_checker.concept_embeds_weights.fill_(-1.0 if flagged else 2.0)
    gligen.safety_checker.special_care_embeds_weights.fill_(2.0)
    done = list(generate(gligen, [asked()], STEPS, height=64, width=64, safety=True, progress=False))
    assert done[0].record["flagged"] is flagged and (done[0].image is None) is flagged
    write(done, lambda request: tmp_path / "a.png")
    pixels = np.asarray(images.load(tmp_path / "a.png"))
    assert images.read_text(tmp_path / "a.png")["flagged"] == str(flagged).lower()
    if flagged:
        assert (pixels == 128).all()
    else:
        np.testing.assert_array_equal(pixels, made(gligen, [asked()])[0])


@pytest.mark.filterwarnings(
    "ignore:__array__ implementation:DeprecationWarning"
)  # diffusers' own, with NumPy 2
@pytest.mark.parametrize("spacing", [None, "leading"])  # as published, and as saved today
@pytest.mark.parametrize("name", SCHEDULERS)
def test_every_scheduler_can_do_the_steps_that_it_is_said_to_do(name, spacing):
    more = {} if spacing is None else {"timestep_spacing": spacing}
    config = fakes.SCHEDULER | more
    kind, options = SCHEDULERS[name]
    for steps in (1, 3, 9, 27, MOST_STEPS[name]):
        scheduler = kind.from_config(config, **options)
        scheduler.set_timesteps(steps)
        assert (
            scheduler.timesteps.max() < 1000
            and scheduler.alphas_cumprod[scheduler.timesteps].isfinite().all()
        )
        latents = torch.ones(1, 1, 2, 2)
        for t in scheduler.timesteps:
            latents = scheduler.step(torch.ones(1, 1, 2, 2), t, latents).prev_sample
        assert latents.isfinite().all()


def test_more_steps_than_the_scheduler_has_are_refused_before_any_model_runs(text_gligen):
    for name, most in MOST_STEPS.items():
        with pytest.raises(ParameterError, match=f"steps = {most + 1}"):
            generate(text_gligen, [asked()], steps=most + 1, scheduler=name)


def test_without_requests_there_are_no_pictures(text_gligen):
    assert list(generate(text_gligen, [])) == []
