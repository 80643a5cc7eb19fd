"""What cannot be right is refused with scene, box and value; what can be is cut to what the model reads."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some
from PIL import Image

from helpers.generation.requests import Request, RequestError, check, entries, grounded_calls

CROP = Image.new("RGB", (8, 8), "red")
GOOD = Request("a.jpg", "a cone", boxes=np.array([[0.1, 0.2, 0.5, 0.9]], np.float32), phrases=("a cone",))
NAN = float("nan")
NOTHING = {"boxes": np.empty((0, 4)), "phrases": ()}


def boxes(*corners: float) -> dict:
    return {"boxes": np.array([[0.1, 0.2, 0.5, 0.9], corners]), "phrases": ("a cone", "a crate")}


WRONG = {
    "pixels": (boxes(10, 20, 300, 400), ("box 1", "300", "pixels")),
    "reversed x": (boxes(0.8, 0.1, 0.2, 0.5), ("box 1", "x_min 0.8", "x_max 0.2")),
    "reversed y": (boxes(0.1, 0.6, 0.2, 0.5), ("box 1", "y_min 0.6", "y_max 0.5")),
    "x, y, width, height": (boxes(0.6, 0.6, 0.2, 0.2), ("box 1", "x_min 0.6", "width, height")),
    "empty": (boxes(0.1, 0.1, 0.1, 0.5), ("box 1", "x_min 0.1")),
    "NaN": (boxes(0.1, NAN, 0.2, 0.5), ("box 1", "nan", "not finite")),
    "outside": (boxes(0.1, -0.1, 0.2, 0.5), ("box 1", "-0.1", "leaves the picture")),
    "shape": ({"boxes": np.zeros((2, 3))}, ("(2, 3)", "(n, 4)")),
    "phrases": ({"phrases": ("a cone", "a crate")}, ("1 boxes", "2 phrases")),
    "empty phrase": ({"phrases": (" ",)}, ("box 0", "' '")),
    "crops": ({"grounding": "image"}, ("1 boxes", "0 crops")),
    "guidance NaN": ({"guidance_scale": NAN}, ("guidance_scale", "nan")),
    "guidance negative": ({"guidance_scale": -1}, ("guidance_scale", "-1")),
    "guidance text": ({"guidance_scale": "7"}, ("guidance_scale", "'7'")),
    "fraction": ({"grounded_fraction": 1.5}, ("grounded_fraction", "1.5")),
    "seed": ({"seed": -3}, ("seed", "-3")),
    "grounding": ({"grounding": "images"}, ("grounding", "'images'", "did you mean 'image'")),
    "crop fit": ({"crop_fit": "center"}, ("crop_fit", "'center'", "did you mean 'centre'")),
    "prompt": ({"prompt": None}, ("prompt", "None")),
    "inpaint": (
        {"grounding": "inpaint", "photo": lambda: CROP, "boxes": np.empty((0, 4)), "phrases": ()},
        ("'inpaint'", "box"),
    ),
    "no photo": ({"grounding": "inpaint"}, ("no photo", "'inpaint'")),
    "photo": ({"photo": lambda: CROP}, ("photo", "'text' does not read it")),
    "boxes without grounding": ({"grounding": "none"}, ("boxes", "phrases", "it reads prompt")),
    "crops of text": ({"crops": (CROP,)}, ("crops", "'text' does not read it")),
    "instruction": ({"instruction": "make it green"}, ("instruction", "'text' does not read it")),
    "knob": ({"knobs": {"strength": 0.5}}, ("strength", "0.5", "'text' has no such knob")),
    "strength": (
        {"grounding": "sdedit", "photo": lambda: CROP, "knobs": {"strength": 0}, **NOTHING},
        ("strength", "0", "share of the steps"),
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_request_that_cannot_be_right_is_refused(case):
    changes, words = WRONG[case]
    with pytest.raises(RequestError) as error:
        check([GOOD, replace(GOOD, scene="bad.jpg", **changes)], "gated-text-image")
    message = str(error.value)
    assert "'bad.jpg'" in message and "'a.jpg'" not in message
    for word in words:
        assert word in message


def test_every_problem_is_listed_at_once():
    with pytest.raises(RequestError) as error:
        check([replace(GOOD, scene="b", seed=-1), replace(GOOD, scene="c", guidance_scale=-1)], "gated")
    assert len(str(error.value).splitlines()) == 2


@pytest.mark.parametrize(
    ("attention", "changes", "word"),
    [
        ("gated", {"grounding": "image", "crops": (CROP,)}, "text [+] image checkpoint"),
        ("default", {}, "no grounding layers"),
    ],
)
def test_a_checkpoint_that_cannot_do_it_is_named(attention, changes, word):
    with pytest.raises(RequestError, match=word):
        check([replace(GOOD, **changes)], attention)


@pytest.mark.parametrize("attention", ["gated", "gated-text-image", "default"])
def test_what_is_right_passes(attention):
    grounded = [] if attention == "default" else [GOOD, replace(GOOD, boxes=np.empty((0, 4)), phrases=())]
    image = replace(GOOD, grounding="image", crops=(CROP,))
    check([replace(GOOD, grounding="none", **NOTHING), *grounded], attention)
    if attention == "gated-text-image":
        check([image, replace(image, guidance_scale=0)], attention)


def crowd(n: int) -> Request:
    """n boxes that grow from the first to the last."""
    side = np.linspace(0.1, 0.9, n)
    square = np.stack([np.zeros(n), np.zeros(n), side, side], axis=1)
    return replace(GOOD, boxes=square, phrases=tuple(f"thing {i}" for i in range(n)))


def test_the_thirty_largest_boxes_are_used_and_the_others_reported():
    used = entries(crowd(33))
    assert used.phrases == tuple(f"thing {i}" for i in range(3, 33))
    assert used.dropped.tolist() == [0, 1, 2]
    np.testing.assert_allclose(used.boxes, crowd(33).boxes[3:], rtol=1e-6)
    assert used.boxes.dtype == np.float32


def test_crops_count_for_grounding_image_only():
    one = replace(GOOD, crops=(CROP,))
    assert entries(replace(one, grounding="image")).crops == (CROP,)
    assert entries(one).crops == (None,)
    assert len(entries(replace(one, grounding="none")).boxes) == 0


def alpha_generator(length: int, share: float) -> list[float]:
    """As in GLIGEN's ldm/models/diffusion/plms.py, for alpha_type [share, 0, 1 - share]."""
    return [1] * int(share * length) + [0] * (length - int(share * length))


@given(some.integers(1, 101), some.integers(0, 10))
def test_the_calls_that_see_boxes_are_those_of_gligens_sampler(calls, tenths):
    request = replace(GOOD, grounded_fraction=tenths / 10)
    assert grounded_calls(request, calls) == sum(alpha_generator(calls, tenths / 10))
    assert grounded_calls(replace(request, grounding="none"), calls) == 0


def test_the_calls_of_the_pndm_sampler_at_fifty_steps():
    assert grounded_calls(replace(GOOD, grounded_fraction=0.3), 51) == 15
