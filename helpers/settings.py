"""The two model sets, the arms of a comparison, and the checks of notebook parameters."""

import math
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from helpers.parameters import ParameterError, Rule, dataset, flag, nearest, number, option
from helpers.templates import TEMPLATES

GROUNDINGS = ("none", "text", "image")
SCHEDULERS = ("pndm", "ddim", "dpm++2m", "unipc")
FITS = ("squash", "crop")


def data_folder() -> Path:
    """The folder that holds `demo/` and `models/`: `GROUNDED_DATA`, or `data/` of this repository."""
    return Path(os.environ.get("GROUNDED_DATA") or Path(__file__).resolve().parents[1] / "data")


@dataclass(frozen=True)
class Checkpoint:
    """Where one trained model comes from.

    source: a hub repository (`owner/name`) or the path of a local folder in the same layout.
    revision: hub commit; "main" where none is pinned: the loader tells which it got; None: a local folder.
    variant: "fp16" where only the half precision files are wanted.
    safetensors: True or False where it is known what the repository holds; None: safetensors, else `.bin`.
    """

    name: str
    source: str
    revision: str | None = None
    variant: str | None = None
    safetensors: bool | None = True

    @property
    def files(self) -> list[str]:
        """Patterns of the files to download: configurations, tokenizers and one format of weights."""
        name = f"*.{self.variant}*" if self.variant else "*"
        formats = {True: ("safetensors",), False: ("bin",), None: ("safetensors", "bin")}[self.safetensors]
        return ["*.json", "*.txt", "*.model", *(f"{name}.{suffix}" for suffix in formats)]

    @property
    def download_command(self) -> str:
        """What to type to have a hub checkpoint on this machine."""
        wanted = "".join(f" --include '{pattern}'" for pattern in self.files)
        if self.source.startswith("https://"):
            return f"curl -LO {self.source}  (then name the file as weights)"
        return f"hf download {self.source} --revision {self.revision}{wanted}"


@dataclass(frozen=True)
class ModelSet:
    """Every model that a study needs.

    size: side of a picture in pixels; steps (of denoising) and guidance_scale: where nobody asks for others;
    inception: whether pytorch-fid's Inception is used, so that the distance may be called FID.
    """

    name: str
    captioners: Mapping[str, Checkpoint]
    gligen: Mapping[str, Checkpoint]
    clip: Checkpoint
    detector: Checkpoint
    inception: bool
    size: int
    steps: int
    guidance_scale: float


def _demo() -> ModelSet:
    def local(folder: str) -> Checkpoint:
        return Checkpoint(f"demo {folder}", str(data_folder() / "models" / folder))

    captioners = {"opt": local("blip2-opt"), "t5": local("blip2-t5")}
    gligen = {"text": local("gligen-text"), "image": local("gligen-text-image")}
    return ModelSet("demo", captioners, gligen, local("clip"), local("owlv2"), False, 128, 20, 2.0)


def _published() -> ModelSet:
    """The commits are those that public projects pin: BLIP-2, CLIP and OWLv2 by many, GLIGEN text by one.
    For GLIGEN text + image none could be found: it follows "main" and the loader tells the commit it got."""

    def hub(source: str, revision: str, **options: str | bool | None) -> Checkpoint:
        return Checkpoint(source.split("/")[1], source, revision, **options)

    opt = hub("Salesforce/blip2-opt-2.7b", "59a1ef6c1e5117b3f65523d1c6066825bcf315e3")
    t5 = hub("Salesforce/blip2-flan-t5-xl", "0eb0d3b46c14c1f8c7680bca2693baafdb90bb28")
    commit = "d2820dc1e9ba6ca082051ce79cfd3eb468ae2c83"
    text = hub("masterful/gligen-1-4-generation-text-box", commit, variant="fp16", safetensors=False)
    image = hub("anhnct/Gligen_Text_Image", "main", safetensors=None)
    clip = hub("openai/clip-vit-large-patch14", "32bd64288804d66eefd0ccbe215aa642df71cc41")
    detector = hub("google/owlv2-base-patch16-ensemble", "cfd3195ba4ea9592eec887ded089f4c08eff231d")
    captioners, gligen = {"opt": opt, "t5": t5}, {"text": text, "image": image}
    return ModelSet("published", captioners, gligen, clip, detector, True, 512, 50, 7.5)


