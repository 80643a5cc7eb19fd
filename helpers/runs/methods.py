"""The methods that draw pictures: what each reads of a scene, its knobs, and where its code is. No torch."""

from collections.abc import Iterable
from dataclasses import dataclass
from numbers import Real

from helpers.models.sets import ModelSet
from helpers.parameters import Rule, number

FOLDER = "helpers.generation.methods."
READS = ("prompt", "boxes", "phrases", "crops", "photo", "labels", "colours")
EDIT = ("source_prompt", "source_phrases", "instruction")  # what an edit set tells of a scene as well
READS += EDIT
GROUPS = ("caption only", "layout", "edit")  # by what methods are given: those of one group compare
DIFFUSION = ("guidance_scale", "guidance_share", "steps", "scheduler")
GROUNDED = (*DIFFUSION, "grounded_fraction")


@dataclass(frozen=True)
class Knob:
    """A setting that only some methods have. letter: stands before its value in the name of an arm."""

    letter: str
    default: float
    rule: Rule


def multiple_of_16(value: object) -> str | None:
    """The value is a side of a picture in pixels, as FLUX 3 takes it."""
    fits = isinstance(value, Real) and 64 <= value <= 4096 and value % 16 == 0
    return None if fits else "give pixels, a multiple of 16 from 64 to 4096"


KNOBS = {
    "strength": Knob("t", 0.6, number(Real, 0.001, 1, "give the share of the steps that redraw, up to 1")),
    "image_guidance": Knob("k", 1.5, number(Real, 0, 100, "give a number from 0; more keeps more")),
    "pseudo_guidance": Knob("w", 1.5, number(Real, 0, 10, "give a number from 0, the photo, to 10")),
    "size": Knob("p", 512, multiple_of_16),
    "colour_weight": Knob("c", 1, number(Real, 0, 10, "give a number from 0, no colour but by words, to 10")),
    "threshold": Knob("e", 0.4, number(Real, 0, 1, "give the attention, from 0 to 1, that a segment needs")),
}


@dataclass(frozen=True)
class Method:
    """One way to draw a scene.

    title: what people call it. reads: of READS. knobs: its settings, of GROUNDED and KNOBS.
    checkpoint: the GLIGEN checkpoint of the model set that it draws with, "text" or "image"; "" where the
    module has a function `load(models, safety)` of its own. own: name of the checkpoint that it brings, of
    `ModelSet.methods`, "" for none; where a model set has none of that name, GLIGEN's serves. module: holds
    its class `Sampler`, see `generation.methods`. steps: its own number, 0 for that of the run. paints_boxes:
    whether it draws inside the boxes alone, and of an edit set in the edited box alone. takes_all_boxes: of a
    scene, and not its 30 largest. note: what whoever compares it has to know, in
    sentences. in_verdicts: whether sentences may call it better or worse than others. quick: whether a report
    draws it unasked; `make methods` draws the others, too.
    """

    title: str
    reads: tuple[str, ...]
    knobs: tuple[str, ...] = DIFFUSION
    checkpoint: str = "text"
    module: str = f"{FOLDER}gligen"
    steps: int = 0
    paints_boxes: bool = False
    own: str = ""
    takes_all_boxes: bool = False
    note: str = ""
    in_verdicts: bool = True
    quick: bool = True

    @property
    def needs_photo(self) -> bool:
        """Whether it is given pixels of the photo: its pictures can then have no other layout than that."""
        return bool({"photo", "crops", "colours"} & set(self.reads))

    @property
    def is_edit(self) -> bool:
        """Whether it starts from the photo: no distance to the photos is then a measure of realism."""
        return "photo" in self.reads

    @property
    def group(self) -> str:
        """Of GROUPS, by what it reads."""
        own = "caption only" if set(self.reads) <= {"prompt"} else "layout"
        return "edit" if self.is_edit else own


