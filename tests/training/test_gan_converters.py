"""The converters of published GANs, on small random state dicts with the official names."""

import pickle
from collections import OrderedDict

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from data.converters import attngan, ssagan
from helpers.generation.methods import attngan as attngan_method
from helpers.generation.methods import ssagan as ssagan_method
from helpers.generation.methods.gans import Text
from helpers.generation.requests import Request
from helpers.models.sets import model_set
from tests.fakes import gans as fakes

WORDS = ("<end>", "a", "red", "cone", "on", "the", "street")


@pytest.fixture
def download(tmp_path):
    """The files as published."""
    vocabulary = dict(enumerate(WORDS))
    content = [[[1, 2]], [[3]], vocabulary, {word: index for index, word in vocabulary.items()}]
    (tmp_path / "captions.pickle").write_bytes(pickle.dumps(content, protocol=2))
    torch.save(fakes.official_attngan(), tmp_path / "coco_AttnGAN2.pth")
    torch.save(fakes.official_words(), tmp_path / "text_encoder100.pth")
    torch.save(fakes.official_ssagan(), tmp_path / "netG_120.pth")
    return tmp_path


def norm(state: dict, name: str, hidden: torch.Tensor) -> torch.Tensor:
    kinds = ("running_mean", "running_var", "weight", "bias")
    return F.batch_norm(hidden, *(state.get(f"{name}.{kind}") for kind in kinds))


def test_a_published_attngan_computes_what_its_equations_say():
    """From the state dict and section 3.1 of the paper, one stage beyond the first."""
    state, text = fakes.official_attngan(), fakes.text([3], width=6)
    noise, spread = torch.randn(1, 4), torch.randn(1, 5)
    model = attngan.generator(state).eval()
    with torch.no_grad():
        drawn = model(noise, text, spread)
    mean, logvar = F.glu(
        F.linear(text.sentence, state["ca_net.fc.weight"], state["ca_net.fc.bias"]), 1
    ).chunk(2, 1)
    condition = mean + (logvar / 2).exp() * spread
    hidden = F.linear(torch.cat([condition, noise], 1), state["h_net1.fc.0.weight"])
    hidden = F.glu(norm(state, "h_net1.fc.1", hidden), 1).view(1, 32, 4, 4)
    for number in range(1, 5):
        name = f"h_net1.upsample{number}"
        hidden = F.conv2d(F.interpolate(hidden, scale_factor=2), state[f"{name}.1.weight"], padding=1)
        hidden = F.glu(norm(state, f"{name}.2", hidden), 1)
    picture = F.conv2d(hidden, state["img_net1.img.0.weight"], padding=1).tanh()
    torch.testing.assert_close(drawn.pictures[0], picture, rtol=1e-4, atol=1e-4)
    words = text.words[0] @ state["h_net2.att.conv_context.weight"][:, :, 0, 0].T
    attention = (words @ hidden.flatten(2)[0]).softmax(0)
    torch.testing.assert_close(drawn.maps[0][0].flatten(0, 1).T, attention, rtol=1e-3, atol=1e-4)
    assert [one.shape[-1] for one in drawn.pictures] == [64, 128, 256]


def test_a_published_ssagan_computes_what_its_equations_say():
    """From the state dict: the first block, and its masks."""
    state = {name.removeprefix("module."): value for name, value in fakes.official_ssagan().items()}
    noise, sentence = torch.randn(2, 4), torch.randn(2, 6)
    model = ssagan.generator(fakes.official_ssagan()).eval()
    with torch.no_grad():
        drawn = model(noise, Text(None, None, sentence))

    def linear(name: str, inputs: torch.Tensor) -> torch.Tensor:
        return F.linear(inputs, state[f"{name}.weight"], state[f"{name}.bias"])

    def conv(name: str, inputs: torch.Tensor) -> torch.Tensor:
        weight = state[f"{name}.weight"]
        return F.conv2d(inputs, weight, state[f"{name}.bias"], padding=weight.shape[-1] // 2)

    def mask(name: str, inputs: torch.Tensor) -> torch.Tensor:
        return conv(f"{name}.3", norm(state, f"{name}.1", conv(f"{name}.0", inputs)).relu())

    hidden = linear("fc", noise).view(2, 16, 4, 4)
    first, made = mask("conv_mask", hidden).sigmoid(), hidden
    for affine, name in (("affine0", "c1"), ("affine2", "c2")):
        scale, shift = (
            linear(
                f"block0.{affine}.{half}.linear2", linear(f"block0.{affine}.{half}.linear1", sentence).relu()
            )
            for half in ("fc_gamma", "fc_beta")
        )
        made = norm(state, f"block0.{affine}.batch_norm2d", made)
        made = (1 + first * scale[..., None, None]) * made + first * shift[..., None, None]
        made = conv(f"block0.{name}", made.relu())
    hidden = hidden + state["block0.gamma"] * made
    second = F.interpolate(mask("block0.conv_mask", hidden), (8, 8), mode="bilinear", align_corners=True)
    torch.testing.assert_close(drawn.maps[0], first[:, 0], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(drawn.maps[1], second.sigmoid()[:, 0], rtol=1e-3, atol=1e-4)
    assert drawn.pictures[0].shape == (2, 3, 256, 256)


@pytest.mark.parametrize(
    ("name", "convert", "method"),
    [("attngan", attngan.main, attngan_method), ("ssagan", ssagan.main, ssagan_method)],
)
def test_a_converted_checkpoint_draws(download, monkeypatch, capsys, name, convert, method):
    monkeypatch.setenv("GROUNDED_DATA", str(download / "data"))
    convert([str(download)])
    assert ("academic use only" in capsys.readouterr().out) == (name == "ssagan")
    parts = method.load(model_set("published"))
    request = Request("a", "A red cone on the street", grounding=name, guidance_scale=1)
    (picture,) = method.Sampler(parts, 50, "pndm", (64, 64)).draw([request])
    assert picture.size == (64, 64) and np.asarray(picture).std() > 1
    assert parts.tokenizer is None and parts.vae is None


@pytest.mark.parametrize("convert", [attngan.generator, ssagan.generator])
def test_another_state_dict_is_refused(convert):
    state = fakes.official_attngan() if convert is attngan.generator else fakes.official_ssagan()
    with pytest.raises(
        ValueError, match=r"not the published checkpoint: missing \[\], unexpected \['other'\]"
    ):
        convert(state | {"other": torch.zeros(1)})


def test_a_vocabulary_that_would_run_code_is_refused(download):
    (download / "captions.pickle").write_bytes(pickle.dumps([[], [], OrderedDict(enumerate(WORDS))]))
    with pytest.raises(pickle.UnpicklingError, match=r"names collections\.OrderedDict"):
        attngan.save(attngan.generator(fakes.official_attngan()), download, download / "made")
