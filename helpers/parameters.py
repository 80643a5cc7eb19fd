"""Rules for the values of parameters: each says what to do about a value that cannot be right."""

import difflib
import math
import os
from collections.abc import Callable, Iterable

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


def threads() -> int:
    """Threads that this process may keep busy: OMP_NUM_THREADS, else a thread per core that it may run on."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return int(os.environ.get("OMP_NUM_THREADS") or cores)
