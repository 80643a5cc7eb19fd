"""Methods beside GLIGEN's groundings, a module each, and how a method is found by its name.

A module holds a class `Sampler`, made once for many batches:

- `Sampler(parts, steps, scheduler, size)`: parts, the loaded models; size, (height, width) in pixels.
- `draw(requests, least, step)`: one picture per request, in order; pure, no files. The requests of a batch
  have the same knobs and may differ in all else. least: UNet rows to fill a call up to, 0 for none; step:
  called after each call with how many are done, and how many there are.
- `rows(request)`: network rows that a picture takes, for the report's column of costs.

- if it likes, `prepare(requests)`: called with all that are left to draw; makes ready as many of the first
  as it can hold and returns how many, whose batches then come;
- if it likes, `facts(request)`: more for the record of a picture.

and, where its parts are not those of a Stable Diffusion, `load(models, safety)`: the parts, on their device.
Their line in `runs.methods.METHODS` says what they read and their knobs.
"""

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING

from helpers.models.sets import Checkpoint, ModelSet
from helpers.runs.methods import METHODS

if TYPE_CHECKING:
    from helpers.generation.requests import Request


def sampler(requests: Sequence["Request"]) -> type:
    """The class `Sampler` of the methods of these requests. Raises ValueError where they have several."""
    modules = {METHODS[request.grounding].module for request in requests}
    if len(modules) > 1:
        names = ", ".join(sorted({repr(request.grounding) for request in requests}))
        raise ValueError(f"methods {names} in one call: pictures of different samplers are drawn one by one")
    if len({tuple(sorted(request.knobs.items())) for request in requests}) > 1:
        raise ValueError("requests of one call differ in their knobs: draw them one by one")
    return import_module(modules.pop()).Sampler


def loader(name: str, models: ModelSet, safety: Checkpoint | None) -> tuple[str, Callable[[], object]]:
    """What a method draws with, as a key that methods with the same models share, and how it is loaded."""
    # here, because who names a method waits for no torch
    from helpers.models.loading import load_gligen, load_stable_diffusion

    method = METHODS[name]
    own = models.methods.get(method.own)
    if not method.checkpoint:
        return method.module, lambda: import_module(method.module).load(models, safety)
    if own:
        return own.source, lambda: load_stable_diffusion(own, safety=safety)
    kind = method.checkpoint
    return kind, lambda: load_gligen(models.gligen[kind], kind, safety=safety)
