"""Files that are written whole or not at all."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


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
