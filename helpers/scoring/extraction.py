"""Arrays measured of an arm's pictures, photos and texts, kept in the run folder; an array is computed again
only where the hash of its input changed."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from helpers.files import beside
from helpers.runs.layouts import arm_layouts
from helpers.runs.run import Run
from helpers.scenes import images
from helpers.scenes.scenes import Scene
from helpers.scoring import alignment
from helpers.scoring.adherence import Detections
from helpers.scoring.colours import object_colour, rgb_distance
from helpers.scoring.judges import Judges

PHOTOS = "photos"  # the arm that is the photos themselves
CHUNK = 64  # pictures in memory at a time
FACTS = ("spread", "flagged", "dropped", "damaged")
PATCH = 32, 32  # pixels of what is inside a box, as LayoutDiffusion's classifier sees it


class Pictures:
    """The pictures of one arm, or the photos, in the order of `scenes`; each is read when it is measured.

    layouts: the scenes as the pictures were asked for. labels: all labels of the run.
    judges: None reads only what the run folder holds, and raises LookupError for anything else.
    """

    def __init__(self, run: Run, scenes: Sequence[Scene], arm: str, judges: Judges | None) -> None:
        self.run, self.arm, self.judges = run, arm, judges
        self.names = [scene.name for scene in scenes]
        self.paths = [scene.path if arm == PHOTOS else run.picture(arm, scene) for scene in scenes]
        self.layouts = arm_layouts(run, arm, scenes)
        self.labels = tuple(sorted({label for scene in run.scenes for label in scene.labels}))
        self.digests = _digests(run.folder / "features" / "digests" / f"{arm}.npz", self.names, self.paths)

    def load(self, i: int) -> Image.Image:
        """Picture i at the size of the run; a photo as it was fitted for the model."""
        protocol = self.run.card["protocol"]
        how = protocol["fit"] if self.arm == PHOTOS else "squash"
        return images.fit(images.load(self.paths[i]), protocol["size"], how)

    def arrays(self, *extractors: str) -> dict[str, list[np.ndarray]]:
        """Extractor -> one array (k, d) per picture; each picture is read once for all extractors."""
        caches = {name: Cache(self._file(name), self.names, self._contents(name)) for name in extractors}
        missing = {name: set(cache.missing) for name, cache in caches.items()}
        wanted, new = sorted(set().union(*missing.values())), {name: [] for name in caches}
        if wanted and self.judges is None:
            lacking = next(name for name in caches if missing[name])
            raise LookupError(_unknown(self.arm, f"features by {lacking} of its present pictures"))
        for start in range(0, len(wanted), CHUNK):
            pictures = {i: self.load(i) for i in wanted[start : start + CHUNK]}
            for name, rows in new.items():
                if mine := [i for i in pictures if i in missing[name]]:
                    shown, asked = ([some[i] for i in mine] for some in (pictures, self.layouts))
                    rows.extend(self._extract(name, shown, asked))
        for name, cache in caches.items():
            cache.fill(new[name])
        return {name: cache.arrays() for name, cache in caches.items()}

    def facts(self) -> dict[str, np.ndarray]:
        """What no model is needed for, each (n,): FACTS. spread: standard deviation of the pixels, of 255."""

        def compute(missing: list[int]) -> list[np.ndarray]:
            return [np.array([_facts(self.paths[i])]) for i in missing]

        rows = cached(self._file("facts"), self.names, self.digests, compute)
        return dict(zip(FACTS, np.concatenate([np.empty((0, len(FACTS))), *rows]).T, strict=True))

    def detections(self) -> tuple[Detections, ...]:
        """What the detector found of all labels in each picture."""
        return tuple(
            Detections(
                rows[:, :4].astype(np.float32), tuple(self.labels[int(k)] for k in rows[:, 5]), rows[:, 4]
            )
            for rows in self.arrays("detector")["detector"]
        )

    def _file(self, extractor: str) -> Path:
        return self.run.folder / "features" / extractor / f"{self.arm}.npz"

    def _contents(self, extractor: str) -> list[str]:
        """What the arrays of each picture depend on: its bytes, and what is asked of it."""
        asked = {
            "detector": lambda layout: self.labels,
            **dict.fromkeys(("clip-crops", "patches"), lambda layout: layout.boxes.tobytes()),
            "colours": lambda layout: (layout.boxes.tobytes(), layout.phrases),
            "rgb": lambda layout: (layout.boxes.tobytes(), layout.content),
        }
        if extractor not in asked:
            return self.digests
        pairs = zip(self.digests, map(asked[extractor], self.layouts), strict=True)
        return [hashlib.sha256(repr(pair).encode()).hexdigest()[:32] for pair in pairs]

    def _extract(self, name: str, pictures: list[Image.Image], layouts: list[Scene]) -> Sequence[np.ndarray]:
        from helpers.scoring import features

        match name:
            case "clip":
                return features.image_features(self.judges.clip, pictures)[:, None]
            case "inception":
                return features.inception_features(self.judges.inception, pictures)[:, None]
            case "efficientnet":
                return features.efficientnet_features(self.judges.efficientnet, pictures)[:, None]
            case "detector":
                found = features.detect(self.judges.detector, pictures, self.labels)
                return [_as_rows(one, self.labels) for one in found]
            case "clip-crops" | "patches":
                cut = [
                    images.crop(p, box) for p, one in zip(pictures, layouts, strict=True) for box in one.boxes
                ]
                rows = _pixels(cut) if name == "patches" else features.image_features(self.judges.clip, cut)
                return np.split(rows, np.cumsum([len(one.boxes) for one in layouts])[:-1])
            case "colours":
                return [_colours(*pair) for pair in zip(pictures, layouts, strict=True)]
            case "rgb":
                protocol = self.run.card["protocol"]
                return [_rgb(*pair, protocol) for pair in zip(pictures, layouts, strict=True)]


class Cache:
    """Arrays (k, d) by key in one file, each valid as long as the content that it was computed from.

    missing: indices of the keys whose array is absent or was computed from another content; d is the same
    for all keys. The file keeps keys that are not asked for, and is written whole or not at all.
    """

    def __init__(self, path: Path, keys: Sequence[str], contents: Sequence[str]) -> None:
        self.path, self.keys, self.contents, self._known = path, keys, contents, {}
        if path.is_file():
            with np.load(path) as file:
                rows = np.split(file["rows"], np.cumsum(file["counts"])[:-1])
                entries = zip(file["keys"].tolist(), file["contents"].tolist(), rows, strict=True)
                self._known = {key: (content, array) for key, content, array in entries}
        pairs = enumerate(zip(keys, contents, strict=True))
        self.missing = [i for i, (key, content) in pairs if self._known.get(key, (None,))[0] != content]

    def fill(self, arrays: Sequence[np.ndarray]) -> None:
        """Write the arrays of the missing keys, in that order."""
        if not self.missing:
            return
        new = zip(self.missing, arrays, strict=True)
        self._known |= {self.keys[i]: (self.contents[i], rows) for i, rows in new}
        contents, rows = zip(*self._known.values(), strict=True)
        columns = {"keys": np.array([*self._known]), "contents": np.array(contents)}
        columns |= {"counts": np.array([len(one) for one in rows]), "rows": np.concatenate(rows)}
        with beside(self.path) as partial, partial.open("wb") as file:
            np.savez(file, **columns)

    def arrays(self) -> list[np.ndarray]:
        """The array of every key."""
        return [self._known[key][1] for key in self.keys]


def cached(
    path: Path,
    keys: Sequence[str],
    contents: Sequence[str],
    compute: Callable[[list[int]], Sequence[np.ndarray]],
) -> list[np.ndarray]:
    """One array (k, d) per key from a Cache. compute: the arrays of the missing indices, in their order."""
    cache = Cache(path, keys, contents)
    if cache.missing:
        cache.fill(compute(cache.missing))
    return cache.arrays()


def _digests(file: Path, names: Sequence[str], paths: Sequence[Path]) -> list[str]:
    """32 hexadecimal digits per file that change with its bytes, read only where its size or time changed."""

    def compute(missing: list[int]) -> list[np.ndarray]:
        digests = [hashlib.sha256(paths[i].read_bytes()).digest()[:16] for i in missing]
        return [np.frombuffer(digest, np.uint8)[None] for digest in digests]

    stats = [path.stat() for path in paths]
    stamps = [f"{one.st_size} {one.st_mtime_ns}" for one in stats]
    return [rows.tobytes().hex() for rows in cached(file, names, stamps, compute)]


def text_embeds(run: Run, texts: Sequence[str], kind: str, arm: str, judges: Judges | None) -> np.ndarray:
    """(n, d) CLIP features of texts. kind: names the file that keeps them, for all arms."""

    def compute(missing: list[int]) -> np.ndarray:
        from helpers.scoring import features

        if judges is None:
            raise LookupError(_unknown(arm, f"features of its {kind}"))
        return features.text_features(judges.clip, [texts[i] for i in missing])[:, None]

    rows = cached(run.folder / "features" / "clip-texts" / f"{kind}.npz", texts, [""] * len(texts), compute)
    return np.concatenate(rows) if rows else np.empty((0, 0))


def _unknown(arm: str, what: str) -> str:
    return f"arm {arm!r}: {what} are not in the run folder; score it first"


def _facts(path: Path) -> tuple[float, ...]:
    if not images.is_whole(path):  # counted, and left out by whoever asks
        return 0, 0, 0, 1
    spread, text = float(np.asarray(images.load(path)).std()), images.read_text(path)
    return spread, text.get("flagged") == "true", len(json.loads(text.get("dropped_phrases", "[]"))), 0


def _as_rows(found: Detections, labels: Sequence[str]) -> np.ndarray:
    return np.column_stack([found.boxes, found.scores, [labels.index(label) for label in found.labels]])


def _colours(picture: Image.Image, layout: Scene) -> np.ndarray:
    distances = np.full((len(layout.boxes), 1), np.nan)
    for k, phrase in enumerate(layout.phrases):
        if (colour := alignment.named_colour(phrase)) is not None:
            crop = np.asarray(images.crop(picture, layout.boxes[k]))
            distances[k] = alignment.colour_distance(crop, colour)
    return distances


def _pixels(crops: Sequence[Image.Image]) -> np.ndarray:
    """Crops at PATCH, (n, d) uint8."""
    small = [np.asarray(one.resize(PATCH, Image.Resampling.BILINEAR)).ravel() for one in crops]
    return np.array(small, np.uint8).reshape(len(small), PATCH[0] * PATCH[1] * 3)


def _rgb(picture: Image.Image, layout: Scene, protocol: Mapping) -> np.ndarray:
    """Distances (k, 1) of the objects' colours to those in the photo; NaN where that has none."""
    photo = images.fit(layout.photo(), protocol["size"], protocol["fit"])
    photo, picture = np.asarray(photo), np.asarray(picture)
    pairs = [(box, object_colour(photo, box)) for box in layout.boxes]
    return np.array([[rgb_distance(picture, *pair)] for pair in pairs]).reshape(-1, 1)
