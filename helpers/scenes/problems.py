"""What is wrong with a data set, told in one error: a line for each cause, not for each scene."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

EXAMPLES = 3  # places that are named for a cause


class DatasetError(ValueError):
    """A data set that cannot be used. problems: a line for each cause."""

    def __init__(self, folder: Path, problems: list[str]):
        self.problems = problems
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        super().__init__("\n- ".join([f"{count} in the data set {folder}:", *problems]))


class Problem(NamedTuple):
    """One thing that is wrong. index: of the entry. text: what, and what to do. box: "", or "box 3".

    pair: of two scenes that clash, how they are named where others of the same cause are listed; all are.
    also: indices of other entries that this is wrong with, counted in the text.
    """

    index: int
    text: str
    box: str = ""
    pair: str = ""
    also: tuple[int, ...] = ()


def lines(file: str, entries: Sequence, problems: Iterable[Problem]) -> list[str]:
    """A line for each cause, in the order of the entries: the first place with its values, a count, examples.

    Problems have the same cause when their texts differ in numbers, quoted and bracketed values only.
    """
    causes: dict[str, list[Problem]] = {}
    for problem in sorted(problems, key=lambda problem: (problem.index, problem.box)):
        cause = re.sub(r"\[.*?\]|'.*?'|\".*?\"|-?\b(\d[\w.%]*|nan|inf)", "…", problem.text)
        causes.setdefault(cause, []).append(problem)
    told = []
    for first, *others in causes.values():
        box = f", {first.box}" if first.box else ""
        line = f"{file}, {_scene(entries, first.index)}{box}: {first.text}"
        if others:
            named = others if first.pair else others[: EXAMPLES - 1]
            names = [one.pair or f"{_scene(entries, one.index)} {one.box}".strip() for one in named]
            scenes = len({one.index for one in (first, *others)})
            where = f"in {scenes:,} scenes together" if scenes > 1 else "in this scene"
            line += f" (and {len(others):,} more, {where}: {', '.join(names)}"
            line += ", ...)" if len(others) > len(named) else ")"
        told.append(line)
    return told


def examples(names: Sequence[str], most: int = EXAMPLES) -> str:
    """The first few names, quoted, and how many there are."""
    shown = ", ".join(map(repr, names[:most]))
    return shown if len(names) <= most else f"{shown} and {len(names) - most:,} more"


def _scene(entries: Sequence, index: int) -> str:
    image = entries[index].get("image") if isinstance(entries[index], dict) else None
    return f"scene {image!r}" if isinstance(image, str) else f"entry {index}"
