"""What is measured of an arm, scene by scene, as arrays: no model is needed from here on."""

import hashlib
import io
import pickle
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Self

import numpy as np

from helpers.models.sets import model_set
from helpers.runs.arms import own_arm
from helpers.runs.methods import METHODS
from helpers.runs.run import Run
from helpers.scenes.scenes import Scene
from helpers.scoring import alignment
from helpers.scoring.adherence import Detections, Precision, average_precision, match
from helpers.scoring.attributes import Categories, collect_categories
from helpers.scoring.edits import Edited, collect_edited
from helpers.scoring.exclusions import usable
from helpers.scoring.extraction import PHOTOS, Pictures, text_embeds
from helpers.scoring.judges import Judges, reasons_to_withhold

CAPTIONER = "captioner-"  # + a captioner's name: the arm that is its captions of the photos
EDITED = "edits the photo: a picture that changes nothing would have the smallest distance"
FIELDS = {  # judge -> what is not measured without it
    "clip": ("image_embeds", "text_embeds", "photo_embeds", "crops", "phrases", "sibling_embeds", "edited"),
    "detector": ("detections",),
}
PHOTOLESS = dict.fromkeys(("photos", "efficientnet_photos", "photo_embeds", "rgb"), "not judged: no photos")


@dataclass(frozen=True, eq=False)
class Measurements:
    """One entry per scene, n scenes in the same order everywhere; None for what an arm does not have.

    counts: pictures, boxes and texts that were left out or cut, by name. image_embeds, text_embeds: (n, d)
    CLIP features of the pictures and of the captions; photo_embeds: of the photos; sibling_embeds: of the
    same arm's pictures with a smaller seed, NaN where there is none. pictures, photos: (n, d') features for
    realism, by Inception where the model set has it, else by EfficientNet-Lite0; efficientnet_pictures,
    efficientnet_photos: (n, 1280) by the latter beside the former. layouts: the scenes as the pictures were
    asked for. crops: n arrays (k, d), CLIP features of the picture inside each asked box. patches: pixels
    inside the boxes and their labels, what `classification.named` takes; None where there is one label only.
    colours, rgb: n arrays (k,), distances to the colour that the phrase names, and of the object to that in
    the photo; NaN where there is none. phrases: phrase -> CLIP features (d,). named: (n,) share of the
    labels that the caption names. edited: of an edit set. categories: of an attribute, that the pictures
    show; hits: (n,) whether it is the one that was asked for, as 0 and 1. withheld: field -> why its judge
    was not asked; unknown: labels that the detector does not know.
    """

    scenes: tuple[str, ...]
    counts: dict[str, int]
    image_embeds: np.ndarray | None = None
    text_embeds: np.ndarray | None = None
    pictures: np.ndarray | None = None
    photos: np.ndarray | None = None
    efficientnet_pictures: np.ndarray | None = None
    efficientnet_photos: np.ndarray | None = None
    photo_embeds: np.ndarray | None = None
    layouts: tuple[Scene, ...] | None = None
    detections: tuple[Detections, ...] | None = None
    crops: tuple[np.ndarray, ...] | None = None
    colours: tuple[np.ndarray, ...] | None = None
    patches: tuple[Sequence, Sequence, Sequence, Sequence] | None = None
    rgb: tuple[np.ndarray, ...] | None = None
    phrases: dict[str, np.ndarray] | None = None
    sibling_embeds: np.ndarray | None = None
    named: np.ndarray | None = None
    edited: Edited | None = None
    categories: Categories | None = None
    hits: np.ndarray | None = None
    withheld: dict[str, str] = field(default_factory=dict)
    unknown: frozenset[str] = frozenset()

    @cached_property
    def precision(self) -> Precision:
        """Average precision of the detections against the layouts, over labels that the detector knows."""
        return average_precision(self.layouts, self.detections, self.unknown)

    @cached_property
    def ious(self) -> tuple[np.ndarray, ...]:
        """IoU (k,) of each asked box with the detection that is matched to it, so that most are found; NaN
        where the detector does not know the label."""
        return tuple(
            np.where([label not in self.unknown for label in asked.labels], match(asked, found), np.nan)
            for asked, found in zip(self.layouts, self.detections, strict=True)
        )

    def digest(self) -> str:
        """32 hexadecimal digits that change with what is measured, and with the code that scores it."""
        layouts = [(one.boxes, one.labels, one.phrases) for one in self.layouts or ()]
        found = [(one.boxes, one.labels, one.scores) for one in self.detections or ()]
        own = {one.name: getattr(self, one.name) for one in fields(self)}
        parts = own | {"layouts": layouts, "detections": found, "unknown": sorted(self.unknown)}
        pickler = pickle.Pickler(content := io.BytesIO())
        pickler.fast = True  # the same for equal parts, whether or not they are one object
        pickler.dump([_code(), parts])
        return hashlib.sha256(content.getbuffer()).hexdigest()[:32]

    def shuffled(self) -> Self:
        """The same detections compared with the boxes of other scenes, and nothing else.

        Raises ValueError for a single scene.
        """
        if (n := len(self.scenes)) < 2:
            raise ValueError(f"boxes cannot be shuffled between {n} scenes: at least 2 are needed")
        order = np.random.default_rng(0).permutation(n)
        other = dict(zip(order, np.roll(order, 1), strict=True))  # nothing keeps its place
        options = {"detections": self.detections, "unknown": self.unknown}
        options["layouts"] = tuple(self.layouts[other[i]] for i in range(n))
        options["withheld"] = {name: why for name, why in self.withheld.items() if name == "detections"}
        return type(self)(self.scenes, {}, **options)


