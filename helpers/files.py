"""Files that are written whole or not at all, and a file lock per arm."""

import json
import os
import platform
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout


@contextmanager
def beside(path: str | Path) -> Iterator[Path]:
    """A path beside `path`, renamed to it when the block ends well and removed when it does not.

    No two writers share one, be they threads, processes or machines; its name ends in .partial.
    Missing parent folders are made.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # of a long name only the start: with all of it the temporary name would be longer than file systems take
    partial = path.with_name(f".{path.name[:40]}.{uuid.uuid4().hex[:12]}.partial")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def claimed(path: Path) -> Iterator[Callable[..., None]]:
    """Hold a lock for the block; waits while another process or machine holds it.

    path: a JSON file with facts about the holder; the lock is a file of the same name that ends in .lock, and
    the operating system releases it when the process ends, however it ends. Gives a function that adds facts,
    as keywords, to machine, process and start. The facts go with the block; a killed process leaves them.
    """
    facts = {"machine": platform.node(), "process": os.getpid(), "since": time.strftime("%H:%M:%S")}

    def add(**more: object) -> None:
        facts.update(more)
        with beside(path) as partial:
            partial.write_text(json.dumps(facts), encoding="utf-8")

    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        try:
            add()
            yield add
        finally:
            path.unlink(missing_ok=True)


def holder(path: Path) -> dict | None:
    """The facts about who holds the lock; None where nobody does."""
    lock = path.with_suffix(".lock")
    if not lock.is_file():
        return None
    try:
        with FileLock(lock, blocking=False):
            return None
    except Timeout:
        return last_holder(path)


def last_holder(path: Path) -> dict:
    """The facts about the last holder, alive or killed; empty where it ended well."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}


def stamp(path: str | Path) -> tuple[int, int]:
    """Size and time of change of a file, in bytes and ns; zeros where there is none. Rewriting changes it."""
    facts = Path(path).stat() if Path(path).is_file() else None
    return (facts.st_size, facts.st_mtime_ns) if facts else (0, 0)
