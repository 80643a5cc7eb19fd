"""The methods that draw pictures: what each reads of a scene, its knobs, and where its code is. No torch."""

from dataclasses import dataclass
from numbers import Real

from helpers.parameters import Rule, number

FOLDER = "helpers.generation.methods."
READS = ("prompt", "boxes", "phrases", "crops", "photo")
EDIT = ("source_prompt", "source_phrases", "instruction")  # what an edit set tells of a scene as well
READS += EDIT
DIFFUSION = ("guidance_scale", "guidance_share", "steps", "scheduler")
GROUNDED = (*DIFFUSION, "grounded_fraction")


@dataclass(frozen=True)
class Knob:
    """A setting that only some methods have. letter: stands before its value in the name of an arm."""

    letter: str
    default: float
    rule: Rule


KNOBS = {
    "strength": Knob("t", 0.6, number(Real, 0.001, 1, "give the share of the steps that redraw, up to 1")),
    "image_guidance": Knob("p", 1.5, number(Real, 0, 100, "give a number from 0; more keeps more")),
    "pseudo_guidance": Knob("w", 1.5, number(Real, 0, 10, "give a number from 0, the photo, to 10")),
}


@dataclass(frozen=True)
class Method:
    """One way to draw a scene.

    title: what people call it. reads: of READS. knobs: its settings, of GROUNDED and KNOBS.
    checkpoint: the GLIGEN checkpoint of the model set that it draws with, "text" or "image", unless the set
    names another one in its `methods`; "" where the module has a function `load(models, safety)` of its own.
    module: holds its class `Sampler`, see `generation.methods`. steps: its own number, 0 for that of the run.
    paints_boxes: whether it draws inside the boxes alone, and of an edit set in the edited box alone.
    """

    title: str
    reads: tuple[str, ...]
    knobs: tuple[str, ...] = DIFFUSION
    checkpoint: str = "text"
    module: str = f"{FOLDER}gligen"
    steps: int = 0
    paints_boxes: bool = False

    @property
    def needs_photo(self) -> bool:
        """Whether it is given pixels of the photo: its pictures can then have no other layout than that."""
        return bool({"photo", "crops"} & set(self.reads))

    @property
    def is_edit(self) -> bool:
        """Whether it starts from the photo: no distance to the photos is then a measure of realism."""
        return "photo" in self.reads


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
}
_TURBO = {"knobs": ("pseudo_guidance", "steps"), "module": f"{FOLDER}turboedit", "steps": 4}
METHODS |= {
    "turboedit": Method("TurboEdit", ("prompt", "source_prompt", "photo"), **_TURBO),
    "turboedit_text": Method(
        "TurboEdit with boxes",
        ("prompt", "source_prompt", "photo", "boxes", "phrases", "source_phrases"),
        **_TURBO,
    ),
}
METHODS["ip2p"] = Method(
    "InstructPix2Pix",
    ("instruction", "photo"),
    ("guidance_scale", "image_guidance", "steps", "scheduler"),
    module=f"{FOLDER}instruct_pix2pix",
)
METHODS["attngan"] = Method("AttnGAN", ("prompt",), (), "", f"{FOLDER}attngan")
METHODS["ssagan"] = Method("SSA-GAN", ("prompt",), (), "", f"{FOLDER}ssagan")
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


def defaults(method: str) -> dict[str, float]:
    """The knobs that only this method and few others have, at their defaults."""
    return {name: KNOBS[name].default for name in METHODS[method].knobs if name in KNOBS}
