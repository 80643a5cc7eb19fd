"""GLIGEN's gated layers (fusers): a UNet called with them, without them, or with them faded."""

import copy
import weakref
from collections.abc import Callable
from dataclasses import dataclass

import torch
from diffusers import UNet2DConditionModel
from torch.func import functional_call

COMPILER = {"fullgraph": True, "dynamic": False}  # options of torch.compile
_compiled: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


@dataclass(frozen=True, eq=False)
class Calls:
    """Three ways to call one UNet, of which none leaves a trace on it; all return the predicted noise.

    plain(x, time, states), grounded(x, time, states, tokens) and faded(x, time, states, tokens, gates), where
    x: (rows, channels, h, w); states: (rows, 77, width); tokens: (rows, 30 or 60, width), as the position net
    makes them; gates: what `gates` returns.
    """

    plain: Callable
    grounded: Callable
    faded: Callable


def calls(unet: UNet2DConditionModel, compile: bool = False) -> Calls:
    """The calls of a UNet. compile: plain and grounded are compiled, once in the life of the UNet, and its
    weights lie channels last from then on."""
    if not compile:
        return _calls(_taking_tokens(unet))
    if unet not in _compiled:
        unet.to(memory_format=torch.channels_last)
        eager = _calls(_taking_tokens(unet))
        fast = (torch.compile(call, **COMPILER) for call in (eager.plain, eager.grounded))
        _compiled[unet] = Calls(*fast, eager.faded)
    return _compiled[unet]


def gates(unet: UNet2DConditionModel, strength: torch.Tensor) -> dict[str, torch.Tensor]:
    """All gates of a UNet for rows of each strength (rows,) in [0, 1], by name.

    A fuser adds tanh(gate) times something; a strength scales it by row (`fuser.scale` in GLIGEN's sampler).
    """
    scale = strength.float().view(-1, 1, 1)
    named = {
        name: gate for name, gate in unet.named_parameters() if name.endswith(("alpha_attn", "alpha_dense"))
    }
    return {name: torch.atanh(scale * gate.float().tanh()).to(gate.dtype) for name, gate in named.items()}


class _HandThrough(torch.nn.Module):
    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return tokens


def _taking_tokens(unet: UNet2DConditionModel) -> UNet2DConditionModel:
    """A second UNet of the same weights, which takes tokens where the first makes them in every step."""
    twin = copy.copy(unet)
    twin._modules = {**unet._modules, "position_net": _HandThrough()}
    return twin


def _calls(unet: UNet2DConditionModel) -> Calls:
    def told(tokens: torch.Tensor) -> dict:
        return {"cross_attention_kwargs": {"gligen": {"tokens": tokens}}, "return_dict": False}

    def plain(x, time, states):
        return unet(x, time, states, return_dict=False)[0]

    def grounded(x, time, states, tokens):
        return unet(x, time, states, **told(tokens))[0]

    def faded(x, time, states, tokens, gates):
        return functional_call(unet, gates, (x, time, states), told(tokens))[0]

    return Calls(plain, grounded, faded)
