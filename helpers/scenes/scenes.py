"""A scene is a photo and its labelled boxes; this module reads and writes the files that hold them."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from PIL import Image

from helpers.files import beside
from helpers.scenes import boxes as rectangles
from helpers.scenes import checks, images
from helpers.scenes.checks import DatasetError

__all__ = ["DatasetError", "Scene", "fitted", "read_scenes", "words", "write_annotations"]

PROMPT = "prompt_w_"  # how the keys of prompts begin in annotation files
KEYS = {"caption": "generated_text"}  # template -> its key there, where that is not PROMPT + template


@dataclass(frozen=True, eq=False)
class Scene:
    """A photo and what is known of it.

    name: unique in the data set, fit for a file name. width, height: pixels of the upright photo as annotated
    (the file may be a resized copy). boxes: (n, 4) float32 fractions, clipped; labels and phrases: n each, in
    their order. caption: a reference written by someone; generated_text: a captioner's; prompts: by template.
    image: the picture as the annotation file calls it. clipped: indices of the boxes that left the photo by a
    pixel or more. extra: other keys of the annotation file, carried along.
    """

    name: str
    path: Path
    width: int
    height: int
    labels: tuple[str, ...]
    phrases: tuple[str, ...]
    boxes: np.ndarray
    caption: str | None = None
    generated_text: str | None = None
    prompts: dict[str, str] = field(default_factory=dict)
    image: str = ""
    clipped: tuple[int, ...] = ()
    extra: dict = field(default_factory=dict, repr=False)

    def photo(self) -> Image.Image:
        """The upright photo, RGB, in the file's own size."""
        return images.load(self.path)


def read_scenes(folder: str | Path) -> list[Scene]:
    """The scenes of a folder with annotations.json and the pictures that it names (here or in images/).

    The file is a list of {image, width, height, labels, bboxes}; bboxes are pixels of the upright photo,
    [x_min, y_min, x_max, y_max]; optional are generated_text, prompt_w_label, prompt_w_suffix, phrases (else
    the labels serve, as `words`) and caption. Every picture is decoded once, so that nothing breaks hours
    later. Raises DatasetError (a ValueError) that lists every problem of the data set.
    """
    folder = Path(folder)
    entries = checks.read(folder)
    checks.check(folder, entries)
    return [_scene(folder, entry) for entry in entries]


def fitted(scene: Scene, protocol: Mapping) -> Scene:
    """A scene with boxes, labels and phrases as its pictures are asked for: those of the photo after it was
    fitted to the model's square by `images.fit`.

    protocol: `size`, the side of the square in pixels, and `fit`, "squash" or "crop".
    """
    canvas = Image.new("L", (scene.width, scene.height))
    _, boxes, kept = images.fit(canvas, scene.boxes, protocol["size"], protocol["fit"])
    phrases, labels = (tuple(texts[index] for index in kept) for texts in (scene.phrases, scene.labels))
    return replace(scene, boxes=boxes, phrases=phrases, labels=labels)


def words(label: str) -> str:
    """A class name as words of a text: `Hard-Hat`, `hard_hat` and `HardHat` are "hard hat"."""
    parted = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", label)
    return " ".join(re.sub(r"[_-]+", " ", parted).lower().split()) or label


def write_annotations(
    path: str | Path,
    scenes: Iterable[Scene],
    generated_text: dict[str, str] | None = None,
    prompts: dict[str, dict[str, str]] | None = None,
) -> None:
    """Write scenes in the format that read_scenes reads, whole or not at all.

    generated_text: by scene name; prompts: by template name, then scene name ({"suffix": {"a": "..."}} is
    written as prompt_w_suffix). A scene that they leave out keeps its own. Boxes read back bit for bit.
    Raises ValueError naming texts for scenes that are not there.
    """
    scenes = list(scenes)
    texts = {"generated_text": generated_text or {}}
    texts |= {
        KEYS.get(template, PROMPT + template): by_scene for template, by_scene in (prompts or {}).items()
    }
    for key, by_scene in texts.items():
        strange = sorted(by_scene.keys() - {scene.name for scene in scenes})
        if strange:
            raise ValueError(f"{key} is given for {strange}, which are not among the {len(scenes)} scenes")
    entries = [
        _entry(scene)
        | {key: by_scene[scene.name] for key, by_scene in texts.items() if scene.name in by_scene}
        for scene in scenes
    ]
    with beside(path) as partial:
        partial.write_text(json.dumps(entries, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _scene(folder: Path, entry: dict) -> Scene:
    width, height, labels = int(entry["width"]), int(entry["height"]), tuple(entry["labels"])
    pixels = np.array(entry["bboxes"], dtype=np.float64).reshape(-1, 4)
    outside = np.maximum(-pixels, pixels - [width, height, width, height]).max(axis=1, initial=0)
    texts = {key: value for key, value in entry.items() if key.startswith(PROMPT) and value is not None}
    known = {*checks.REQUIRED, "phrases", "caption", "generated_text", *texts}
    names = {key: template for template, key in KEYS.items()}
    return Scene(
        name=checks.name_of(entry["image"]),
        path=checks.locate(folder, entry["image"]),
        width=width,
        height=height,
        labels=labels,
        phrases=tuple(entry.get("phrases") or map(words, labels)),
        boxes=rectangles.to_fractions(pixels, width, height),
        caption=entry.get("caption"),
        generated_text=entry.get("generated_text"),
        prompts={names.get(key, key.removeprefix(PROMPT)): value for key, value in texts.items()},
        image=entry["image"],
        clipped=tuple(np.flatnonzero(outside >= 1).tolist()),
        extra={key: value for key, value in entry.items() if key not in known},
    )


def _entry(scene: Scene) -> dict:
    size = (scene.width, scene.height, scene.width, scene.height)
    entry = {
        "image": scene.image or scene.path.name,
        "width": scene.width,
        "height": scene.height,
        "labels": list(scene.labels),
        "bboxes": [[_shortest(*pair) for pair in zip(box, size, strict=True)] for box in scene.boxes],
    }
    if scene.phrases != tuple(map(words, scene.labels)):
        entry["phrases"] = list(scene.phrases)
    texts = {"caption": scene.caption, "generated_text": scene.generated_text}
    texts |= {KEYS.get(template, PROMPT + template): prompt for template, prompt in scene.prompts.items()}
    return entry | {key: text for key, text in texts.items() if text is not None} | scene.extra


def _shortest(fraction: np.float32, side: int) -> float:
    """The pixel position with the fewest decimals that is still the same float32 fraction."""
    exact = float(fraction) * side
    rounded = (round(exact, decimals) for decimals in range(10))
    return next((value for value in rounded if np.float32(value / side) == fraction), exact)
