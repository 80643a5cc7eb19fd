"""An arm of a comparison, its limits, and the checks of notebook parameters."""

import math
import numbers
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from helpers.models.sets import MODEL_SETS
from helpers.parameters import ParameterError, Rule, flag, nearest, number, option

GROUNDINGS = ("none", "text", "image")
# most denoising steps of each: from one more on its timesteps leave the 1000 of the models' training
MOST_STEPS = {"pndm": 999, "ddim": 999, "dpm++2m": 998, "unipc": 998}
SCHEDULERS = tuple(MOST_STEPS)
FITS = ("squash", "crop")
CROPS = ("squash", "centre")
LAYOUTS = ("mirrored", "jittered", "other", "random")  # made of the photos' own: see `runs.layouts`


@dataclass(frozen=True)
class Arm:
    """One setting of everything that a comparison varies. Arms are equal when their names are.

    grounding "none" draws with the text checkpoint and no boxes; grounded_fraction is the share of denoising
    steps that see the boxes, in [0, 1]; steps 0 and scheduler "" are those of the run's protocol;
    guidance_share is the share of the steps, the middle ones, that have guidance; layout is "" for the boxes
    of the photos, or one of LAYOUTS. Raises ParameterError for a value that cannot be right.
    """

    template: str
    grounding: str
    guidance_scale: float
    grounded_fraction: float = 1.0
    seed: int = 0
    steps: int = 0
    scheduler: str = ""
    guidance_share: float = 1.0
    layout: str = ""

    def __post_init__(self) -> None:
        settings = dict(vars(self))
        template = settings.pop("template")
        if not (isinstance(template, str) and re.fullmatch("[a-z][a-z0-9_]*", template)):
            raise ParameterError(f"template = {template!r}: use lower-case letters, digits and '_' only")
        given = {
            name: value
            for name, value in settings.items()
            if value or name not in ("steps", "scheduler", "layout")
        }
        check(**given)
        if self.layout and self.grounding == "image":
            raise ParameterError(
                f"layout = {self.layout!r}: image grounding shows what stands in the photo's own boxes"
            )
        # Whole numbers and -0.0 become the float that prints the same everywhere.
        for name in ("guidance_scale", "grounded_fraction", "guidance_share"):
            object.__setattr__(self, name, float(getattr(self, name)) + 0.0)

    @property
    def is_plain(self) -> bool:
        """Whether it has its run's steps and scheduler, guidance in all steps, and the photos' own boxes."""
        return (self.steps, self.scheduler, self.guidance_share, self.layout) == (0, "", 1, "")

    @property
    def name(self) -> str:
        """Such as `suffix-text-g7.5`, then `-f0.3` and `-s1` where fraction and seed are not 1 and 0, and
        `-n8`, `-dpm++2m`, `-i0.6` and `-mirrored` for its own steps, scheduler, guidance_share, layout."""
        numbers = self.guidance_scale, self.grounded_fraction, self.guidance_share
        guidance, fraction, share = (np.format_float_positional(x, trim="-") for x in numbers)
        suffix = (f"-f{fraction}" if fraction != "1" else "") + (f"-s{self.seed}" if self.seed else "")
        suffix += f"-n{self.steps}" * bool(self.steps) + f"-{self.scheduler}" * bool(self.scheduler)
        suffix += (f"-i{share}" if share != "1" else "") + f"-{self.layout}" * bool(self.layout)
        return f"{self.template}-{self.grounding}-g{guidance}{suffix}"

    @classmethod
    def parse(cls, name: str) -> "Arm":
        """The arm of that name: `Arm.parse(arm.name) == arm`. Raises ParameterError for any other text."""
        pattern = r"([a-z0-9_]+)-(none|text|image)-g(\d+\.?\d*)(?:-f(\d+\.?\d*))?(?:-s(\d+))?"
        pattern += rf"(?:-n(\d+))?(?:-({'|'.join(map(re.escape, SCHEDULERS))}))?(?:-i(\d+\.?\d*))?"
        pattern += f"(?:-({'|'.join(LAYOUTS)}))?"
        if (found := re.fullmatch(pattern, name)) is None:
            raise ParameterError(
                f"arm = {name!r}: not an arm's name; they look like 'suffix-text-g7.5-f0.3-s1'"
            )
        template, grounding, guidance, fraction, seed, steps, scheduler, share, layout = found.groups()
        numbers = float(guidance), float(fraction or 1), int(seed or 0), int(steps or 0)
        return cls(template, grounding, *numbers, scheduler or "", float(share or 1), layout or "")


def dataset(value: object) -> str | None:
    """The value is a folder that is not empty; what it has to hold, reading its scenes says."""
    folder = Path(value) if isinstance(value, (str, Path)) and str(value) else None
    if folder is None or not folder.is_dir():
        return "no such folder; give the folder that holds the photos and annotations.json"
    if not any(not path.name.startswith(".") for path in folder.iterdir()):
        return "no photos in this folder; put pictures there, and annotations.json"
    return None


REAL, WHOLE = numbers.Real, numbers.Integral
RULES: dict[str, Rule] = {
    "models": option(MODEL_SETS),
    "captioner": option(("opt", "t5")),
    "grounding": option(GROUNDINGS),
    "guidance_scale": number(REAL, 0, math.inf, "give a finite number >= 0; 1 is no guidance, 7.5 is usual"),
    "grounded_fraction": number(REAL, 0, 1, "give the share of steps that see the boxes, from 0 to 1"),
    "guidance_share": number(REAL, 0, 1, "give the share of steps that have guidance, from 0 to 1"),
    "steps": number(WHOLE, 1, 999, "give a whole number from 1 to 999; demo models want 20, published 50"),
    "seed": number(WHOLE, 0, 2**63 - 1, "give a whole number >= 0"),
    "scheduler": option(SCHEDULERS),
    "fit": option(FITS),
    "crops": option(CROPS),
    "layout": option(("", *LAYOUTS)),
    "beams": number(WHOLE, 1, 100, "give a whole number from 1 to 100; the original study used 4"),
    "safety": flag,
    "batch_size": number(WHOLE, 1, 4096, "give a whole number from 1 to 4096"),
    "workers": number(WHOLE, 1, 1024, "give a whole number of processes, from 1"),
    "dataset": dataset,
}


def check(templates: Iterable[str] = (), /, **parameters: object) -> None:
    """Check notebook parameters by name, before any model is loaded.

    parameters: any of RULES or `template`, or a plural with a list (`guidance_scales=[1, 7.5]`). Steps are
    checked against their scheduler where both are given.
    templates: names of those that `template` may be, one's own included.
    Raises ParameterError listing every problem: parameter, value, what to do.
    """
    rules = {**RULES, "template": option(templates)}
    problems = []
    for name, value in parameters.items():
        singular = name if name in rules else name.removesuffix("s")
        values = [value] if name in rules else value
        if singular not in rules:
            problems.append(f"{name} = {value!r}: no such parameter; {nearest(name, rules)}")
        elif not (isinstance(values, (list, tuple)) and values):
            problems.append(f"{name} = {value!r}: give a list with at least one value")
        else:
            advice = [(one, rules[singular](one)) for one in values]
            problems += [f"{name} = {one!r}: {what}" for one, what in advice if what is not None]
    steps, scheduler = parameters.get("steps"), parameters.get("scheduler")
    if not problems and steps is not None and steps > (most := MOST_STEPS.get(scheduler, math.inf)):
        problems.append(f"steps = {steps!r}: scheduler {scheduler!r} makes {most} at most")
    if problems:
        raise ParameterError("\n".join(problems))
