"""One picture asked for: what it shall be, whether it can be made, and what of it reaches the model."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from helpers.parameters import nearest
from helpers.runs.arms import GROUNDINGS
from helpers.scenes import boxes as rectangles

PLACES = 30  # GLIGEN reads this many boxes
STYLE_BOX = (0.0, 1.0, 0.0, 1.0)  # degenerate on purpose: how GLIGEN's training marked a style
ROUNDING = 1e-5  # boxes may leave the picture by this much


@dataclass(frozen=True, eq=False)
class Request:
    """One picture. `(seed, scene)` alone decide its noise.

    boxes: (n, 4) fractions (x_min, y_min, x_max, y_max), origin top left; phrases: n texts, what is in each.
    crops: n pictures, what each box shall look like; needed for grounding "image", else unused.
    style: a picture whose style is taken over. inpaint: a photo that stays as it is outside the boxes.
    guidance_scale: at or under 1 there is no guidance, and the negative prompt has no effect.
    grounded_fraction: share of the steps, from the first on, that see the boxes; decay: share of the steps
    after those in which the boxes fade out linearly.
    """

    scene: str
    prompt: str
    negative_prompt: str = ""
    boxes: np.ndarray = field(default_factory=lambda: np.empty((0, 4), np.float32))
    phrases: Sequence[str] = ()
    crops: Sequence[Image.Image] = ()
    style: Image.Image | None = None
    inpaint: Image.Image | None = None
    grounding: str = "text"
    guidance_scale: float = 7.5
    grounded_fraction: float = 1.0
    decay: float = 0.0
    seed: int = 0


class RequestError(ValueError):
    """Requests that cannot be right; the message lists every problem with scene, box and value."""


@dataclass(frozen=True, eq=False)
class Entries:
    """What fills GLIGEN's places for one picture: k <= 30 boxes (k, 4) float32 with a phrase, a crop or both.

    dropped: (m,) indices of the request's boxes that found no place.
    """

    boxes: np.ndarray
    phrases: tuple[str | None, ...]
    crops: tuple[Image.Image | None, ...]
    dropped: np.ndarray


def entries(request: Request) -> Entries:
    """The largest boxes that fit, then the style if there is one; nothing at all for grounding "none"."""
    if request.grounding == "none":
        return Entries(np.empty((0, 4), np.float32), (), (), np.empty(0, np.int64))
    boxes, style = rectangles.clip(request.boxes), request.style is not None
    kept, dropped = rectangles.largest(boxes, PLACES - style)
    phrases = [request.phrases[i] for i in kept]
    crops = [request.crops[i] if request.grounding == "image" else None for i in kept]
    boxes = np.concatenate([boxes[kept], np.array([STYLE_BOX] * style, np.float32).reshape(-1, 4)])
    return Entries(boxes, (*phrases, *[None] * style), (*crops, *[request.style] * style), dropped)


def strengths(request: Request, calls: int) -> np.ndarray:
    """How much of the grounding each UNet call of one picture sees: (calls,) float64, 1 = all, 0 = none.

    Full, then falling linearly, then none, as `alpha_generator` of GLIGEN's own sampler. PNDM makes one call
    more than the steps that it was asked for.
    """
    alpha = np.zeros(calls)
    if request.grounding != "none":
        full, falling = int(request.grounded_fraction * calls), int(request.decay * calls)
        alpha[:full] = 1
        alpha[full : full + falling] = np.arange(falling)[::-1] / max(falling, 1)
    return alpha


def check(requests: Sequence[Request], attention_type: str) -> None:
    """Refuse what cannot be right before any model runs.

    attention_type: of the UNet's configuration: "gated", "gated-text-image", or anything else for one without
    grounding. Raises RequestError listing every problem.
    """
    problems = [
        f"scene {request.scene!r}, {problem}"
        for request in requests
        for problem in _problems(request, attention_type)
    ]
    if problems:
        raise RequestError("\n".join(problems))


def _problems(request: Request, attention_type: str) -> Iterator[str]:
    for name in ("scene", "prompt", "negative_prompt"):
        if not isinstance(getattr(request, name), str):
            yield f"{name} {getattr(request, name)!r}: a text is needed"
    if not (_is_number(request.guidance_scale) and request.guidance_scale >= 0):
        yield f"guidance_scale {request.guidance_scale!r}: give a number >= 0; 7.5 is usual, 1 is no guidance"
    shares = {name: getattr(request, name) for name in ("grounded_fraction", "decay")}
    wrong = [name for name, value in shares.items() if not (_is_number(value) and 0 <= value <= 1)]
    yield from (f"{name} {shares[name]!r}: give a share of the steps, from 0 to 1" for name in wrong)
    if not wrong and sum(shares.values()) > 1 + 1e-9:
        yield f"{shares}: together they are more than all steps"
    if not (isinstance(request.seed, int | np.integer) and request.seed >= 0):
        yield f"seed {request.seed!r}: give a whole number >= 0"
    yield from _model_problems(request, attention_type)
    yield from _box_problems(request)


def _model_problems(request: Request, attention_type: str) -> Iterator[str]:
    if request.grounding not in GROUNDINGS:
        yield f"grounding {request.grounding!r}: {nearest(request.grounding, GROUNDINGS)}"
    elif request.grounding != "none" and not attention_type.startswith("gated"):
        yield (
            f"grounding {request.grounding!r}: this UNet has no grounding layers (attention_type "
            f"{attention_type!r}); load a GLIGEN checkpoint or ask for grounding 'none'"
        )
    elif attention_type == "gated" and (request.grounding == "image" or request.style is not None):
        wanted = "grounding 'image'" if request.grounding == "image" else "a style"
        yield f"{wanted}: this checkpoint was made for text only; load the text + image checkpoint"
    if request.grounding == "none" and request.style is not None:
        yield "a style with grounding 'none': a style is a grounding; ask for 'text' or 'image'"


def _box_problems(request: Request) -> Iterator[str]:
    boxes = np.asarray(request.boxes, dtype=np.float64)
    if boxes.size and (boxes.ndim != 2 or boxes.shape[1] != 4):
        yield f"boxes of shape {boxes.shape}: give (n, 4), (x_min, y_min, x_max, y_max) in fractions"
        return
    boxes = boxes.reshape(-1, 4)
    if request.grounding != "none" and len(request.phrases) != len(boxes):
        yield f"{len(boxes)} boxes but {len(request.phrases)} phrases: give one phrase a box"
    if request.grounding == "image" and len(request.crops) != len(boxes):
        yield f"{len(boxes)} boxes but {len(request.crops)} crops: grounding 'image' wants one picture a box"
    if request.inpaint is not None and not len(boxes):
        yield "inpainting without a box: nothing would be painted; give the boxes to paint"
    for index, box in enumerate(boxes):
        if (problem := _box_problem(*box)) is not None:
            yield f"box {index}: {problem}; boxes are fractions (x_min, y_min, x_max, y_max)"
    for index, phrase in enumerate(request.phrases):
        if not (isinstance(phrase, str) and phrase.strip()):
            yield f"box {index}: phrase {phrase!r}; say in a few words what is in the box"


def _box_problem(x_min: float, y_min: float, x_max: float, y_max: float) -> str | None:
    corners = (x_min, y_min, x_max, y_max)
    if not all(map(math.isfinite, corners)):
        return f"{corners} is not finite"
    if max(corners) > 2:
        return f"{corners} looks like pixels"
    if min(corners) < -ROUNDING or max(corners) > 1 + ROUNDING:
        return f"{corners} leaves the picture (clip it with helpers.boxes.clip)"
    for axis, low, high in (("x", x_min, x_max), ("y", y_min, y_max)):
        if low >= high:
            width_like = " (is it x, y, width, height?)" if x_min + x_max <= 1 and y_min + y_max <= 1 else ""
            return f"{axis}_min {low:g} is not left of {axis}_max {high:g}{width_like}".replace(
                "left of", "left of" if axis == "x" else "above"
            )
    return None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool) and math.isfinite(value)