def collect(run: Run, scenes: Sequence[Scene], arm: str, judges: Judges | None = None) -> Measurements:
    """The measurements of an arm, of PHOTOS or of CAPTIONER + name; what is not known yet is asked of judges.

    Scenes without a usable picture are left out and counted. judges: None only reads. Raises ValueError where
    no scene has a usable picture, and LookupError where a measurement is missing and there is no judge.
    """
    if arm.startswith(CAPTIONER):
        return _of_captions(run, scenes, arm, judges)
    scenes, counts = usable(run, scenes, arm)
    protocol, edits = run.card["protocol"], run.edits(arm.partition("-")[0])
    reasons = ({"detector": EDITED} if edits else {}) | reasons_to_withhold(run)
    by_clip, by_detector = (judge not in reasons for judge in ("clip", "detector"))
    networks = ["inception"] * bool(model_set(protocol["models"]).inception) + ["efficientnet"]
    by_network = [] if edits or not run.has_photos else networks
    pictures, parsed = Pictures(run, scenes, arm, judges), own_arm(arm)
    both = dict.fromkeys((*["clip"] * by_clip, *by_network, *["patches"] * bool(by_network)))
    simple = ["colours", *["rgb"] * (run.has_photos and not edits and not (parsed and parsed.layout))]
    own = pictures.arrays(*both, *simple, *["clip-crops"] * by_clip, *["detector"] * by_detector)
    sibling = _sibling(run, arm)
    absent = [one for one, there in (("edited", edits), ("sibling_embeds", sibling)) if not there]
    withheld = {one: why for judge, why in reasons.items() for one in FIELDS[judge] if one not in absent}
    withheld |= {} if run.has_photos else PHOTOLESS
    if edits or (parsed and METHODS[parsed.grounding].is_edit):
        withheld |= dict.fromkeys(PHOTOLESS, EDITED)
    found = {"counts": counts, "layouts": pictures.layouts}
    found |= {name: tuple(rows[:, 0] for rows in own[name]) for name in simple}
    if run.has_photos:
        photos = Pictures(run, scenes, PHOTOS, judges)
        reference = photos.arrays(*both)
        for prefix, network in zip(("", "efficientnet_"), by_network, strict=False):
            found[f"{prefix}pictures"] = np.concatenate(own[network])
            found[f"{prefix}photos"] = np.concatenate(reference[network])
        if by_clip:
            found["photo_embeds"] = np.concatenate(reference["clip"])
        labels = [[one.labels for one in some.layouts] for some in (pictures, photos)]
        if by_network and len({label for some in labels[0] for label in some}) > 1:
            found["patches"] = own["patches"], labels[0], reference["patches"], labels[1]
    if by_detector:
        names = protocol.get("detector_labels", {}).items()
        found["unknown"] = frozenset(label for label, name in names if name is None)
        found["detections"] = pictures.detections()
    if by_clip:
        captions = run.prompts("caption").set_index("scene")["prompt"]
        texts = [(edits[one.name]["prompt"] if edits else captions[one.name]) for one in scenes]
        phrases = {phrase for one in pictures.layouts for phrase in one.phrases}
        # with those of undone edits, which else would have nothing nearer than their target
        phrases = sorted(phrases | {row["source"] for row in edits.values() if row["box"] is not None})
        found["phrases"] = dict(zip(phrases, text_embeds(run, phrases, "phrases", arm, judges), strict=True))
        found["text_embeds"] = text_embeds(run, texts, "captions", arm, judges)
        found["image_embeds"] = np.concatenate(own["clip"])
        found["crops"] = tuple(own["clip-crops"])
        found["sibling_embeds"] = _embeds(run, scenes, sibling, judges) if sibling else None
        if edits:
            rows = [edits[one.name] for one in scenes]
            found["edited"] = collect_edited(rows, pictures, photos, found["photo_embeds"])
    names, embeds = tuple(scene.name for scene in scenes), found.get("image_embeds")
    shown, unjudged = collect_categories(run, arm, names, embeds, judges, reasons.get("clip", ""))
    return Measurements(names, **found | shown | {"withheld": withheld | unjudged})