MODEL_SETS: dict[str, Callable[[], ModelSet]] = {"demo": _demo, "published": _published}


def model_set(name: str) -> ModelSet:
    """The model set of that name. Raises ParameterError naming the nearest one."""
    check(models=name)
    return MODEL_SETS[name]()


@dataclass(frozen=True)
class Arm:
    """One setting of everything that a comparison varies. Arms are equal when their names are.

    grounding "none" draws with the text checkpoint and no boxes; grounded_fraction is the share of denoising
    steps that see the boxes, in [0, 1]. Raises ParameterError for a value that cannot be right.
    """

    template: str
    grounding: str
    guidance_scale: float
    grounded_fraction: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        settings = dict(vars(self))
        template = settings.pop("template")
        if not (isinstance(template, str) and re.fullmatch("[a-z][a-z0-9_]*", template)):
            raise ParameterError(f"template = {template!r}: use lower-case letters, digits and '_' only")
        check(**settings)
        # Whole numbers and -0.0 become the float that prints the same everywhere.
        object.__setattr__(self, "guidance_scale", float(self.guidance_scale) + 0.0)
        object.__setattr__(self, "grounded_fraction", float(self.grounded_fraction) + 0.0)

    @property
    def name(self) -> str:
        """Such as `suffix-text-g7.5`, then `-f0.3` and `-s1` where fraction and seed are not 1 and 0."""
        guidance, fraction = (
            np.format_float_positional(x, trim="-") for x in (self.guidance_scale, self.grounded_fraction)
        )
        suffix = (f"-f{fraction}" if fraction != "1" else "") + (f"-s{self.seed}" if self.seed else "")
        return f"{self.template}-{self.grounding}-g{guidance}{suffix}"

    @classmethod
    def parse(cls, name: str) -> "Arm":
        """The arm of that name: `Arm.parse(arm.name) == arm`. Raises ParameterError for any other text."""
        pattern = r"([a-z0-9_]+)-(none|text|image)-g(\d+\.?\d*)(?:-f(\d+\.?\d*))?(?:-s(\d+))?"
        if (found := re.fullmatch(pattern, name)) is None:
            raise ParameterError(
                f"arm = {name!r}: not an arm's name; they look like 'suffix-text-g7.5-f0.3-s1'"
            )
        template, grounding, guidance, fraction, seed = found.groups()
        return cls(template, grounding, float(guidance), float(fraction or 1), int(seed or 0))


REAL = (int, float)
RULES: dict[str, Rule] = {
    "models": option(MODEL_SETS),
    "captioner": option(("opt", "t5")),
    "grounding": option(GROUNDINGS),
    "guidance_scale": number(REAL, 0, math.inf, "give a finite number >= 0; 1 is no guidance, 7.5 is usual"),
    "grounded_fraction": number(REAL, 0, 1, "give the share of steps that see the boxes, from 0 to 1"),
    "steps": number(int, 1, 1000, "give a whole number from 1 to 1000; demo models want 20, published 50"),
    "seed": number(int, 0, 2**63 - 1, "give a whole number >= 0"),
    "scheduler": option(SCHEDULERS),
    "fit": option(FITS),
    "beams": number(int, 1, 100, "give a whole number from 1 to 100; the original study used 4"),
    "safety": flag,
    "batch_size": number(int, 1, 4096, "give a whole number from 1 to 4096"),
    "workers": number(int, 1, 1024, "give a whole number of processes, from 1"),
    "dataset": dataset,
}


def check(templates_known: Iterable[str] = tuple(TEMPLATES), **parameters: object) -> None:
    """Check notebook parameters by name, before any model is loaded.

    parameters: any of RULES or `template`, or a plural with a list (`guidance_scales=[1, 7.5]`).
    templates_known: names of the templates that may be asked for, the user's own ones included.
    Raises ParameterError listing every problem: parameter, value, what to do.
    """
    rules = {**RULES, "template": option(templates_known)}
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
    if problems:
        raise ParameterError("\n".join(problems))
