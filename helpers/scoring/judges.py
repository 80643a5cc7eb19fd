"""The models that look at pictures, and what they said of each, kept in the run folder."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from helpers.models.sets import ModelSet
from helpers.runs.run import Run
from helpers.scenes import images
from helpers.scenes.scenes import Scene
from helpers.scoring import alignment, caching
from helpers.scoring.adherence import Detections

if TYPE_CHECKING:  # whoever only reads what judges said waits for no model
    from helpers.models.loading import Clip, Detector, Inception

PHOTOS = "photos"  # the arm that is the photos themselves
CHUNK = 64  # pictures in memory at a time
FACTS = ("spread", "flagged", "dropped", "damaged")
NO_BOXES = np.empty((0, 4), np.float32)
Extract = Callable[[list[int], list[Image.Image]], Sequence[np.ndarray]]


@dataclass(frozen=True)
class Judges:
    """The models that look at pictures: CLIP, an object detector, and Inception if there is one."""

    clip: "Clip"
    detector: "Detector"
    inception: "Inception | None" = None

    def look(self, extractor: str, pictures: Sequence[Image.Image]) -> np.ndarray:
        """Features (n, d) by "clip" or "inception"."""
        from helpers.scoring import features

        if extractor == "clip":
            return features.image_features(self.clip, pictures)
        return features.inception_features(self.inception, pictures)

    def find(self, pictures: Sequence[Image.Image], labels: Sequence[str]) -> list[Detections]:
        """What the detector finds of all labels in each picture."""
        from helpers.scoring import features

        return features.detect(self.detector, pictures, [labels] * len(pictures))

    def read(self, texts: Sequence[str]) -> np.ndarray:
        """CLIP features (n, d) of texts."""
        from helpers.scoring import features

        return features.text_features(self.clip, texts)


def load_judges(models: ModelSet, device: str | None = None) -> Judges:
    """The judges of a model set. Raises CheckpointMissing."""
    from helpers.models.loading import load_clip, load_detector, load_inception

    inception = load_inception(device=device) if models.inception else None
    return Judges(load_clip(models.clip, device), load_detector(models.detector, device), inception)


@dataclass(frozen=True, eq=False)
class Asked:
    """The boxes (k, 4) of a scene as asked for, fitted to the picture, with k labels and phrases."""

    boxes: np.ndarray
    labels: tuple[str, ...]
    phrases: tuple[str, ...]


def layout(scene: Scene, protocol: dict) -> Asked:
    """What a picture of the scene was asked to show, after the photo was fitted as the protocol says."""
    if protocol["fit"] == "squash":
        return Asked(scene.boxes, scene.labels, scene.phrases)
    canvas = Image.new("L", (scene.width, scene.height))
    _, boxes, kept = images.fit(canvas, scene.boxes, protocol["size"], protocol["fit"])
    return Asked(boxes, tuple(scene.labels[i] for i in kept), tuple(scene.phrases[i] for i in kept))


class Look:
    """The pictures of one arm, or the photos, in the order of `scenes`; each is read when a judge wants it.

    judges: None reads only what the run folder holds, and raises LookupError for anything else.
    """

    def __init__(self, run: Run, scenes: Sequence[Scene], arm: str, judges: Judges | None) -> None:
        self.run, self.scenes, self.arm, self.judges = run, scenes, arm, judges
        self.paths = [scene.path if arm == PHOTOS else run.picture(arm, scene) for scene in scenes]
        self.digests = [caching.content(path) for path in self.paths]

    def load(self, i: int) -> Image.Image:
        """Picture i at the size of the run; a photo as it was fitted for the model."""
        protocol = self.run.card["protocol"]
        how = protocol["fit"] if self.arm == PHOTOS else "squash"
        return images.fit(images.load(self.paths[i]), NO_BOXES, protocol["size"], how)[0]

    def whole(self, extractor: str) -> np.ndarray:
        """(n, d) features of the pictures by "clip" or "inception"."""

        def extract(_: list[int], pictures: list[Image.Image]) -> np.ndarray:
            return self.judges.look(extractor, pictures)[:, None]

        return np.concatenate(self._cached(extractor, extract))

    def detections(self, labels: tuple[str, ...]) -> tuple[Detections, ...]:
        """What the detector finds of all `labels` in each picture."""

        def extract(_: list[int], pictures: list[Image.Image]) -> list[np.ndarray]:
            found = self.judges.find(pictures, labels)
            return [
                np.column_stack([one.boxes, one.scores, [labels.index(label) for label in one.labels]])
                for one in found
            ]

        return tuple(
            Detections(rows[:, :4].astype(np.float32), tuple(labels[int(k)] for k in rows[:, 5]), rows[:, 4])
            for rows in self._cached("detector", extract, [labels] * len(self.scenes))
        )

    def crops(self, layouts: Sequence[Asked]) -> tuple[np.ndarray, ...]:
        """CLIP features (k, d) of what each picture shows in its asked boxes."""

        def extract(wanted: list[int], pictures: list[Image.Image]) -> list[np.ndarray]:
            asked = [layouts[i].boxes for i in wanted]
            cut = [
                images.crop(picture, box)
                for picture, boxes in zip(pictures, asked, strict=True)
                for box in boxes
            ]
            rows = self.judges.look("clip", cut)
            return np.split(rows, np.cumsum([len(boxes) for boxes in asked])[:-1])

        return tuple(self._cached("clip-crops", extract, [one.boxes.tobytes() for one in layouts]))

    def colours(self, layouts: Sequence[Asked]) -> tuple[np.ndarray, ...]:
        """(k,) distance of each asked box to the colour that its phrase names; NaN where it names none."""

        def extract(wanted: list[int], pictures: list[Image.Image]) -> list[np.ndarray]:
            return [_colours(picture, layouts[i]) for i, picture in zip(wanted, pictures, strict=True)]

        also = [(one.boxes.tobytes(), one.phrases) for one in layouts]
        return tuple(rows[:, 0] for rows in self._cached("colours", extract, also))

    def texts(self, texts: Sequence[str], kind: str) -> np.ndarray:
        """(n, d) CLIP features of texts. kind: names the file, "captions" or "phrases"."""

        def compute(wanted: list[int]) -> np.ndarray:
            return self._judges(kind).read([texts[i] for i in wanted])[:, None]

        path = self.run.folder / "features" / f"clip-{kind}" / f"{self.arm}.npz"
        return np.concatenate(caching.cached(path, texts, [""] * len(texts), compute))

    def facts(self) -> dict[str, np.ndarray]:
        """What no model is needed for, each (n,): FACTS. spread: standard deviation of the pixels, of 255."""

        def compute(wanted: list[int]) -> list[np.ndarray]:
            return [np.array([self._facts(i)]) for i in wanted]

        path = self.run.folder / "features" / "facts" / f"{self.arm}.npz"
        rows = caching.cached(path, [scene.name for scene in self.scenes], self.digests, compute)
        return dict(zip(FACTS, np.concatenate([np.empty((0, len(FACTS))), *rows]).T, strict=True))

    def _facts(self, i: int) -> tuple[float, ...]:
        try:
            spread = float(np.asarray(images.load(self.paths[i])).std())
        except ValueError:  # cannot be decoded: counted, and left out by whoever asks
            return 0, 0, 0, 1
        text = images.read_text(self.paths[i])
        return spread, text.get("flagged") == "true", len(json.loads(text.get("dropped_boxes", "[]"))), 0

    def _judges(self, what: str) -> Judges:
        if self.judges is None:
            raise LookupError(
                f"arm {self.arm!r}: {what} of its present pictures are not in the run folder; score it first"
            )
        return self.judges

    def _cached(
        self, extractor: str, extract: Extract, also: Sequence[object] | None = None
    ) -> list[np.ndarray]:
        def compute(wanted: list[int]) -> list[np.ndarray]:
            self._judges(f"features by {extractor}")
            parts = [wanted[start : start + CHUNK] for start in range(0, len(wanted), CHUNK)]
            return [rows for part in parts for rows in extract(part, [self.load(i) for i in part])]

        contents = self.digests
        if also is not None:
            contents = [caching.digest(one, more) for one, more in zip(contents, also, strict=True)]
        path = self.run.folder / "features" / extractor / f"{self.arm}.npz"
        return caching.cached(path, [scene.name for scene in self.scenes], contents, compute)


def _colours(picture: Image.Image, asked: Asked) -> np.ndarray:
    distances = np.full((len(asked.boxes), 1), np.nan)
    for k, phrase in enumerate(asked.phrases):
        if (colour := alignment.named_colour(phrase)) is not None:
            crop = np.asarray(images.crop(picture, asked.boxes[k]))
            distances[k] = alignment.colour_distance(crop, colour)
    return distances