_TURBO = {"knobs": ("pseudo_guidance", "steps"), "module": f"{FOLDER}turboedit", "steps": 4}
_FLUX3 = {"knobs": ("size", "steps"), "checkpoint": "", "module": f"{FOLDER}flux3", "steps": 16}
_FLUX3 |= {"own": "flux3", "takes_all_boxes": True}
_NOISE = "FLUX 3 and GLIGEN have different latents: they share seeds, and no noise."
_UPSAMPLED = "Upsampled prompts say more than the other arms are given: no verdict is made of them."
METHODS = {
    "none": Method("no grounding", ("prompt",), GROUNDED),
    "text": Method("text grounding", ("prompt", "boxes", "phrases"), GROUNDED),
    "image": Method("text + image grounding", ("prompt", "boxes", "phrases", "crops"), GROUNDED, "image"),
    "sdedit": Method("SDEdit", ("prompt", "photo"), (*DIFFUSION, "strength"), module=f"{FOLDER}sdedit"),
    "inpaint": Method(
        "GLIGEN inpainting",
        ("prompt", "boxes", "phrases", "photo"),
        GROUNDED,
        module=f"{FOLDER}inpaint",
        paints_boxes=True,
    ),
    "turboedit": Method("TurboEdit", ("prompt", "source_prompt", "photo"), **_TURBO, own="turboedit"),
    "turboedit_text": Method(
        "TurboEdit with boxes",
        ("prompt", "source_prompt", "photo", "boxes", "phrases", "source_phrases"),
        **_TURBO,
    ),
    "ip2p": Method(
        "InstructPix2Pix",
        ("instruction", "photo"),
        ("guidance_scale", "image_guidance", "steps", "scheduler"),
        module=f"{FOLDER}instruct_pix2pix",
        own="ip2p",
    ),
    "attngan": Method(
        "AttnGAN", ("prompt",), knobs=(), checkpoint="", module=f"{FOLDER}attngan", own="attngan"
    ),
    "ssagan": Method("SSA-GAN", ("prompt",), knobs=(), checkpoint="", module=f"{FOLDER}ssagan", own="ssagan"),
    "flux3": Method("FLUX 3 Image Klein", ("prompt", "boxes", "phrases"), **_FLUX3, note=_NOISE),
    "flux3_none": Method("FLUX 3 Image Klein without boxes", ("prompt",), **_FLUX3, note=_NOISE),
    "flux3_up": Method(
        "FLUX 3 Image Klein with upsampled prompts",
        ("prompt", "boxes", "phrases"),
        **_FLUX3,
        note=f"{_NOISE} {_UPSAMPLED}",
        in_verdicts=False,
    ),
    "layoutdiffusion": Method(
        "LayoutDiffusion",
        ("boxes", "phrases"),
        checkpoint="",
        module=f"{FOLDER}layoutdiffusion",
        own="layoutdiffusion",
        note="LayoutDiffusion is given boxes and what stands in them, and no prompt.",
    ),
    "rich": Method(
        "Rich Text",
        ("prompt", "phrases", "labels", "colours"),
        (*DIFFUSION, "colour_weight", "threshold"),
        module=f"{FOLDER}rich",
        quick=False,
    ),
    "rich_text": Method(
        "Rich Text with boxes",
        ("prompt", "boxes", "phrases", "colours"),
        (*GROUNDED, "colour_weight"),
        module=f"{FOLDER}rich",
    ),
}
GROUNDINGS = ("none", "text", "image")  # those of the study's questions
NEUTRAL = {"guidance_scale": 1, "guidance_share": 1, "grounded_fraction": 1, "steps": 0, "scheduler": ""}


def problems(method: str, settings: dict[str, object]) -> list[str]:
    """What is wrong with settings for a method: knobs that it lacks, unless they are at NEUTRAL, and values
    that a knob cannot have. Rules of the knobs of GROUNDED are those of `arms.RULES`."""
    known, found = METHODS[method], []
    for name, value in settings.items():
        if name not in known.knobs and (name not in NEUTRAL or value != NEUTRAL[name]):
            has = ", ".join(known.knobs) or "none"
            found.append(f"{name} = {value!r}: {method!r} has no such knob; its knobs: {has}")
        elif name in KNOBS and (advice := KNOBS[name].rule(value)):
            found.append(f"{name} = {value!r}: {advice}")
    return found


def own_checkpoints(groundings: Iterable[str], models: ModelSet) -> set[str]:
    """Names of the checkpoints that methods bring in a model set: those that it has, and those that it would
    have to have."""
    some = (METHODS[name] for name in groundings)
    return {one.own for one in some if one.own and (one.own in models.methods or not one.checkpoint)}


def defaults(method: str) -> dict[str, float]:
    """The knobs that only this method and few others have, at their defaults."""
    return {name: KNOBS[name].default for name in METHODS[method].knobs if name in KNOBS}
