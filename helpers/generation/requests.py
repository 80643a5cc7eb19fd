"""Picture requests: the inputs of one picture, their checks, and the boxes that fill GLIGEN's places."""

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from helpers.runs.arms import CROPS, RULES
from helpers.runs.methods import METHODS, NEUTRAL, READS, defaults, problems
from helpers.scenes import boxes as rectangles
from helpers.scenes import images
from helpers.scenes.boxes import PLACES
from helpers.scoring.colours import Colour

ROUNDING = 1e-5  # boxes may leave the picture by this much
SETTINGS = ("grounding", "guidance_scale", "grounded_fraction", "guidance_share", "seed")  # as of an arm


@dataclass(frozen=True, eq=False)
class Request:
    """The inputs of one picture; those that its method does not read stay empty. `(seed, scene)` alone decide
    its noise.

    boxes: (n, 4) fractions (x_min, y_min, x_max, y_max), origin top left; phrases: n texts, one per box.
    crops: n pictures, one per box, the appearance of its content, iterated over when their batch is due.
    crop_fit: how the image encoder sees a crop: "squash", whole, as in GLIGEN's training, or "centre", as
    diffusers shows it: what the checkpoint's processor makes of it, in published ones the middle square.
    photo: gives the photo when its batch is due; boxes are fractions of it.
    labels: n texts, by which the prompt may name what the phrases say. colours: n targets, sRGB from 0 to
    255, or a text that says why there is none.
    source_prompt, source_phrases: what the photo and its boxes show; instruction: what is to be done with it.
    grounding: the method, of METHODS; knobs: those that only it has, name -> value, at first its defaults.
    guidance_scale: at or under 1 there is no guidance, and the negative prompt has no effect.
    grounded_fraction: share of the denoising steps, from the first on, that see the boxes. guidance_share: of
    those that have guidance, the middle ones (Kynkäänniemi et al. 2024, arXiv 2404.07724: none in the first,
    where it hurts, and none in the last, where it does nothing).
    """

    scene: str
    prompt: str = ""
    negative_prompt: str = ""
    boxes: np.ndarray = field(default_factory=lambda: np.empty((0, 4), np.float32))
    phrases: Sequence[str] = ()
    crops: Collection[Image.Image] = ()
    crop_fit: str = CROPS[0]
    photo: Callable[[], Image.Image] | None = None
    labels: Sequence[str] = ()
    colours: Sequence[Colour] = ()
    source_prompt: str = ""
    source_phrases: Sequence[str] = ()
    instruction: str = ""
    grounding: str = "text"
    guidance_scale: float = 7.5
    grounded_fraction: float = 1.0
    guidance_share: float = 1.0
    seed: int = 0
    knobs: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.grounding in METHODS:
            object.__setattr__(self, "knobs", defaults(self.grounding) | dict(self.knobs))


class Crops:
    """The content of each box (n, 4) of a photo, cut at its full resolution whenever it is iterated over, so
    that memory does not grow with the number of photos. photo: reads it."""

    def __init__(self, photo: Callable[[], Image.Image], boxes: np.ndarray) -> None:
        self.photo, self.boxes = photo, boxes

    def __len__(self) -> int:
        return len(self.boxes)

    def __iter__(self) -> Iterator[Image.Image]:
        photo = self.photo() if len(self) else None
        return (images.crop(photo, box) for box in self.boxes)


class RequestError(ValueError):
    """Requests that cannot be right; the message lists every problem with scene, box and value."""


@dataclass(frozen=True, eq=False)
class Entries:
    """The boxes that a picture's model is given: k boxes (k, 4) float32 with a phrase, perhaps a crop.

    kept, dropped: indices of the request's boxes with a place and without one; the largest get the 30 places
    that GLIGEN has.
    """

    request: Request
    boxes: np.ndarray
    phrases: tuple[str, ...]
    kept: np.ndarray
    dropped: np.ndarray

    @property
    def facts(self) -> dict[str, list]:
        """For a picture's record: boxes and phrases with a place and without one."""
        dropped = {"dropped_boxes": np.asarray(self.request.boxes)[self.dropped].tolist()}
        dropped |= {"dropped_phrases": [self.request.phrases[index] for index in self.dropped]}
        return {"boxes": self.boxes.tolist(), "phrases": list(self.phrases)} | dropped

    @property
    def crops(self) -> tuple[Image.Image | None, ...]:
        """A crop, or None, per box; read from the request anew each time, because they are large."""
        if "crops" not in METHODS[self.request.grounding].reads:
            return (None,) * len(self.kept)
        crops = list(self.request.crops)
        return tuple(crops[index] for index in self.kept)


def entries(request: Request, known: Sequence[int] | None = None, places: int = PLACES) -> Entries:
    """The largest boxes that fit; nothing at all for a method that does not read boxes.

    known: indices of those that the model can be given, None for all; places: how many it takes."""
    method = METHODS[request.grounding]
    boxes = rectangles.clip(request.boxes if "boxes" in method.reads else ())
    known = np.arange(len(boxes)) if known is None else np.array(known, np.int64)
    kept = known[rectangles.largest(boxes[known], len(boxes) if method.takes_all_boxes else places)[0]]
    phrases = tuple(request.phrases[index] for index in kept)
    return Entries(request, boxes[kept], phrases, kept, np.setdiff1d(np.arange(len(boxes)), kept))


