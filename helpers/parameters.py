"""What can be wrong with a parameter's value, and what to do about it."""

import difflib
import math
from collections.abc import Callable, Iterable
from pathlib import Path

Rule = Callable[[object], str | None]  # value -> None where it is right, else what to do


class ParameterError(ValueError):
    """Notebook parameters that cannot be right; the message names each one, its value and what to do."""


def nearest(word: object, options: Iterable[str]) -> str:
    """Advice for a word that is none of the options: all of them, and the one that is probably meant."""
    options = list(options)
    close = difflib.get_close_matches(str(word), options, n=1)
    meant = f"; did you mean {close[0]!r}?" if close else ""
    return f"choose one of {', '.join(map(repr, options))}{meant}"


def option(options: Iterable[str]) -> Rule:
    """The value is one of the options."""
    return lambda value: None if value in list(options) else nearest(value, options)


def number(kinds: type | tuple[type, ...], low: float, high: float, advice: str) -> Rule:
    """The value is a finite number of one of the kinds, from low to high."""

    def rule(value: object) -> str | None:
        number = isinstance(value, kinds) and not isinstance(value, bool)
        return None if number and low <= value <= high and math.isfinite(value) else advice

    return rule


def flag(value: object) -> str | None:
    """The value is True or False."""
    return None if isinstance(value, bool) else "give True or False"


def dataset(value: object) -> str | None:
    """The value is a folder that is not empty; what it has to hold, reading its scenes says."""
    folder = Path(value) if isinstance(value, (str, Path)) and str(value) else None
    if folder is None or not folder.is_dir():
        return "no such folder; give the folder that holds the photos and annotations.json"
    if not any(not path.name.startswith(".") for path in folder.iterdir()):
        return "no photos in this folder; put pictures there, and annotations.json"
    return None
