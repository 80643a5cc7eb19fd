"""A run folder: everything that one study made, and what is still missing."""

import hashlib
import importlib.metadata
import json
import os
import platform
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from helpers import images
from helpers.scenes import Scene, read_scenes
from helpers.settings import ParameterError

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("torch", "diffusers", "transformers", "numpy", "pillow", "scipy", "papermill")
FINISHED = "application/vnd.grounded.finished+json"


def at(path: str | Path) -> Path:
    """The path itself, or, where it is relative, that path seen from the repository's root."""
    return ROOT / path


def digest(folder: Path) -> str:
    """16 hexadecimal digits that change when a file in the folder changes its name or content."""
    total = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        total.update(f"{path.relative_to(folder).as_posix()}\n".encode())
        with path.open("rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()[:16]


def machine() -> dict[str, object]:
    """What the numbers of a run may depend on and no parameter says: versions, device, cores."""
    import torch

    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine()
    return {
        "device": f"{device}, {os.cpu_count()} cores",
        "started": time.strftime("%Y-%m-%d %H:%M"),
        "versions": {"python": platform.python_version(), **versions},
    }


class Run:
    """One run folder, opened for reading and writing.

    Every file is written whole or not at all, so that presence means done. `card` is run.json: the protocol and the
    machine. What this object was asked for is remembered: `finish` tells it to whoever asks later whether the
    notebook has to run again.
    Raises FileNotFoundError where the folder holds no run.json.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = at(folder)
        self.uses: set[tuple[str, str]] = set()
        self.saved: list[str] = []
        if not (self.folder / "run.json").is_file():
            raise FileNotFoundError(
                f"{folder}: no run.json in it; notebooks/00_overview or `make report RUN={folder}` starts a run"
            )
        self.card: dict = self.read_json("run.json")

    @classmethod
    def open(cls, folder: str | Path, **protocol: object) -> "Run":
        """The run in that folder, begun where there is none yet.

        protocol: everything that must be the same for all pictures and scores of one run.
        Raises ParameterError naming each parameter that differs from the run's own.
        """
        if not (at(folder) / "run.json").is_file():
            text = json.dumps({"protocol": protocol, **machine()}, indent=1, default=_plain)
            with _beside(at(folder) / "run.json") as partial:
                partial.write_text(text)
        run = cls(folder)
        given, known = json.loads(json.dumps(protocol, default=_plain)), run.card["protocol"]
        problems = [
            f"{name} = {given[name]!r}: {folder} was made with {known.get(name)!r}; "
            "give that value or start another run (RUN=runs/another)"
            for name in given
            if given[name] != known.get(name)
        ]
        if problems:
            raise ParameterError("\n".join(problems))
        return run

    @cached_property
    def scenes(self) -> list[Scene]:
        """The photos and boxes that the run is about."""
        dataset = self.card["protocol"]["dataset"]
        self.uses.add((dataset, "**/*"))
        return read_scenes(at(dataset))

    def read_json(self, name: str) -> object:
        return json.loads(self._used(name).read_text(encoding="utf-8"))

    def read_jsonl(self, name: str) -> list[dict]:
        return [json.loads(line) for line in self._used(name).read_text(encoding="utf-8").splitlines()]

    def has(self, name: str) -> bool:
        return self._used(name).is_file()

    def write_json(self, name: str, value: object) -> Path:
        return self._write(name, json.dumps(value, ensure_ascii=False, indent=1, allow_nan=False, default=_plain))

    def write_jsonl(self, name: str, rows: Iterable[Mapping]) -> Path:
        lines = (json.dumps(row, ensure_ascii=False, allow_nan=False, default=_plain) + "\n" for row in rows)
        return self._write(name, "".join(lines))

    def write_npz(self, name: str, **arrays: np.ndarray) -> Path:
        with _beside(self._used(name)) as partial, partial.open("wb") as file:
            np.savez(file, **arrays)
        self.saved.append(name)
        return self.folder / name

    def picture(self, arm: str, scene: Scene | str) -> Path:
        """Where the picture of that scene in that arm lies or will lie."""
        self.uses.add(("", f"pictures/{arm}/*.png"))
        return self.folder / "pictures" / arm / f"{getattr(scene, 'name', scene)}.png"

    def missing(self, arm: str, scenes: Iterable[Scene]) -> list[Scene]:
        """Those scenes, in their order, whose picture in that arm is absent or cannot be decoded to its end."""
        return [scene for scene in scenes if not images.is_whole(self.picture(arm, scene))]

    def arms(self) -> list[str]:
        """Names of the arms that have pictures, sorted."""
        self.uses.add(("", "pictures/*/*.png"))
        return sorted({path.parent.name for path in self.folder.glob("pictures/*/*.png")})

    def captions(self, captioner: str) -> pd.DataFrame:
        """scene, generated_text, flags, seconds: one row a scene."""
        return pd.DataFrame(self.read_jsonl(f"captions/{captioner}.jsonl"))

    def prompts(self, template: str) -> pd.DataFrame:
        """scene, prompt, tokens, truncated: one row a scene."""
        return pd.DataFrame(self.read_jsonl(f"prompts/{template}.jsonl"))

    def scores(self) -> pd.DataFrame:
        """arm, metric, value, standard_error, low, high, n: one row for each arm and metric."""
        self.uses.add(("", "scores/*.json"))
        files = sorted(self.folder.glob("scores/*.json"))
        rows = [{"arm": path.stem} | score for path in files for score in json.loads(path.read_text())]
        return pd.DataFrame(rows, columns=["arm", "metric", "value", "standard_error", "low", "high", "n"])

    def boxes(self, arm: str) -> pd.DataFrame:
        """scene, box, label, found, iou, crop_correct: one row for each box asked for."""
        return pd.DataFrame(self.read_jsonl(f"boxes/{arm}.jsonl"))

    def stamp(self, folder: str, pattern: str) -> str:
        """Changes when a file that fits the pattern appears, goes, or is written again. folder "": the run's own."""
        base = at(folder) if folder else self.folder
        facts = [(str(path), path.stat()) for path in sorted(base.glob(pattern)) if path.is_file()]
        text = repr([(name, fact.st_size, fact.st_mtime_ns) for name, fact in facts])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def finish(self, following: str = "") -> "Finished":
        """To be the last value of a notebook: shows what was saved, where to go on, and with which versions."""
        uses = [[folder, pattern, self.stamp(folder, pattern)] for folder, pattern in sorted(self.uses)]
        return Finished(uses, sorted(set(self.saved)), following, self.card)

    def _used(self, name: str) -> Path:
        self.uses.add(("", name))
        return self.folder / name

    def _write(self, name: str, text: str) -> Path:
        with _beside(self._used(name)) as partial:
            partial.write_text(text, encoding="utf-8")
        self.saved.append(name)
        return self.folder / name


class Finished:
    """The end of a notebook: for people the saved files and versions, for `sweeps` what the notebook depends on."""

    def __init__(self, uses: list, saved: list[str], following: str, card: dict) -> None:
        self.uses, self.saved, self.following, self.card = uses, saved, following, card

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, object]:
        saved = "".join(f"- `{name}`\n" for name in self.saved) or "- nothing: everything was there already\n"
        onward = f"\nNext: [{self.following}]({self.following}.ipynb)\n" if self.following else ""
        versions = ", ".join(f"{name} {version}" for name, version in self.card["versions"].items())
        text = f"Saved in the run folder:\n\n{saved}{onward}\n*{versions}; {self.card['device']}*"
        return {"text/markdown": text, "text/plain": text, FINISHED: {"uses": self.uses}}


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """A file to write beside `path`, renamed to it when the block ends well and removed when it does not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _plain(value: object) -> object:
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{value!r}: a {type(value).__name__} cannot be written as JSON")
