"""The two model sets: which checkpoints a study needs, and where they come from."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from helpers.parameters import ParameterError, nearest


def data_folder() -> Path:
    """The folder that holds `demo/` and `models/`: `GROUNDED_DATA`, or `data/` of this repository."""
    return Path(os.environ.get("GROUNDED_DATA") or Path(__file__).resolve().parents[2] / "data")


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
    if name not in MODEL_SETS:
        raise ParameterError(f"models = {name!r}: {nearest(name, MODEL_SETS)}")
    return MODEL_SETS[name]()
