"""Captions parsed back into objects and place, and their F1 against reference captions."""

import re
from collections import Counter
from dataclasses import dataclass

from data.training.world import COLOURS, COUNTS, KINDS, PLACES, PLURALS, phrase

_COUNTED = {phrase(kind, colour): (phrase(kind, colour), 1) for kind in KINDS for colour in COLOURS} | {
    PLURALS[kind].format(count=word, colour=colour): (phrase(kind, colour), count)
    for kind in KINDS
    for colour in COLOURS
    for count, word in COUNTS.items()
}
_PLACE = re.compile(rf"^(.*) ({'|'.join(PLACES.values())})$")


@dataclass(frozen=True)
class Said:
    """A parsed caption: counts of phrases ('a red cone'), the key of the place or None, the rest."""

    objects: Counter
    place: str | None
    rest: tuple[str, ...]


def parse_caption(text: str) -> Said:
    """The inverse of `world.describe`; what that cannot have written is kept in `rest`."""
    text = " ".join(text.lower().split())
    found = _PLACE.match(text)
    listed, place = found.groups() if found else (text, None)
    objects, rest = Counter(), []
    for part in filter(None, re.split(r", | and ", listed)):
        if part in _COUNTED:
            name, count = _COUNTED[part]
            objects[name] += count
        else:
            rest.append(part)
    return Said(objects, next((key for key, words in PLACES.items() if words == place), None), tuple(rest))


@dataclass(frozen=True)
class CaptionQuality:
    """Scores of captions against references.

    f1: of objects with their colours, counted over all captions; what is not understood counts as one object
    that is not there. place, whole: shares of captions with the right place, and right in everything.
    """

    f1: float
    place: float
    whole: float


def caption_f1(captions: list[str], references: list[str]) -> CaptionQuality:
    """Compare captions with the references of the same photos. Raises ValueError for unequal lengths."""
    pairs = [(parse_caption(a), parse_caption(b)) for a, b in zip(captions, references, strict=True)]
    right = sum((said.objects & true.objects).total() for said, true in pairs)
    given = sum(said.objects.total() + len(said.rest) for said, _ in pairs)
    wanted = sum(true.objects.total() for _, true in pairs)
    return CaptionQuality(
        f1=2 * right / (given + wanted),
        place=sum(said.place == true.place for said, true in pairs) / len(pairs),
        whole=sum(said == true for said, true in pairs) / len(pairs),
    )
