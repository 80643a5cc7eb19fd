"""Edits of drawn scenes with their exact targets: an object in another colour, all objects in another place.

Nobody has such targets of real photos: here everything outside of the edited object is equal to the pixel, so
that a perfect editor is a known row of every table. Three more, an object away, another in its place, one
more, are for training alone.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data.training.world import COLOURS, KINDS, PLACES, Drawn, draw_scene, phrase

SHARES = {"recolour": 0.55, "place": 0.15, "remove": 0.1, "swap": 0.1, "add": 0.1}  # of training pairs
WHOLE = np.array([0, 0, 1, 1], np.float32)  # the region of an edit of the whole picture


@dataclass(frozen=True, eq=False)
class Edit:
    """One edit of one scene.

    box: index of the edited box before the edit; None where none is there. source: words of the scene's
    caption that the edit is about; target: the words that take their place. instructions: the edit as people
    say it, in several wordings. before, after: the scene without and with the edit. region: (4,) float32
    fractions, outside of which both are equal but for a few pixels at the foot of an object.
    """

    box: int | None
    source: str
    target: str
    instructions: tuple[str, ...]
    before: Drawn
    after: Drawn
    region: np.ndarray

    @property
    def instruction(self) -> str:
        """The first wording."""
        return self.instructions[0]


def recolour(seed: int, crisp: bool | None = None, box: int | None = None) -> Edit:
    """An object in another colour, drawn by the hash of the seed.

    seed, crisp: of `draw_scene`. box: the object; None takes the largest whose kind stands once, else the
    largest.
    """
    scene = draw_scene(seed, crisp)
    box = _largest(scene) if box is None else box
    kind, old = scene.labels[box], scene.colours[box]
    new = _pick("recolour", seed, [colour for colour in COLOURS if colour != old])
    part = "vest" if kind == "worker" else kind
    said = [f"make the {old} {part} {new}", f"turn the {old} {part} {new}"]
    said += [f"make the {part} {new}"] * (scene.labels.count(kind) == 1)
    after = draw_scene(seed, crisp, recolour={box: new})
    return Edit(box, phrase(kind, old), phrase(kind, new), tuple(said), scene, after, scene.boxes[box])


def relocate(seed: int, crisp: bool | None = None) -> Edit:
    """The same objects in another place, drawn by the hash of the seed. seed, crisp: of `draw_scene`."""
    scene = draw_scene(seed, crisp)
    place = _pick("place", seed, [place for place in PLACES if place != scene.place])
    after = draw_scene(seed, crisp, new_place=place)
    said = f"put it {PLACES[place]}", f"make it {PLACES[place]}", f"change the place to a {place}"
    return Edit(None, PLACES[scene.place], PLACES[place], said, scene, after, WHOLE)


def remove(seed: int, box: int, crisp: bool | None = None) -> Edit:
    """A scene without one of its objects. seed, crisp: of `draw_scene`."""
    scene, after = draw_scene(seed, crisp), draw_scene(seed, crisp, replace={box: None})
    old = _named(scene, box)
    said = f"remove the {old}", f"take the {old} away"
    return Edit(box, scene.phrases[box], "", said, scene, after, _with_shadow(scene.boxes[box]))


def add(seed: int, box: int, crisp: bool | None = None) -> Edit:
    """A scene with one object more, the other way round of `remove`."""
    edit = remove(seed, box, crisp)
    name = edit.before.phrases[box]
    return Edit(None, "", name, (f"add {name}", f"put {name} there"), edit.after, edit.before, edit.region)


def swap(seed: int, box: int, crisp: bool | None = None) -> Edit:
    """A scene with an object of another kind, drawn by the hash of the seed, in the box of one of its own."""
    scene = draw_scene(seed, crisp)
    old, colour = _named(scene, box), scene.colours[box]
    kind = _pick("swap", seed, [kind for kind in KINDS if kind != scene.labels[box]])
    target, after = phrase(kind, colour), draw_scene(seed, crisp, replace={box: kind})
    said = f"replace the {old} by {target}", f"turn the {old} into {target}"
    return Edit(box, scene.phrases[box], target, said, scene, after, scene.boxes[box])


EDITS = {"recolour": recolour, "place": relocate}  # those of which the demo has sets


def draw_edit(seed: int) -> Edit:
    """An edit, its kind by SHARES, of a crisp scene."""
    rng = np.random.default_rng([seed, 1])
    kind, box = rng.choice(list(SHARES), p=list(SHARES.values())), None
    if kind != "place":
        box = int(rng.integers(len(draw_scene(seed, True).boxes)))
    if kind == "recolour":
        return recolour(seed, True, box)
    if kind == "place":
        return relocate(seed, True)
    return {"remove": remove, "swap": swap, "add": add}[kind](seed, box, True)


def draw_pairs(seeds: range) -> tuple[np.ndarray, np.ndarray, list[tuple[str, ...]]]:
    """Pictures (2 n, SIZE, SIZE, 3) uint8, first those before the edits, regions (n, 4), instructions."""
    drawn = [draw_edit(seed) for seed in seeds]
    pictures = [edit.before.image for edit in drawn] + [edit.after.image for edit in drawn]
    regions = np.stack([edit.region for edit in drawn]).astype(np.float32)
    return np.stack([np.asarray(image) for image in pictures]), regions, [edit.instructions for edit in drawn]


def _largest(scene: Drawn) -> int:
    areas = (scene.boxes[:, 2:] - scene.boxes[:, :2]).prod(1)
    return max(range(len(areas)), key=lambda box: (scene.labels.count(scene.labels[box]) == 1, areas[box]))


def _named(scene: Drawn, box: int) -> str:
    """What an object is called after "the": 'worker in a green vest', 'orange barrel'."""
    return scene.phrases[box].removeprefix("an ").removeprefix("a ")


def _with_shadow(box: np.ndarray) -> np.ndarray:
    """A box with the shadow at its foot."""
    reach = 0.2 * (box[2] - box[0])
    return np.clip(box + np.array([-reach / 2, 0, reach, 0.04], np.float32), 0, 1)


def _pick(name: str, seed: int, choices: Sequence[str]) -> str:
    digest = hashlib.sha256(f"{name} {seed}".encode()).digest()
    return choices[int.from_bytes(digest[:8]) % len(choices)]
