"""Rich Text: regions, their texts and colours."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from helpers.generation.denoising import Denoiser
from helpers.generation.draw import request
from helpers.generation.generate import generate
from helpers.generation.methods import rich
from helpers.generation.methods.colour_guidance import colour_step, linear_map
from helpers.generation.methods.rich import say, spans
from helpers.generation.requests import Request, RequestError
from helpers.parameters import ParameterError
from helpers.runs.arms import Arm
from helpers.scenes.scenes import read_scenes
from tests.fakes import gligen as fakes

STEPS, SIZE = 5, (64, 64)
BOXES = np.float32([[0, 0, 0.5, 1], [0.5, 0.25, 1, 1]])
NONE = ("not asked for",) * 2


@pytest.fixture(scope="module")
def gligen(tmp_path_factory):
    return fakes.gligen(fakes.components(tmp_path_factory.mktemp("text")))


def asked(scene="a", grounding="rich_text", colours=NONE, **changes) -> Request:
    given = {"phrases": ("a red cone", "a crate"), "grounding": grounding, "colours": colours}
    given |= {"boxes": BOXES} if grounding == "rich_text" else {"labels": ("cone", "crate")}
    return replace(Request(scene, "a red cone and a crate", **given), **changes)


def plain(request: Request) -> Request:
    """The same picture by the method without attributes."""
    grounding = "text" if len(request.boxes) else "none"
    phrases = request.phrases if len(request.boxes) else ()
    return replace(request, grounding=grounding, phrases=phrases, colours=(), labels=(), knobs={})


def sampler(gligen, scheduler="dpm++2m") -> rich.Sampler:
    return rich.Sampler(gligen, STEPS, scheduler, SIZE)


@pytest.mark.parametrize("grounding", ["rich", "rich_text"])
@pytest.mark.parametrize("scheduler", ["dpm++2m", "pndm"])
def test_without_attributes_it_is_the_plain_picture_bit_for_bit(gligen, grounding, scheduler):
    one = asked(grounding=grounding)
    reference = Denoiser(gligen, STEPS, scheduler, SIZE).latents([plain(one)], 4)
    assert torch.equal(sampler(gligen, scheduler).latents([one], 4), reference)


def test_a_region_with_the_plain_prompt_is_the_plain_picture(gligen):
    """And so is one without weight and words."""
    one = asked(colours=((0, 128, 128), NONE[0]), knobs={"colour_weight": 0})
    reference = Denoiser(gligen, STEPS, "dpm++2m", SIZE).latents([plain(one)])
    same = replace(
        one, boxes=BOXES[:1], phrases=one.phrases[:1], colours=one.colours[:1], prompt="a red cone"
    )
    own = Denoiser(gligen, STEPS, "dpm++2m", SIZE).latents([plain(same)])
    assert torch.allclose(sampler(gligen).latents([same]), own, atol=1e-4)
    assert not torch.allclose(sampler(gligen).latents([one]), reference, atol=1e-2)


@pytest.mark.parametrize("grounding", ["rich", "rich_text"])
def test_maps_and_the_rest_of_the_picture_sum_to_one(gligen, grounding):
    one = asked(grounding=grounding, colours=((0, 128, 128), (200, 0, 160)))
    two = replace(one, scene="b", boxes=BOXES * [1, 1, 1.4, 1] if len(one.boxes) else one.boxes)
    drawn = sampler(gligen)
    drawn.latents([one, two])
    assert [region.picture for region in drawn.found] == [0, 0, 1, 1]
    for picture in (0, 1):
        maps = np.array([region.map for region in drawn.found if region.picture == picture])
        assert maps.min() >= 0 and maps.sum(0).max() <= 1 + 1e-6 and (maps.max((1, 2)) > 0).all()
    ones = torch.ones(2, *drawn.shape)
    merged = drawn.merge(ones, torch.ones(4, *drawn.shape))
    assert torch.allclose(merged, ones)


@pytest.mark.parametrize("grounding", ["rich", "rich_text"])
def test_a_batch_of_different_scenes_equals_one_by_one(gligen, grounding):
    several = [
        asked("a", grounding, ((0, 128, 128), NONE[0])),
        asked("b", grounding, guidance_scale=1.0),
        asked("c", grounding, ((200, 0, 160), (20, 30, 110)), guidance_share=0.5),
    ]
    drawn, seen = sampler(gligen), []
    handle = gligen.unet.conv_in.register_forward_hook(lambda _, inputs, __: seen.append(len(inputs[0])))
    together = drawn.latents(several)
    handle.remove()
    assert sum(seen) == sum(map(drawn.rows, several))
    for row, one in enumerate(several):
        alone = drawn.latents([one])[0]
        assert float((together[row] - alone).abs().max() / alone.abs().max()) <= 1e-3
    filled = drawn.latents(several, 4)  # calls of four rows
    assert torch.allclose(filled, together, atol=1e-3)


def test_the_colour_under_a_map_reaches_the_target(gligen):
    by_hand = torch.zeros(9, 3)
    by_hand[:3] = torch.eye(3)  # the first three of four channels are red, green and blue
    clean = torch.full((1, 4, 8, 8), 0.1)
    clean[:, 0] = 0.9
    region = torch.zeros(1, 1, 8, 8)
    region[..., :4] = 1
    target = torch.tensor([[0.2, 0.6, 0.4]])
    moved = clean + colour_step(by_hand, clean, region, target)
    assert torch.allclose(moved[0, :3, :, :4].mean((1, 2)), target[0], atol=0.02)
    assert torch.equal(moved[..., 4:], clean[..., 4:]) and torch.equal(moved[:, 3], clean[:, 3])


def test_the_map_to_colours_does_not_depend_on_what_was_in_memory(gligen, monkeypatch):
    once = linear_map(gligen.vae, SIZE)
    monkeypatch.setattr(np, "empty", lambda shape, dtype=float, **_: np.full(shape, 199, dtype))
    assert torch.equal(linear_map(gligen.vae, SIZE), once)


def test_texts_name_the_nearest_colour_the_encoder_has_a_word_for(gligen):
    drawn = sampler(gligen)
    drawn.latents([asked(colours=((0, 128, 128), (240, 130, 32)))])
    assert [region.text for region in drawn.found] == ["a red cone", "an orange crate"]
    assert say("green", "Truck") == "green Truck" and say("blue", "an apple") == "a blue apple"


def test_a_phrase_that_the_prompt_does_not_hold_is_a_footnote():
    one = asked(grounding="rich", prompt="two cones, a crate", colours=NONE)
    prompt, found = spans(one, one)
    assert prompt == one.prompt and found == {(4, 9): [0]}  # by its label
    one = replace(one, prompt="a street", colours=(NONE[0], (0, 128, 128)))
    prompt, found = spans(one, replace(one, phrases=("a red cone", "a green crate")))
    assert prompt == "a street, a red cone, a green crate"
    assert [prompt[slice(*span)] for span in found] == ["a red cone", "a green crate"]


def test_targets_are_measured_in_the_photo_but_that_of_an_edited_box(tmp_path):
    pixels = np.full((64, 64, 3), 90, np.uint8)
    pixels[:, 2:30], pixels[18:62, 34:62] = (200, 0, 160), (0, 128, 128)
    pixels[:2], pixels[:, :2] = 90, 90
    Image.fromarray(pixels).save(tmp_path / "a.png")
    entry = {"image": "a.png", "width": 64, "height": 64, "labels": ["cone", "crate"]}
    entry["bboxes"] = (BOXES * 64).tolist()
    (tmp_path / "annotations.json").write_text(json.dumps([entry]))
    (scene,) = read_scenes(tmp_path)
    arm, protocol = Arm("suffix", "rich_text", 2), {"size": 64, "fit": "squash"}
    made = request(scene, "a cone and a crate", arm, protocol)
    assert list(made.colours) == [(200, 0, 160), (0, 128, 128)]
    edited = request(scene, "a cone and a crate", arm, protocol, edit={"box": 1})
    assert list(edited.colours) == [(200, 0, 160), "the edit changes it"]
    with pytest.raises(
        ParameterError, match="Rich Text with boxes shows what stands in the photo's own boxes"
    ):
        Arm("suffix", "rich_text", 2, layout="mirrored")


def test_what_cannot_be_right_is_said(gligen):
    def refused(request, said, error=RequestError):
        with pytest.raises(error, match=said):
            list(generate(gligen, [request], STEPS, "ddim", *SIZE, progress=False))

    refused(asked(colours=((0, 128, 300), "")), r"colour 0: \(0, 128, 300\); give red, green and blue")
    refused(asked(colours=("",)), "2 boxes but 1 colours: 'rich_text' wants one colour per box")
    refused(asked(grounding="rich", labels=("cone",)), "2 phrases but 1 labels")
    refused(replace(asked(), grounding="text"), "colours: 'text' does not read it")


@pytest.mark.parametrize("end", ["a crate", "a street"])
def test_a_phrase_that_is_cut_off_the_prompt_has_no_region_and_the_record_says_so(gligen, end):
    """Named behind the last token, or not at all, and then appended there."""
    colours = ((0, 128, 128), (200, 0, 160))
    long = asked(grounding="rich", prompt="a red cone, " + "x " * 90 + end, colours=colours)
    short = replace(long, phrases=long.phrases[:1], labels=long.labels[:1], colours=colours[:1])
    drawn, other = generate(gligen, [long, short], STEPS, "ddim", *SIZE, batch_size=1, progress=False)
    assert drawn.record["dropped_phrases"] == ["a crate"] and other.record["dropped_phrases"] == []
    assert drawn.record["cut_texts"] == [long.prompt]
    assert np.array_equal(drawn.image, other.image)
    assert drawn.record["unet_rows"] == other.record["unet_rows"]
    none = replace(long, prompt="x " * 90, phrases=long.phrases[1:], labels=("crate",), colours=colours[1:])
    (drawn,) = generate(gligen, [none], STEPS, "ddim", *SIZE, progress=False)
    assert drawn.record["dropped_phrases"] == ["a crate"]
    (plain_one,) = generate(gligen, [plain(none)], STEPS, "ddim", *SIZE, progress=False)
    assert np.array_equal(drawn.image, plain_one.image)
    assert drawn.record["unet_rows"] == plain_one.record["unet_rows"]
