"""Edits of drawn scenes with their exact targets: an object in another colour, all objects in another place.

Nobody has such targets of real photos: here everything outside of the edited object is equal to the pixel, so
that a perfect editor is a known row of every table.
"""

import hashlib
from dataclasses import dataclass

from data.training.world import COLOURS, PLACES, Drawn, draw_scene, phrase


@dataclass(frozen=True, eq=False)
class Edit:
    """One edit of one scene.

    box: index of the edited box; None where the whole picture is. source: words of the scene's caption that
    the edit is about; target: the words that take their place. instruction: the edit as a person says it.
    before, after: the scene without and with the edit.
    """

    box: int | None
    source: str
    target: str
    instruction: str
    before: Drawn
    after: Drawn


def recolour(seed: int, crisp: bool | None = None) -> Edit:
    """The largest object whose kind stands once in a scene, else the largest, in another colour.

    seed, crisp: of `draw_scene`. The new colour is drawn by the hash of the seed.
    """
    scene = draw_scene(seed, crisp)
    areas = (scene.boxes[:, 2:] - scene.boxes[:, :2]).prod(1)
    box = max(range(len(areas)), key=lambda box: (scene.labels.count(scene.labels[box]) == 1, areas[box]))
    kind, old = scene.labels[box], scene.colours[box]
    new = _pick("recolour", seed, [colour for colour in COLOURS if colour != old])
    part = "vest" if kind == "worker" else kind
    after = draw_scene(seed, crisp, recolour={box: new})
    return Edit(box, phrase(kind, old), phrase(kind, new), f"make the {old} {part} {new}", scene, after)


def relocate(seed: int, crisp: bool | None = None) -> Edit:
    """The same objects in another place, drawn by the hash of the seed. seed, crisp: of `draw_scene`."""
    scene = draw_scene(seed, crisp)
    place = _pick("place", seed, [place for place in PLACES if place != scene.place])
    after = draw_scene(seed, crisp, new_place=place)
    return Edit(None, PLACES[scene.place], PLACES[place], f"put it {PLACES[place]}", scene, after)


EDITS = {"recolour": recolour, "place": relocate}


def _pick(name: str, seed: int, choices: list[str]) -> str:
    digest = hashlib.sha256(f"{name} {seed}".encode()).digest()
    return choices[int.from_bytes(digest[:8]) % len(choices)]
