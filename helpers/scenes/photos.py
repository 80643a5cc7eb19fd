"""Photo files: where they lie, and what is known of them. An unchanged file is decoded only once."""

import hashlib
import json
import os
import posixpath
import time
import unicodedata
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cached_property, lru_cache
from pathlib import Path
from typing import NamedTuple

import platformdirs
from PIL import Image
from tqdm import tqdm

from helpers.files import beside
from helpers.scenes import images

CHUNK = 64  # photos that an interrupt waits for
PAUSE = 30  # seconds after which what is known so far is written down
SETTLED = 2e9  # nanoseconds: a file changed later than this before now may change again within one time stamp
MANY = 200  # photos to decode from which on a progress bar is worth a line


class Photo(NamedTuple):
    """What one decoding of a photo file showed.

    width, height: pixels of the upright photo. orientation: EXIF's, 1 to 8. content: SHA-256 of the file.
    """

    width: int
    height: int
    orientation: int
    content: str


class Folder:
    """The files of a data set's folder, found by the names that annotations give them."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def find(self, image: str) -> Path | None:
        """The file in the folder, in its images/, or the only one below it whose path ends so; else None.

        Separators of Windows and both Unicode forms of accented letters are understood.
        """
        for name in (image, image.replace("\\", "/")):
            for below in ("", "images"):
                if os.path.isfile(place := os.path.join(self.path, below, name)):
                    return Path(place)
        ends = self.ending(image)
        return self.path / ends[0] if len(ends) == 1 else None

    def ending(self, image: str) -> list[str]:
        """Paths of files, relative to the folder, that end with that path."""
        wanted = normal(image)
        files = self._files.get(posixpath.basename(wanted), [])
        return [path for path in files if f"/{normal(path)}".endswith(f"/{wanted}")]

    def missing(self, image: str) -> str:
        """What to say of a name that `find` does not find."""
        if ends := self.ending(image):
            return f"{len(ends)} files are called so: {', '.join(map(repr, ends[:3]))}; give the folder too"
        stem = posixpath.splitext(posixpath.basename(normal(image)))[0].strip().casefold()
        near = next((paths[0] for name, paths in self._files.items() if _stem(name) == stem), None)
        return "there is no such file; " + (f"is it {near!r}?" if near else "add it or correct its name")

    @cached_property
    def _files(self) -> dict[str, list[str]]:
        """File name in composed Unicode -> paths relative to the folder, with "/"."""
        files: dict[str, list[str]] = {}
        for path in below(self.path):
            files.setdefault(unicodedata.normalize("NFC", posixpath.basename(path)), []).append(path)
        return files


def below(folder: Path) -> list[str]:
    """Paths of the files below a folder, as seen from it, with "/"; none that is hidden."""
    found = []
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        here = Path(place).relative_to(folder)
        found += [(here / name).as_posix() for name in sorted(names) if not name.startswith(".")]
    return found


@lru_cache(maxsize=2**18)
def normal(image: str) -> str:
    """A path as annotations may spell it, in one spelling: "/", composed Unicode, no "."."""
    return posixpath.normpath(unicodedata.normalize("NFC", image).replace("\\", "/"))


def look(folder: Path, paths: Iterable[Path]) -> dict[Path, Photo | str]:
    """What is known of each photo, or why it cannot be used.

    Photos are decoded once, with all cores; later calls, also of other processes, compare size and time of
    change only. That knowledge lies in the user's cache folder (or in GROUNDED_CACHE), a file per data set,
    because several runs share a data set and its own folder may be read-only.
    """
    memory = _memory(folder)
    known, found, new = _read(memory), {}, []
    for path in paths:
        size, changed = (fact := os.stat(path)).st_size, fact.st_mtime_ns
        row = known.get(_name(folder, path), ())
        if row[:2] == [size, changed]:
            found[path] = Photo(*row[2:])
        elif path not in found:
            found[path] = ""
            new.append((path, [size, changed]))
    written = time.monotonic()
    bar = tqdm(total=len(new), desc="checking photos", unit="photo", disable=len(new) < MANY, leave=False)
    with bar, ThreadPoolExecutor(min(os.cpu_count() or 1, 16)) as pool:
        for start in range(0, len(new), CHUNK):
            part = new[start : start + CHUNK]
            for (path, fact), photo in zip(part, pool.map(_look, [path for path, _ in part]), strict=True):
                found[path] = photo
                bar.update()
                if isinstance(photo, Photo) and fact[1] < time.time_ns() - SETTLED:
                    known[_name(folder, path)] = [*fact, *photo]
            if time.monotonic() - written > PAUSE or start + CHUNK >= len(new):
                written = _write(memory, known)
    return found


def _look(path: Path) -> Photo | str:
    try:
        size = images.load(path).size
        with Image.open(path) as image:
            orientation = images.orientation(image)
        with path.open("rb") as file:
            return Photo(*size, orientation, hashlib.file_digest(file, "sha256").hexdigest())
    except ValueError as error:
        return str(error).removeprefix(f"{path}: ")


def _memory(folder: Path) -> Path:
    base = os.environ.get("GROUNDED_CACHE") or platformdirs.user_cache_dir("grounded")
    name = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]
    return Path(base, "photos", f"{name}.json")


def _read(memory: Path) -> dict[str, list]:
    try:
        known = json.loads(memory.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # none yet, or damaged: the photos are decoded again
        return {}
    return known if isinstance(known, dict) else {}


def _write(memory: Path, known: dict[str, list]) -> float:
    """When that was written, if it could be: without a cache, time is lost and nothing else."""
    with suppress(OSError), beside(memory) as partial:
        partial.write_text(json.dumps(known), encoding="utf-8")
    return time.monotonic()


def _name(folder: Path, path: Path) -> str:
    return str(path).removeprefix(f"{folder}{os.sep}")


def _stem(name: str) -> str:
    return posixpath.splitext(name)[0].casefold()
