"""An arm of a comparison, its limits, and the checks of notebook parameters."""

import math
import numbers
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from helpers.models.sets import MODEL_SETS, Checkpoint, model_set
from helpers.parameters import ParameterError, Rule, flag, nearest, number, option
from helpers.runs.methods import GROUNDINGS, KNOBS, METHODS, NEUTRAL, defaults, problems

# most denoising steps of each: from one more on its timesteps leave the 1000 of the models' training
MOST_STEPS = {"pndm": 999, "ddim": 999, "dpm++2m": 998, "unipc": 998}
SCHEDULERS = tuple(MOST_STEPS)
FITS = ("squash", "crop")
CROPS = ("squash", "centre")
LAYOUTS = ("mirrored", "jittered", "other", "random")  # made of the photos' own: see `runs.layouts`


@dataclass(frozen=True)
class Arm:
    """One setting of everything that a comparison varies. Arms are equal when their names are.

    grounding: of METHODS; "none" draws with the text checkpoint and no boxes. grounded_fraction: the share of
    denoising steps that see the boxes, in [0, 1]; steps 0 and scheduler "": those of the run's protocol;
    guidance_share: the share of the steps, the middle ones, that have guidance; layout: "" for the boxes of
    the photos, or one of LAYOUTS; knobs: what only some methods have, name -> value, or such pairs.
    Raises ParameterError for a value that cannot be right and for a knob that the method lacks.
    """

    template: str
    grounding: str
    guidance_scale: float = 1.0
    grounded_fraction: float = 1.0
    seed: int = 0
    steps: int = 0
    scheduler: str = ""
    guidance_share: float = 1.0
    layout: str = ""
    knobs: Mapping[str, float] | tuple[tuple[str, float], ...] = ()

    def __post_init__(self) -> None:
        settings = dict(vars(self))
        template, knobs = settings.pop("template"), dict(settings.pop("knobs"))
        if not (isinstance(template, str) and re.fullmatch("[a-z][a-z0-9_]*", template)):
            raise ParameterError(f"template = {template!r}: use lower-case letters, digits and '_' only")
        unset = [name for name in ("steps", "scheduler", "layout") if not settings[name]]
        check(**{name: value for name, value in settings.items() if name not in unset})
        if wrong := problems(self.grounding, {name: settings[name] for name in NEUTRAL} | knobs):
            raise ParameterError("\n".join(wrong))
        if self.layout and METHODS[self.grounding].needs_photo:
            raise ParameterError(
                f"layout = {self.layout!r}: {METHODS[self.grounding].title} shows what stands in the photo's "
                "own boxes"
            )
        # Whole numbers and -0.0 become the float that prints the same everywhere.
        for name in ("guidance_scale", "grounded_fraction", "guidance_share"):
            object.__setattr__(self, name, float(getattr(self, name)) + 0.0)
        usual = defaults(self.grounding)
        own = [(name, float(knobs[name])) for name in usual if knobs.get(name, usual[name]) != usual[name]]
        object.__setattr__(self, "knobs", tuple(own))

    @property
    def is_plain(self) -> bool:
        """Whether it is one of the study's groundings with its run's steps and scheduler, guidance in all
        steps, and the photos' own boxes."""
        settings = (self.steps, self.scheduler, self.guidance_share, self.layout)
        return self.grounding in GROUNDINGS and settings == (0, "", 1, "")

    @property
    def name(self) -> str:
        """Such as `suffix-text-g7.5`, then `-f0.3` and `-s1` where fraction and seed are not 1 and 0, and
        `-n8`, `-dpm++2m`, `-i0.6` and `-mirrored` for its own steps, scheduler, guidance_share, layout; at
        last knobs that are not at their default, such as `-t0.4`. Without `-g` where there is no such knob.
        """
        numbers = self.guidance_scale, self.grounded_fraction, self.guidance_share
        guidance, fraction, share = map(_digits, numbers)
        suffix = f"-g{guidance}" * ("guidance_scale" in METHODS[self.grounding].knobs)
        suffix += (f"-f{fraction}" if fraction != "1" else "") + (f"-s{self.seed}" if self.seed else "")
        suffix += f"-n{self.steps}" * bool(self.steps) + f"-{self.scheduler}" * bool(self.scheduler)
        suffix += (f"-i{share}" if share != "1" else "") + f"-{self.layout}" * bool(self.layout)
        knobs = "".join(f"-{KNOBS[name].letter}{_digits(value)}" for name, value in self.knobs)
        return f"{self.template}-{self.grounding}{suffix}{knobs}"

    @property
    def title(self) -> str:
        """Its method, then settings that are not the usual: "SDEdit (guidance_scale 2, strength 0.4)"."""
        method = METHODS[self.grounding]
        shown = {"guidance_scale": self.guidance_scale} if "guidance_scale" in method.knobs else {}
        shown |= dict(self.knobs)
        others = {one.name: one.default for one in fields(self)[3:-1]}  # from grounded_fraction to layout
        shown |= {name: getattr(self, name) for name in others if getattr(self, name) != others[name]}
        pairs = (f"{name} {one if isinstance(one, str) else f'{one:g}'}" for name, one in shown.items())
        return method.title + f" ({', '.join(pairs)})" * bool(shown)

    @classmethod
    def parse(cls, name: str) -> "Arm":
        """The arm of that name: `Arm.parse(arm.name) == arm`. Raises ParameterError for any other text."""
        pattern = rf"([a-z0-9_]+)-({'|'.join(METHODS)})(?:-g(\d+\.?\d*))?(?:-f(\d+\.?\d*))?(?:-s(\d+))?"
        pattern += rf"(?:-n(\d+))?(?:-({'|'.join(map(re.escape, SCHEDULERS))}))?(?:-i(\d+\.?\d*))?"
        pattern += f"(?:-({'|'.join(LAYOUTS)}))?"
        pattern += "".join(rf"(?:-{knob.letter}(\d+\.?\d*))?" for knob in KNOBS.values())
        found = re.fullmatch(pattern, name)
        has_guidance = found and "guidance_scale" in METHODS[found[2]].knobs
        if found is None or has_guidance != (found[3] is not None):
            raise ParameterError(
                f"arm = {name!r}: not an arm's name; they look like 'suffix-text-g7.5-f0.3-s1'"
            )
        template, method, guidance, fraction, seed, steps, scheduler, share, layout, *values = found.groups()
        numbers = float(guidance or 1), float(fraction or 1), int(seed or 0), int(steps or 0)
        knobs = {one: float(value) for one, value in zip(KNOBS, values, strict=True) if value}
        return cls(template, method, *numbers, scheduler or "", float(share or 1), layout or "", knobs)


def own_arm(name: str) -> Arm | None:
    """The arm of that name; None for controls and for arms from elsewhere."""
    try:
        return Arm.parse(name)
    except ParameterError:
        return None


def own_checkpoints_of(names: Iterable[str], models: str) -> dict[str, Checkpoint]:
    """Title of a method -> the checkpoint that it brings in a model set, of those arms whose method does."""
    known, methods = model_set(models).methods, (METHODS[a.grounding] for a in map(own_arm, names) if a)
    return {one.title: known[one.own] for one in methods if one.own in known}


def _digits(value: float) -> str:
    return np.format_float_positional(value, trim="-")


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
    "grounding": option(METHODS),
    "guidance_scale": number(REAL, 0, math.inf, "give a finite number >= 0; 1 is no guidance, 7.5 is usual"),
    "grounded_fraction": number(REAL, 0, 1, "give the share of steps that see the boxes, from 0 to 1"),
    "guidance_share": number(REAL, 0, 1, "give the share of steps that have guidance, from 0 to 1"),
    "steps": number(WHOLE, 1, 999, "give a whole number from 1 to 999; demo models want 8, published 50"),
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