def grounded_calls(request: Request, calls: int) -> int:
    """How many of a picture's UNet calls, from the first on, see the boxes.

    PNDM makes one call more than the steps that it was asked for. As in diffusers calls are counted; GLIGEN's
    own sampler counts steps, the first of which makes two: of 51 calls 16 and not 15 at 0.3, 2 and not 1 at
    0.02.
    """
    return int(request.grounded_fraction * calls) if "boxes" in METHODS[request.grounding].reads else 0


def guided_calls(request: Request, calls: int) -> range:
    """Which of a picture's UNet calls have guidance, and with it an unconditional row."""
    many = round(request.guidance_share * calls) if request.guidance_scale > 1 else 0
    return range((calls - many) // 2, (calls - many) // 2 + many)


def check(requests: Sequence[Request], attention_type: str | None) -> None:
    """Refuse requests that cannot be right before any model runs.

    attention_type: of the UNet's configuration: "gated", "gated-text-image", or anything else for one without
    grounding; None where no GLIGEN draws. Raises RequestError listing every problem.
    """
    found = [
        f"scene {request.scene!r}, {problem}"
        for request in requests
        for problem in _problems(request, attention_type)
    ]
    if found:
        raise RequestError("\n".join(found))


def _problems(request: Request, attention_type: str | None) -> Iterator[str]:
    for name in ("scene", "prompt", "negative_prompt"):
        if not isinstance(getattr(request, name), str):
            yield f"{name} {getattr(request, name)!r}: a text is needed"
    for name in (*SETTINGS, "crop_fit"):
        rule = RULES["crops" if name == "crop_fit" else name]
        if (advice := rule(value := getattr(request, name))) is not None:
            yield f"{name} {value!r}: {advice}"
    yield from _box_problems(request)
    if request.grounding in METHODS:
        yield from _method_problems(request, attention_type)


def _method_problems(request: Request, attention_type: str | None) -> Iterator[str]:
    """What the method is given and does not read, or needs and is not given; knobs; the checkpoint."""
    name, method = request.grounding, METHODS[request.grounding]
    things = "boxes" if "boxes" in method.reads else "phrases"
    n = len(getattr(request, things))
    for field_name in READS:
        value = getattr(request, field_name)
        if field_name not in method.reads and (callable(value) or (value is not None and len(value))):
            yield f"{field_name}: {name!r} does not read it, it reads {', '.join(method.reads)}; leave it out"
    yield from problems(name, {one: getattr(request, one) for one in NEUTRAL if hasattr(request, one)})
    yield from problems(name, dict(request.knobs))
    for field_name in {"phrases", "crops", "source_phrases", "labels", "colours"} & set(method.reads):
        if len(value := getattr(request, field_name)) != n:
            one, thing = field_name.removesuffix("s"), things.removesuffix("s").removesuffix("e")
            yield f"{n} {things} but {len(value)} {field_name}: {name!r} wants one {one} per {thing}"
    for k, colour in enumerate(request.colours):
        if not isinstance(colour, str) and not (len(colour) == 3 and 0 <= min(colour) <= max(colour) <= 255):
            yield f"colour {k}: {colour!r}; give red, green and blue from 0 to 255, or why there is none"
    for field_name in {"photo", "source_prompt", "instruction"} & set(method.reads):
        if not getattr(request, field_name):
            yield f"no {field_name}: {name!r} needs one"
    if method.paints_boxes and not n:
        yield f"{name!r} without a box: nothing would be painted; give the boxes to paint"
    if attention_type is None or "boxes" not in method.reads:
        return
    if not attention_type.startswith("gated"):
        yield (
            f"grounding {name!r}: this UNet has no grounding layers (attention_type "
            f"{attention_type!r}); load a GLIGEN checkpoint or ask for grounding 'none'"
        )
    elif attention_type == "gated" and "crops" in method.reads:
        yield f"grounding {name!r}: this checkpoint was made for text only; load the text + image checkpoint"


def _box_problems(request: Request) -> Iterator[str]:
    boxes = np.asarray(request.boxes, dtype=np.float64)
    if boxes.size and (boxes.ndim != 2 or boxes.shape[1] != 4):
        yield f"boxes of shape {boxes.shape}: give (n, 4), (x_min, y_min, x_max, y_max) in fractions"
        return
    boxes = boxes.reshape(-1, 4)
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
        return f"{corners} leaves the picture (clip it with helpers.scenes.boxes.clip)"
    for axis, low, high, side in (("x", x_min, x_max, "left of"), ("y", y_min, y_max, "above")):
        if low >= high:
            width_like = " (is it x, y, width, height?)" if x_min + x_max <= 1 and y_min + y_max <= 1 else ""
            return f"{axis}_min {low:g} is not {side} {axis}_max {high:g}{width_like}"
    return None
