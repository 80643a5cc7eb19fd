"""Everything that is measured of an arm, scene by scene, as arrays: no model is needed from here on."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np

from helpers.models.sets import model_set
from helpers.parameters import ParameterError
from helpers.runs.arms import Arm
from helpers.runs.run import Run
from helpers.scenes.scenes import Scene
from helpers.scoring import alignment
from helpers.scoring.adherence import Detections, Precision, average_precision
from helpers.scoring.judges import PHOTOS, Asked, Judges, Look, layout
from helpers.scoring.resampling import derangement

CAPTIONER = "captioner-"  # + a captioner's name: the arm that is its captions of the photos
CONSTANT = 1.0  # standard deviation of pixels, of 255, under which a picture shows nothing


@dataclass(frozen=True, eq=False)
class Evidence:
    """One entry a scene, n scenes in the same order everywhere; None for what an arm does not have.

    counts: what was left out or cut, by name. looks: (n, d) CLIP features of the pictures; photo_looks: of
    the photos; captions: of the captions. pictures, photos: (n, d') features for realism, by Inception or
    else CLIP. layouts, detections: n each. crops, colours: n arrays (k, d) and (k,): CLIP features of the
    picture inside each asked box, and the distance to the colour that its phrase names (NaN where it names
    none). phrases: phrase -> (d,). sibling: (n, d) CLIP features of the same arm's pictures with a
    smaller seed, NaN where there is none. named: (n,) share of the labels that the caption names.
    """

    scenes: tuple[str, ...]
    counts: dict[str, int]
    looks: np.ndarray
    captions: np.ndarray
    pictures: np.ndarray | None = None
    photos: np.ndarray | None = None
    photo_looks: np.ndarray | None = None
    layouts: tuple[Asked, ...] | None = None
    detections: tuple[Detections, ...] | None = None
    crops: tuple[np.ndarray, ...] | None = None
    colours: tuple[np.ndarray, ...] | None = None
    phrases: dict[str, np.ndarray] | None = None
    sibling: np.ndarray | None = None
    named: np.ndarray | None = None

    @cached_property
    def precision(self) -> Precision:
        """Average precision of the detections against the layouts."""
        return average_precision(self.layouts, self.detections)

    def shuffled(self) -> Self:
        """The same pictures held against the boxes of other scenes, and nothing else."""
        others = tuple(self.layouts[i] for i in derangement(len(self.scenes)))
        kept = {"scenes": self.scenes, "counts": {}, "looks": None, "captions": None}
        return replace(Evidence(**kept), layouts=others, detections=self.detections)


def collect(run: Run, scenes: Sequence[Scene], arm: str, judges: Judges | None = None) -> Evidence:
    """The evidence on an arm, on PHOTOS or on CAPTIONER + name; judged where it is not yet known.

    Scenes without a usable picture are left out and counted. judges: None only reads.
    Raises ValueError where no scene has a usable picture, and LookupError where a judgement is missing and
    there is no judge.
    """
    if arm.startswith(CAPTIONER):
        return _of_captions(run, scenes, arm, judges)
    scenes, counts = _usable(run, scenes, arm)
    captions = run.prompts("caption").set_index("scene")["prompt"]
    layouts = [layout(scene, run.card["protocol"]) for scene in scenes]
    labels = tuple(sorted({label for scene in run.scenes for label in scene.labels}))
    phrases = sorted({phrase for one in layouts for phrase in one.phrases})
    extractor = "inception" if model_set(run.card["protocol"]["models"]).inception else "clip"
    look, photos = (Look(run, scenes, name, judges) for name in (arm, PHOTOS))
    return Evidence(
        scenes=tuple(scene.name for scene in scenes),
        counts=counts,
        looks=look.whole("clip"),
        captions=look.texts([captions[scene.name] for scene in scenes], "captions"),
        pictures=look.whole(extractor),
        photos=photos.whole(extractor),
        photo_looks=photos.whole("clip"),
        layouts=tuple(layouts),
        detections=look.detections(labels),
        crops=look.crops(layouts),
        colours=look.colours(layouts),
        phrases=dict(zip(phrases, look.texts(phrases, "phrases"), strict=True)) if phrases else {},
        sibling=_sibling(run, scenes, arm, judges),
    )


def _of_captions(run: Run, scenes: Sequence[Scene], arm: str, judges: Judges | None) -> Evidence:
    table = run.captions(arm.removeprefix(CAPTIONER)).set_index("scene")
    scenes = [scene for scene in scenes if scene.name in table.index]
    texts = [table.generated_text[scene.name] for scene in scenes]
    flags = [flag for scene in scenes for flag in table["flags"][scene.name]]
    wrong = {"empty": "empty captions", "repeats": "repeating captions", "echo": "echoing captions"}
    return Evidence(
        scenes=tuple(scene.name for scene in scenes),
        counts={name: flags.count(flag) for flag, name in wrong.items()},
        looks=Look(run, scenes, PHOTOS, judges).whole("clip"),
        captions=Look(run, scenes, PHOTOS, judges).texts(texts, arm),
        named=np.array([_named(text, scene) for text, scene in zip(texts, scenes, strict=True)]),
    )


def _named(text: str, scene: Scene) -> float:
    return alignment.labels_named(text, scene.labels) if scene.labels else np.nan


def _usable(run: Run, scenes: Sequence[Scene], arm: str) -> tuple[list[Scene], dict[str, int]]:
    """The scenes whose picture may enter a score, and how many pictures were left out or cut, and why."""
    if arm == PHOTOS:
        return list(scenes), {}
    there = [scene for scene in scenes if run.picture(arm, scene).is_file()]
    facts = Look(run, there, arm, None).facts()
    flagged, damaged = facts["flagged"] > 0, facts["damaged"] > 0
    constant = (facts["spread"] < CONSTANT) & ~flagged & ~damaged
    usable = [scene for scene, bad in zip(there, flagged | damaged | constant, strict=True) if not bad]
    counts = {
        "missing pictures": len(scenes) - len(there) + int(damaged.sum()),
        "flagged pictures": int(flagged.sum()),
        "constant pictures": int(constant.sum()),
        "dropped boxes": int(facts["dropped"].sum()),
    }
    if not usable:
        raise ValueError(f"arm {arm!r}: none of {len(scenes)} scenes has a usable picture ({counts})")
    return usable, counts | _truncated(run, usable, arm)


def _truncated(run: Run, scenes: Sequence[Scene], arm: str) -> dict[str, int]:
    """How many prompts were cut; nothing for pictures that did not come from a prompt of this run."""
    parsed = _parsed(arm)
    if parsed is None or not run.has(f"prompts/{parsed.template}.jsonl"):
        return {}
    prompts = run.prompts(parsed.template).set_index("scene")
    return {"truncated prompts": int(prompts.truncated[[scene.name for scene in scenes]].sum())}


def _sibling(run: Run, scenes: Sequence[Scene], arm: str, judges: Judges | None) -> np.ndarray | None:
    """CLIP features of the pictures of an arm that differs in its seed only, a smaller one, if there is one:
    so an arm that is drawn later changes no score that is there."""
    own, names = _parsed(arm), sorted(folder.name for folder in run.folder.glob("pictures/*/"))
    known = [other for other in map(_parsed, names) if own and other and other.seed < own.seed]
    others = [other.name for other in known if replace(other, seed=own.seed) == own]
    if not others:
        return None
    there, _ = _usable(run, scenes, others[0])
    looks = Look(run, there, others[0], judges).whole("clip")
    rows = dict(zip((scene.name for scene in there), looks, strict=True))
    return np.stack([rows.get(scene.name, np.full(looks.shape[1], np.nan)) for scene in scenes])


def _parsed(arm: str) -> Arm | None:
    try:
        return Arm.parse(arm)
    except ParameterError:  # an arm from elsewhere
        return None
