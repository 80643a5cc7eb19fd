"""What is wrong with a data set, told in one error: a line for each cause, not for each scene."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

EXAMPLES = 3  # places that are named for a cause


class DatasetError(ValueError):
    """A data set that cannot be used. problems: a line for each cause."""

    def __init__(self, folder: Path, *problems: str):
        self.problems = list(problems)
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
    return [_line(file, entries, *alike) for alike in causes.values()]


def leave_out(
    folder: Path, file: str, entries: list, problems: list[Problem], skip: bool
) -> tuple[dict[int, str], list[str]]:
    """Index of each entry with a problem -> its first one, and what to say of all. Raises DatasetError where
    they are not to be skipped, or no other entry is left."""
    reasons: dict[int, str] = {}
    for problem in problems:
        for index in (problem.index, *problem.also):
            reasons.setdefault(index, f"{problem.box} {problem.text}".strip())
    if not reasons:
        return {}, []
    texts = lines(file, entries, problems)
    if not skip or len(reasons) == len(entries):
        raise DatasetError(folder, *texts)
    return reasons, [f"scenes left out: {len(reasons):,} of {len(entries):,}", *texts]


def examples(names: Sequence[str]) -> str:
    """The first few names, quoted, and how many more there are."""
    more = f" and {len(names) - EXAMPLES:,} more" if len(names) > EXAMPLES else ""
    return ", ".join(map(repr, names[:EXAMPLES])) + more


def scene_of(entries: Sequence, index: int) -> str:
    """An entry as messages call it: by its picture, or by its number."""
    image = entries[index].get("image") if isinstance(entries[index], dict) else None
    return f"scene {image!r}" if isinstance(image, str) else f"entry {index}"


def _line(file: str, entries: Sequence, first: Problem, *others: Problem) -> str:
    box = f", {first.box}" if first.box else ""
    line = f"{file}, {scene_of(entries, first.index)}{box}: {first.text}"
    if not others:
        return line
    named = others if first.pair else others[: EXAMPLES - 1]
    names = [one.pair or f"{scene_of(entries, one.index)} {one.box}".strip() for one in named]
    count = len({one.index for one in (first, *others)})
    where = f"in {count:,} scenes together" if count > 1 else "in this scene"
    more = ", ..." if len(others) > len(named) else ""
    return f"{line} (and {len(others):,} more, {where}: {', '.join(names)}{more})"


def read_lines(folder: Path, name: str) -> list[str]:
    """The lines of a text file. Raises DatasetError where it cannot be read."""
    try:  # by "\n" alone: texts may hold what else ends a line in Unicode
        return (folder / name).read_text(encoding="utf-8-sig").split("\n")
    except (OSError, ValueError) as error:
        raise DatasetError(folder, f"{name} cannot be read as UTF-8: {error}; save it so") from error
