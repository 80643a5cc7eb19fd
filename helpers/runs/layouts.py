"""Layouts of pictures: the photos' own boxes, or new ones made of them by an arm that names such a layout."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np

from helpers.parameters import ParameterError
from helpers.runs.arms import own_arm
from helpers.runs.methods import METHODS
from helpers.runs.run import Run
from helpers.scenes import boxes as rectangles
from helpers.scenes import images
from helpers.scenes.scenes import Scene, fitted

MOVE = SCALE = 0.15  # deviation of a jittered box: of its place, in its own sides, and of log of its sides
TRIES, CROWDED = 20, 0.3  # places that a random box tries, and the IoU with another that it avoids


def arm_layouts(run: Run, arm: str, scenes: Sequence[Scene]) -> tuple[Scene, ...]:
    """The layouts of an arm: those scenes, in their order, with boxes, labels and phrases as its pictures are
    asked for. Arms from elsewhere and controls have the photos' own; in an edit set the edited box has the
    phrase of its target."""
    square = run.card["protocol"]["size"], run.card["protocol"]["fit"]
    own, parsed = _fitted(tuple(scenes), *square), own_arm(arm)
    if edits := run.edits(template := arm.partition("-")[0]):
        if parsed and parsed.layout:
            problem = f"layout = {parsed.layout!r}: template {template!r} edits the boxes of the photos"
            raise ParameterError(problem)
        return tuple(_edited(scene, edits[scene.name]) for scene in own)
    if not (parsed and parsed.layout):
        return own
    every = _fitted(tuple(run.scenes), *square)
    return tuple(apply(parsed.layout, every, scene, parsed.seed) for scene in own)


def given_boxes(run: Run, arm: str, layout: Scene) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the boxes of a layout of `arm_layouts` that the model was given, and of those that it was
    not: as the picture's record says; where it says nothing (photos, pictures from elsewhere, methods without
    boxes, no picture yet) the largest, as many as the method takes."""
    parsed, count, picture = own_arm(arm), len(layout.boxes), run.picture(arm, layout)
    method = parsed and METHODS[parsed.grounding]
    record = images.read_text(picture) if method and "boxes" in method.reads and picture.is_file() else {}
    if "dropped_boxes" not in record:
        every = method and method.takes_all_boxes
        return rectangles.largest(layout.boxes, count if every else rectangles.PLACES)
    named = (json.loads(record[name]) for name in ("dropped_phrases", "dropped_boxes"))
    left_out = {(phrase, *np.float32(box)) for phrase, box in zip(*named, strict=True)}
    pairs = zip(layout.phrases, layout.boxes, strict=True)
    dropped = np.array([(phrase, *box) in left_out for phrase, box in pairs], bool)
    return np.flatnonzero(~dropped), np.flatnonzero(dropped)


def _edited(scene: Scene, edit: Mapping) -> Scene:
    """A scene as it is after an edit: the edited box has the phrase of the target."""
    box = edit["box"]
    if box is None:
        return scene
    return replace(scene, phrases=(*scene.phrases[:box], edit["target"], *scene.phrases[box + 1 :]))


def apply(name: str, scenes: Sequence[Scene], scene: Scene, seed: int) -> Scene:
    """A fitted scene with the layout of that name, the same for the same seed, scene and scenes.

    mirrored: left and right changed. jittered: each box moved and scaled a little, inside the picture.
    other: boxes, labels and phrases of another of the scenes. random: labels that stand together in one of
    the scenes, each with size and place of boxes of that label from anywhere. No boxes stay no boxes.
    """
    digest = hashlib.sha256(f"{seed}:{name}:{scene.name}".encode()).digest()
    rng = np.random.default_rng(int.from_bytes(digest[:8]))
    if name == "mirrored":
        signs, shift = np.float32([-1, 1, -1, 1]), np.float32([1, 0, 1, 0])
        return replace(scene, boxes=scene.boxes[:, [2, 1, 0, 3]] * signs + shift)
    if name == "jittered":
        sides = scene.boxes[:, 2:] - scene.boxes[:, :2]
        middles = (scene.boxes[:, 2:] + scene.boxes[:, :2]) / 2 + sides * rng.normal(0, MOVE, sides.shape)
        return replace(scene, boxes=_inside(middles, sides * np.exp(rng.normal(0, SCALE, (len(sides), 1)))))
    others = [one for one in scenes if one.name != scene.name and len(one.boxes)]
    if not (others and len(scene.boxes)):
        return scene
    other = others[rng.integers(len(others))]
    new = _scattered(scenes, other.labels, rng) if name == "random" else other.boxes
    return replace(scene, boxes=new, labels=other.labels, phrases=other.phrases, numbers=())


def _scattered(scenes: Sequence[Scene], labels: Sequence[str], rng: np.random.Generator) -> np.ndarray:
    """A box (n, 4) per label: the size of one box of that label, the middle of another."""
    placed = np.empty((0, 4), np.float32)
    for label in labels:
        pairs = [pair for one in scenes for pair in zip(one.boxes, one.labels, strict=True)]
        known = np.array([box for box, own in pairs if own == label])
        for _ in range(TRIES):
            size, place = known[rng.integers(len(known), size=2)]
            box = _inside((place[None, :2] + place[None, 2:]) / 2, (size[2:] - size[:2])[None])
            if not (rectangles.iou(placed, box) > CROWDED).any():
                break
        placed = np.concatenate([placed, box])
    return placed


def _inside(middles: np.ndarray, sides: np.ndarray) -> np.ndarray:
    """Boxes (n, 4) float32 of those middles and sides, moved into the picture."""
    sides = np.clip(sides, 0, 1)
    low = np.clip(middles - sides / 2, 0, 1 - sides)
    return rectangles.clip(np.concatenate([low, low + sides], axis=1))


@lru_cache(maxsize=4)
def _fitted(scenes: tuple[Scene, ...], size: int, fit: str) -> tuple[Scene, ...]:
    return tuple(fitted(scene, {"size": size, "fit": fit}) for scene in scenes)
