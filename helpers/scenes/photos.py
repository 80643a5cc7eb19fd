"""Photo files: where they lie, and what is known of them. An unchanged file is decoded only once, and in the
background where nobody waits for it."""

import hashlib
import json
import os
import posixpath
import time
import unicodedata
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cached_property, lru_cache
from pathlib import Path
from threading import Thread
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


UNCHECKED = Photo(0, 0, 1, "")  # of a photo of which nothing is known yet
IDLE = Thread()
_running: dict[Path, Thread] = {}  # the check in the background, by folder


class Folder:
    """The files of a data set's folder, found by the names that annotations give them."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def find(self, image: str) -> Path | str:
        """The file in the folder, in its images/, or the only one below it whose path ends so; else what to
        say. Separators of Windows and both Unicode forms of accented letters are understood."""
        for name in (image, image.replace("\\", "/")):
            for below in ("", "images"):
                if os.path.isfile(place := os.path.join(self.path, below, name)):
                    return Path(place)
        wanted = normal(image)
        files = self._files.get(posixpath.basename(wanted), [])
        if ends := [path for path in files if f"/{normal(path)}".endswith(f"/{wanted}")]:
            said = f"{len(ends)} files are called so: {', '.join(map(repr, ends[:3]))}; give the folder too"
            return said if len(ends) > 1 else self.path / ends[0]
        stem = _stem(posixpath.basename(wanted)).strip()
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


def _stem(name: str) -> str:
    return posixpath.splitext(name)[0].casefold()


def look(
    folder: Path, paths: Iterable[Path], wait: bool = True, sizes: bool = True
) -> dict[Path, Photo | str]:
    """What is known of each photo, or why it cannot be used.

    Photos are decoded once, with all cores; later calls, also of other processes, compare size and time of
    change only. That knowledge lies in the user's cache folder (or in GROUNDED_CACHE), a file per data set,
    because several runs share a data set and its own folder may be read-only.
    wait: False decodes in the background what is not known yet, and returns UNCHECKED for it, or, with
    `sizes`, what its header says.
    """
    base = os.environ.get("GROUNDED_CACHE") or platformdirs.user_cache_dir("grounded")
    name = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]
    memory, known, found, new = Path(base, "photos", f"{name}.json"), {}, {}, {}
    with suppress(OSError, ValueError):  # none yet, or damaged: the photos are decoded again
        known = json.loads(memory.read_text(encoding="utf-8"))
    known = known if isinstance(known, dict) else {}
    for path in paths:
        stamp = [(fact := os.stat(path)).st_size, fact.st_mtime_ns]
        row = known.get(_name(folder, path), ())
        if row[:2] == stamp:
            found[path] = Photo(*row[2:])
        else:
            new[path] = stamp
    if wait:
        return found | _decode(folder, memory, known, new, len(new) >= MANY)
    if new and not _running.get(folder, IDLE).is_alive():
        _running[folder] = Thread(target=_decode, args=(folder, memory, known, new, False), daemon=True)
        _running[folder].start()
    return found | {path: _header(path) if sizes else UNCHECKED for path in new}


def _decode(
    folder: Path, memory: Path, known: dict[str, list], new: Mapping[Path, list], bar: bool
) -> dict[Path, Photo | str]:
    """What decoding shows of new photos, written down every PAUSE seconds and at the end."""
    found, places, written = {}, [*new], time.monotonic()
    bar = tqdm(
        total=len(new), desc="checking photos", unit="photo", disable=None if bar else True, leave=False
    )
    # a program that ends while a background thread is at work takes no new tasks: what is known is kept
    with bar, suppress(RuntimeError), ThreadPoolExecutor(min(os.cpu_count() or 1, 16)) as pool:
        for start in range(0, len(new), CHUNK):
            part = places[start : start + CHUNK]
            for path, photo in zip(part, pool.map(_decoded, part), strict=True):
                found[path] = photo
                bar.update()
                if isinstance(photo, Photo) and new[path][1] < time.time_ns() - SETTLED:
                    known[_name(folder, path)] = [*new[path], *photo]
            if time.monotonic() - written > PAUSE or start + CHUNK >= len(new):
                with suppress(OSError), beside(memory) as partial:  # without a cache time is lost, no more
                    partial.write_text(json.dumps(known), encoding="utf-8")
                written = time.monotonic()
    return found


def _decoded(path: Path) -> Photo | str:
    try:
        size = images.load(path).size
        with Image.open(path) as image, path.open("rb") as file:
            return Photo(*size, images.orientation(image), hashlib.file_digest(file, "sha256").hexdigest())
    except ValueError as error:
        return str(error).removeprefix(f"{path}: ")


def _header(path: Path) -> Photo | str:
    try:
        with Image.open(path) as image:
            turn, size = images.orientation(image), image.size
        return Photo(*(size[::-1] if turn > 4 else size), turn, "")
    except images.DAMAGED:
        return _decoded(path)  # which says what is wrong


def _name(folder: Path, path: Path) -> str:
    return str(path).removeprefix(f"{folder}{os.sep}")