@cache
def _code() -> list[bytes]:
    return [path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py"))]


def _of_captions(run: Run, scenes: Sequence[Scene], arm: str, judges: Judges | None) -> Measurements:
    table = run.captions(arm.removeprefix(CAPTIONER)).set_index("scene")
    scenes = [scene for scene in scenes if scene.name in table.index]
    texts = [table.generated_text[scene.name] for scene in scenes]
    flags = [flag for scene in scenes for flag in table["flags"][scene.name]]
    wrong = {"empty": "empty captions", "repeats": "repeating captions"}
    named = [alignment.labels_named(text, scene.labels) for text, scene in zip(texts, scenes, strict=True)]
    embeds: dict[str, object] = {}
    if why := reasons_to_withhold(run).get("clip") or ("" if run.has_photos else PHOTOLESS["photos"]):
        embeds["withheld"] = dict.fromkeys(("image_embeds", "text_embeds"), why)
    else:
        embeds["image_embeds"] = np.concatenate(Pictures(run, scenes, PHOTOS, judges).arrays("clip")["clip"])
        embeds["text_embeds"] = text_embeds(run, texts, arm, arm, judges)
    names, counts = tuple(scene.name for scene in scenes), {wrong[flag]: flags.count(flag) for flag in wrong}
    return Measurements(names, counts, named=np.array(named), **embeds)


def _sibling(run: Run, arm: str) -> str | None:
    """The same arm with a smaller seed, if there is one. Only smaller seeds count, so that later arms never
    change existing scores."""
    own, names = own_arm(arm), sorted(folder.name for folder in run.folder.glob("pictures/*/"))
    known = [other for other in map(own_arm, names) if own and other and other.seed < own.seed]
    return next((other.name for other in known if replace(other, seed=own.seed) == own), None)


def _embeds(run: Run, scenes: Sequence[Scene], arm: str, judges: Judges | None) -> np.ndarray:
    """CLIP features (n, d) of an arm's pictures, NaN where a scene has none."""
    there, _ = usable(run, scenes, arm)
    embeds = np.concatenate(Pictures(run, there, arm, judges).arrays("clip")["clip"])
    rows = dict(zip((scene.name for scene in there), embeds, strict=True))
    return np.stack([rows.get(scene.name, np.full(embeds.shape[1], np.nan)) for scene in scenes])
