"""What is measured of an arm, scene by scene, as arrays: no model is needed from here on."""

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
from helpers.scoring.adherence import FOUND, Detections, Precision, average_precision, match
from helpers.scoring.extraction import PHOTOS, Pictures, text_embeds
from helpers.scoring.judges import Judges
from helpers.scoring.resampling import derangement

CAPTIONER = "captioner-"  # + a captioner's name: the arm that is its captions of the photos
CONSTANT = 1.0  # standard deviation of pixels, of 255, under which a picture shows nothing


@dataclass(frozen=True, eq=False)
class Measurements:
    """One entry per scene, n scenes in the same order everywhere; None for what an arm does not have.

    counts: pictures, boxes and texts that were left out or cut, by name. image_embeds, text_embeds: (n, d)
    CLIP features of the pictures and of the captions; photo_embeds: of the photos; sibling_embeds: of the
    same arm's pictures with a smaller seed, NaN where there is none. efficientnet_pictures,
    efficientnet_photos: (n, 1280) features by EfficientNet-Lite0. pictures, photos: (n, d') features for
    realism, by Inception where the model set has it, else the same as those. layouts: the scenes as the
    pictures were asked for. crops, colours: n arrays (k, d) and (k,): CLIP features of the picture inside
    each asked box, and the distance to the colour that its phrase names (NaN where it names none). phrases:
    phrase -> CLIP features (d,). named: (n,) share of the labels that the caption names.
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
    phrases: dict[str, np.ndarray] | None = None
    sibling_embeds: np.ndarray | None = None
    named: np.ndarray | None = None

    @cached_property
    def precision(self) -> Precision:
        """Average precision of the detections against the layouts."""
        return average_precision(self.layouts, self.detections)

    @cached_property
    def ious(self) -> tuple[np.ndarray, ...]:
        """IoU (k,) of each asked box with the detection that is matched to it, so that most are found."""
        pairs = zip(self.layouts, self.detections, strict=True)
        return tuple(match(asked, found, FOUND) for asked, found in pairs)

    def shuffled(self) -> Self:
        """The same detections compared with the boxes of other scenes, and nothing else."""
        others = tuple(self.layouts[i] for i in derangement(len(self.scenes)))
        return type(self)(self.scenes, {}, layouts=others, detections=self.detections)


def collect(run: Run, scenes: Sequence[Scene], arm: str, judges: Judges | None = None) -> Measurements:
    """The measurements of an arm, of PHOTOS or of CAPTIONER + name; what is not known yet is asked of judges.

    Scenes without a usable picture are left out and counted. judges: None only reads.
    Raises ValueError where no scene has a usable picture, and LookupError where a measurement is missing and
    there is no judge.
    """
    if arm.startswith(CAPTIONER):
        return _of_captions(run, scenes, arm, judges)
    scenes, counts = _usable(run, scenes, arm)
    captions = run.prompts("caption").set_index("scene")["prompt"]
    realism = "inception" if model_set(run.card["protocol"]["models"]).inception else "efficientnet"
    pictures, photos = (Pictures(run, scenes, name, judges) for name in (arm, PHOTOS))
    seen = dict.fromkeys(("clip", realism, "efficientnet"))
    own = pictures.arrays(*seen, "detector", "clip-crops", "colours")
    reference = photos.arrays(*seen)
    phrases = sorted({phrase for one in pictures.layouts for phrase in one.phrases})
    return Measurements(
        scenes=tuple(scene.name for scene in scenes),
        counts=counts,
        image_embeds=np.concatenate(own["clip"]),
        text_embeds=text_embeds(run, [captions[scene.name] for scene in scenes], "captions", arm, judges),
        pictures=np.concatenate(own[realism]),
        photos=np.concatenate(reference[realism]),
        efficientnet_pictures=np.concatenate(own["efficientnet"]),
        efficientnet_photos=np.concatenate(reference["efficientnet"]),
        photo_embeds=np.concatenate(reference["clip"]),
        layouts=pictures.layouts,
        detections=pictures.detections(),
        crops=tuple(own["clip-crops"]),
        colours=tuple(rows[:, 0] for rows in own["colours"]),
        phrases=dict(zip(phrases, text_embeds(run, phrases, "phrases", arm, judges), strict=True)),
        sibling_embeds=_sibling(run, scenes, arm, judges),
    )


def _of_captions(run: Run, scenes: Sequence[Scene], arm: str, judges: Judges | None) -> Measurements:
    table = run.captions(arm.removeprefix(CAPTIONER)).set_index("scene")
    scenes = [scene for scene in scenes if scene.name in table.index]
    texts = [table.generated_text[scene.name] for scene in scenes]
    flags = [flag for scene in scenes for flag in table["flags"][scene.name]]
    wrong = {"empty": "empty captions", "repeats": "repeating captions", "echo": "echoing captions"}
    named = [
        alignment.labels_named(text, scene.labels) if scene.labels else np.nan
        for text, scene in zip(texts, scenes, strict=True)
    ]
    return Measurements(
        scenes=tuple(scene.name for scene in scenes),
        counts={name: flags.count(flag) for flag, name in wrong.items()},
        image_embeds=np.concatenate(Pictures(run, scenes, PHOTOS, judges).arrays("clip")["clip"]),
        text_embeds=text_embeds(run, texts, arm, arm, judges),
        named=np.array(named),
    )


def _usable(run: Run, scenes: Sequence[Scene], arm: str) -> tuple[list[Scene], dict[str, int]]:
    """The scenes whose picture may enter a score, and how many pictures were left out or cut, and why."""
    if arm == PHOTOS:
        return list(scenes), {}
    there = [scene for scene in scenes if run.picture(arm, scene).is_file()]
    facts = Pictures(run, there, arm, None).facts()
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
    """CLIP features (n, d) of the same arm with a smaller seed, or None. Only smaller seeds count, so that
    later arms never change existing scores."""
    own, names = _parsed(arm), sorted(folder.name for folder in run.folder.glob("pictures/*/"))
    known = [other for other in map(_parsed, names) if own and other and other.seed < own.seed]
    others = [other.name for other in known if replace(other, seed=own.seed) == own]
    if not others:
        return None
    there, _ = _usable(run, scenes, others[0])
    embeds = np.concatenate(Pictures(run, there, others[0], judges).arrays("clip")["clip"])
    rows = dict(zip((scene.name for scene in there), embeds, strict=True))
    return np.stack([rows.get(scene.name, np.full(embeds.shape[1], np.nan)) for scene in scenes])


def _parsed(arm: str) -> Arm | None:
    try:
        return Arm.parse(arm)
    except ParameterError:  # an arm from elsewhere
        return None
