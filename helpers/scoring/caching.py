"""Arrays by what they were made from: computed once per content, in a file that is written whole."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from helpers.files import beside


def cached(
    path: Path,
    keys: Sequence[str],
    contents: Sequence[str],
    compute: Callable[[list[int]], Sequence[np.ndarray]],
) -> list[np.ndarray]:
    """One array (k, d) a key, from the file where its content is the same, computed where it is not.

    contents: what each array depends on, such as `content(path)`: a picture that changed is computed again.
    compute: takes the indices that are wanted, returns their arrays in that order; d is the same for all of
    them. The file keeps keys that are not asked for, and is written whole or not at all.
    """
    known = _read(path)
    missing = [i for i, key in enumerate(keys) if known.get(key, (None,))[0] != contents[i]]
    if missing:
        computed = compute(missing)
        known |= {keys[i]: (contents[i], rows) for i, rows in zip(missing, computed, strict=True)}
        with beside(path) as partial, partial.open("wb") as file:
            np.savez(
                file,
                keys=np.array([*known]),
                contents=np.array([text for text, _ in known.values()]),
                counts=np.array([len(rows) for _, rows in known.values()]),
                rows=np.concatenate([rows for _, rows in known.values()]),
            )
    return [known[key][1] for key in keys]


def content(path: Path) -> str:
    """32 hexadecimal digits that change with the bytes of a file."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:32]


def digest(*parts: object) -> str:
    """32 hexadecimal digits that change with plain values: texts, bytes, numbers, tuples of them."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]


def _read(path: Path) -> dict[str, tuple[str, np.ndarray]]:
    if not path.is_file():
        return {}
    with np.load(path) as file:
        rows = np.split(file["rows"], np.cumsum(file["counts"])[:-1])
        entries = zip(file["keys"].tolist(), file["contents"].tolist(), rows, strict=True)
        return {key: (text, array) for key, text, array in entries}
