"""One writer an arm: whoever draws it holds a lock that ends with the process, however the process ends."""

import fcntl
import json
import os
import platform
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO


@contextmanager
def claimed(path: Path) -> Iterator[Callable[..., None]]:
    """Hold the file's lock for the block; waits while another process or machine holds it.

    Gives a function that tells others more of the holder, as keywords, beside its machine, process and start.
    The file goes when the block ends; after a crash it stays, held by nobody. On a file system that cannot
    lock there is a warning, and two sweeps at once may make a picture twice (the same one).
    """
    file = _locked(path)
    facts = {"machine": platform.node(), "process": os.getpid(), "since": time.strftime("%H:%M:%S")}

    def tell(**more: object) -> None:
        facts.update(more)
        file.truncate(0)
        file.write(json.dumps(facts))
        file.flush()

    try:
        tell()
        yield tell
    finally:
        path.unlink(missing_ok=True)
        file.close()


def holder(path: Path) -> dict | None:
    """What the holder of the lock says of itself; None where nobody holds it."""
    try:
        with path.open("r+") as file:
            if not _lock(file, fcntl.LOCK_EX | fcntl.LOCK_NB):
                text = file.read()
                return json.loads(text) if text.endswith("}") else {}
    except FileNotFoundError:
        pass
    return None


def left_by(path: Path) -> dict:
    """What the last holder said of itself, be it alive or not; nothing where it ended well."""
    text = path.read_text() if path.is_file() else ""
    return json.loads(text) if text.endswith("}") else {}


def _locked(path: Path) -> TextIO:
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        file = path.open("a+")
        _lock(file, fcntl.LOCK_EX)
        try:
            if path.stat().st_ino == os.fstat(file.fileno()).st_ino:
                return file
        except FileNotFoundError:
            pass
        file.close()  # the last holder took the file away while this one waited for its lock


def _lock(file: TextIO, how: int) -> bool:
    try:
        fcntl.flock(file, how)
    except BlockingIOError:
        return False
    except OSError as error:
        warnings.warn(
            f"{file.name}: this file system cannot lock ({error}); do not start two sweeps here", stacklevel=4
        )
    return True
