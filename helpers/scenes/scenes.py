"""A scene is a photo and its labelled boxes; this module reads and writes the files that hold them."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path

import numpy as np
from PIL import Image

from helpers.scenes import boxes as rectangles
from helpers.scenes import checks, entries, images, photos, readers
from helpers.scenes.checks import PROMPT
from helpers.scenes.entries import NUMBERS, name_of, rare_collection, words
from helpers.scenes.photos import Photo
from helpers.scenes.problems import Problem, examples, leave_out, scene_of

SIDE = 512  # pixels of a layout without width and height, the square of the published models
CANVAS = "#d9d9d9"
SMALLEST_SHARE = 0.01  # of the area: boxes that a crop leaves smaller are dropped, as in GLIGEN's training
KNOWN = {*checks.REQUIRED, *checks.TEXTS, "phrases", NUMBERS}


@dataclass(frozen=True, eq=False)
class Scene:
    """A photo, or a layout without one, and what is known of it.

    name: unique in the data set, fit for a file name. path: of the photo, or None. width, height: pixels of
    the upright photo as annotated (the file may be a resized copy). boxes: (n, 4) float32 fractions, clipped;
    labels and phrases: n each, in their order. caption: a reference written by someone, or the prompt of a
    layout without a photo; generated_text: a captioner's; prompts: by template. image: the picture as the
    annotation file calls it. extra: other keys of the annotation file, carried along. content: SHA-256 of the
    photo's file, "" where it is not known. numbers: of the boxes in the annotation file, from 0; () where
    they are all here, in that order.
    """

    name: str
    path: Path | None
    width: int
    height: int
    labels: tuple[str, ...]
    phrases: tuple[str, ...]
    boxes: np.ndarray
    caption: str | None = None
    generated_text: str | None = None
    prompts: dict[str, str] = field(default_factory=dict)
    image: str = ""
    extra: dict = field(default_factory=dict, repr=False)
    content: str = ""
    numbers: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "numbers", self.numbers or tuple(range(len(self.labels))))

    def photo(self) -> Image.Image:
        """The upright photo, RGB, in the file's own size; where there is none, a grey canvas."""
        return images.load(self.path) if self.path else Image.new("RGB", (self.width, self.height), CANVAS)


class Scenes(list[Scene]):
    """The scenes of a data set, in the order of its annotations.

    format: one line that says what was recognised. notes: what was put in order, left out or should be looked
    at, a line for each cause. left_out: scene -> why, where scenes with problems are left out.
    """

    def __init__(
        self,
        scenes: Iterable[Scene],
        format: str = "",
        notes: Iterable[str] = (),
        left_out: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(scenes)
        self.format, self.notes, self.left_out = format, list(notes), dict(left_out or {})

    @property
    def photos(self) -> bool:
        """Whether they have photos, or are layouts without any."""
        return any(scene.path for scene in self)

    @property
    def unchecked(self) -> int:
        """Photos that nothing is known of yet: see `read_scenes`, wait."""
        return sum(not scene.content for scene in self if scene.path)


@rare_collection()
def read_scenes(
    folder: str | Path,
    split: str | None = None,
    limit: int | None = None,
    seed: int = 0,
    labels: Mapping[str, str | None] | None = None,
    skip_bad: bool = False,
    wait: bool = True,
) -> Scenes:
    """The scenes of a folder with photos and annotations.json, or with annotations of another tool.

    annotations.json is a list of {image, width, height, labels, bboxes}; bboxes are pixels of the upright
    photo, [x_min, y_min, x_max, y_max]; optional are generated_text, prompt_w_label, prompt_w_suffix, phrases
    (else the labels serve) and caption. Other tools' formats: `readers.KNOWN`. Every photo is decoded once,
    and again when it changes, so that nothing breaks hours later.
    split: the part of a data set that has parts. limit, seed: so many scenes at most, drawn at random.
    labels: label -> another name for it, or None to leave its boxes out. skip_bad: leave scenes with problems
    out, and say so in the notes. wait: False does not wait for photos that were never decoded: they are
    checked in the background, their scenes have no `content` until then, and a later call tells of them.
    Raises DatasetError (a ValueError) that tells every problem of the data set.
    """
    folder = Path(folder)
    source = readers.read(folder, split)
    found, joined = entries.join(source.entries)
    found = entries.sample(found, limit, seed)
    paths, problems = entries.locate(folder, found, source.photos)
    stated = [isinstance(entry, dict) and {"width", "height"} <= entry.keys() for entry in found]
    known, broken = dict.fromkeys(paths, Photo(SIDE, SIDE, 1, "")), []
    if source.photos:
        known, broken = _look(folder, paths, wait or skip_bad, source.fractions or not all(stated))
    if not source.own:
        found = [entries.complete(entry, known.get(i), source.fractions) for i, entry in enumerate(found)]
    decoded = {index: photo for index, photo in known.items() if photo.width} if source.photos else {}
    problems += [*broken, *checks.check(found, decoded), *entries.clashes(found, known)]
    left_out, texts = leave_out(folder, source.file, found, problems, skip_bad)
    good = [index for index in range(len(found)) if index not in left_out]
    kept = [found[index] | {NUMBERS: [*range(len(found[index]["labels"]))]} for index in good]
    kept, spelled = entries.spell(entries.rename(kept, labels or {}))
    kept, copies = entries.once(kept)
    looked = [known[index] for index in good]
    scenes, clipped = _scenes(kept, [paths[index] for index in good], looked)
    sides = f"layouts without width and height, taken for {SIDE} x {SIDE}: {stated.count(False):,}"
    sides = None if source.photos or all(stated) else sides
    notes = [*source.notes, joined, sides, *texts, *spelled, copies]
    named = Counter(chain.from_iterable(entry["labels"] for entry in kept))
    said = f"{source.format}, {len(kept):,} {'photos' if source.photos else 'prompts'}"
    said += f", {named.total():,} boxes, {len(named):,} labels"
    reasons = {scene_of(found, index): text for index, text in left_out.items()}
    read = Scenes(scenes, said, filter(None, notes), reasons)
    read.notes += _remarks(read, looked, clipped)
    return read


def checksums(scenes: Iterable[Scene]) -> dict[str, str]:
    """Scene name -> 16 hexadecimal digits that change when its photo or what is said of it changes."""
    sums = {}
    for scene in scenes:
        said = (scene.width, scene.height, scene.labels, scene.phrases, scene.boxes.tobytes(), scene.caption)
        said += (scene.generated_text, sorted(scene.prompts.items()), scene.content)
        sums[scene.name] = hashlib.sha256(repr(said).encode(errors="backslashreplace")).hexdigest()[:16]
    return sums


def checksum(scenes: Iterable[Scene]) -> str:
    """16 hexadecimal digits that change when a scene comes, goes or changes; other files do not matter."""
    return hashlib.sha256(json.dumps(checksums(scenes)).encode()).hexdigest()[:16]


def fitted(scene: Scene, protocol: Mapping) -> Scene:
    """A scene with boxes, labels and phrases as its pictures are asked for: those of the photo after it was
    fitted to the model's square by `images.fit`.

    protocol: `size`, the side of the square in pixels, and `fit`, "squash" or "crop".
    """
    side, how = protocol["size"], protocol["fit"]
    low, high = images.window((scene.width, scene.height), (side, side), how)
    boxes = rectangles.clip((scene.boxes - np.tile(low, 2)) / np.tile(high - low, 2))
    kept = np.flatnonzero((how == "squash") | (rectangles.area(boxes) >= SMALLEST_SHARE))
    names = "phrases", "labels", "numbers"
    of_kept = {key: tuple(getattr(scene, key)[i] for i in kept) for key in names}
    return replace(scene, boxes=boxes[kept], **of_kept)


def _look(
    folder: Path, paths: Mapping[int, Path], wait: bool, sizes: bool
) -> tuple[dict[int, Photo], list[Problem]]:
    """The photos of entries by index, and what is wrong with those that cannot be read; see `photos.look`."""
    facts = photos.look(folder, paths.values(), wait, sizes)
    known = {i: facts[path] for i, path in paths.items() if isinstance(facts[path], Photo)}
    return known, [Problem(i, facts[path]) for i, path in paths.items() if i not in known]


def _remarks(scenes: Scenes, photos: Sequence[Photo], clipped: Sequence[str]) -> Iterator[str]:
    """What a program cannot decide, what was cut, and what is not known yet."""
    if scenes.unchecked:
        later = "later steps wait for them and say what is wrong"
        yield f"photos that are being checked in the background: {scenes.unchecked:,}; {later}"
    if clipped:
        yield f"photos whose boxes leave them and are clipped: {len(clipped):,}, {examples(clipped)}"
    turns = zip(scenes, (photo.orientation for photo in photos), strict=True)
    square = [(scene, turn) for scene, turn in turns if turn < 5 or abs(scene.width - scene.height) <= 1]
    if turned := [scene.image for scene, turn in square if turn > 1]:
        said = "photos turned or mirrored by their EXIF orientation without a change of shape"
        look = "look at their boxes, which may have been drawn on unturned pixels"
        yield f"{said}: {len(turned):,}, {examples(turned)}; {look}"


def _scenes(
    entries: Sequence[dict], paths: Sequence[Path | None], photos: Sequence[Photo]
) -> tuple[list[Scene], list[str]]:
    """The scenes of entries, and the pictures that a box of theirs leaves by a pixel or more."""
    scenes, clipped = [], []
    counts = [len(entry["bboxes"]) for entry in entries]
    pixels = np.array(list(chain.from_iterable(entry["bboxes"] for entry in entries)), dtype=float)
    sides = np.repeat([(entry["width"], entry["height"]) * 2 for entry in entries], counts, axis=0)
    pixels, sides, ends = pixels.reshape(-1, 4), sides.reshape(-1, 4), np.cumsum(counts).tolist()
    outside = (np.maximum(-pixels, pixels - sides).max(axis=1, initial=-np.inf) >= 1).tolist()
    boxes = rectangles.clip(pixels / sides)  # of all scenes at once: 100,000 calls take seconds
    for entry, path, photo, count, end in zip(entries, paths, photos, counts, ends, strict=True):
        own, labels = slice(end - count, end), tuple(entry["labels"])
        prompts = {key: text for key, text in entry.items() if key.startswith(PROMPT) and text is not None}
        clipped += [entry["image"]] if any(outside[own]) else []
        scene = Scene(
            name=name_of(entry["image"]),
            path=path,
            width=int(entry["width"]),
            height=int(entry["height"]),
            labels=labels,
            phrases=tuple(entry.get("phrases") or map(words, labels)),
            boxes=boxes[own],
            caption=entry.get("caption"),
            generated_text=entry.get("generated_text"),
            prompts={key.removeprefix(PROMPT): text for key, text in prompts.items()},
            image=entry["image"],
            extra={key: value for key, value in entry.items() if key not in KNOWN and key not in prompts},
            content=photo.content,
            numbers=tuple(entry[NUMBERS]),
        )
        scenes.append(scene)
    return scenes, clipped
