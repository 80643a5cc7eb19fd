"""A run folder: everything that one study made, and what is still missing."""

import json
import os
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from helpers.files import beside, stamp
from helpers.parameters import ParameterError
from helpers.runs import dataset, records
from helpers.runs.arms import GROUNDINGS, own_checkpoints_of
from helpers.runs.protocol import at, has_photos, machine, scenes_of
from helpers.scenes import images
from helpers.scenes.scenes import Scene, Scenes, checksum

WRITTEN_BY = {
    "captions": "01_captioning",
    "choices/captioner.json": "01_captioning",
    "prompts": "02_template_comparison",
    "choices/template.json": "02_template_comparison",
    "boxes": "04_fid",
}
PROMPTS = "prompt"  # in the place of a captioner, where the data set brings prompts
NUMBERS = ["value", "standard_error", "low", "high"]
COLUMNS = ["arm", "metric", *NUMBERS, "n", "reason", "group", "lower_is_better", "kind"]
COLUMNS += ["template", "grounding", "guidance_scale", "grounded_fraction", "seed"]
COLUMNS += ["steps", "scheduler", "guidance_share", "layout"]


class Run:
    """One run folder, opened for reading and writing.

    Every file is written whole or not at all, so that presence means done. `card` is run.json: the protocol
    and the machine.
    Raises FileNotFoundError where the folder holds no run.json.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = at(folder)
        self.saved: list[str] = []
        self.wait = True  # for the check of photos that were never decoded
        if not (self.folder / "run.json").is_file():
            raise FileNotFoundError(
                f"{folder}: not a run folder (no run.json); notebooks/00_overview starts one"
            )
        self.card: dict = self.read_json("run.json")

    @classmethod
    def open(cls, folder: str | Path, **protocol: object) -> "Run":
        """The run in that folder, begun where there is none yet.

        protocol: everything that must be the same for all pictures and scores of one run.
        Raises ParameterError naming each parameter that differs from the run's own.
        """
        if not (at(folder) / "run.json").is_file():
            _begin(at(folder), {"protocol": protocol, **machine()})
        run = cls(folder)
        given, known = json.loads(_json(protocol)), run.card["protocol"]
        problems = [
            f"{name} = {given[name]!r}: {folder} was made with {known.get(name)!r}; {dataset.OTHER}"
            for name in given
            if given[name] != known.get(name) and name not in ("dataset", "dataset_checksum")
        ]
        if "dataset" in given:
            run.card["protocol"], problem = dataset.reconcile(run.folder, known, given)
            problems += [problem] if problem else []
        if problems:
            raise ParameterError("\n".join(problems))
        if run.card["protocol"] != known:
            _begin(run.folder, run.card)
        run.wait = given.get("dataset_checksum") != ""
        return run

    @cached_property
    def scenes(self) -> Scenes:
        """The photos and boxes that the run is about, each photo checked; where the run was opened with a
        protocol that did not wait for that, in the background. Raises DatasetError."""
        protocol, scenes = self.card["protocol"], scenes_of(self.card["protocol"], self.wait)
        if protocol.get("dataset_checksum") == "" and not scenes.unchecked:  # as they were when it was begun
            protocol["dataset_checksum"] = checksum(scenes)
            _begin(self.folder, self.card)
        return scenes

    @property
    def has_photos(self) -> bool:
        """Whether the run has photos, or prompts and boxes alone."""
        return has_photos(self.card["protocol"])

    @property
    def groundings(self) -> tuple[str, ...]:
        """Groundings that it can have: image grounding shows the model what stands in a photo's boxes."""
        return GROUNDINGS if self.has_photos else ("none", "text")

    def require_photos(self, purpose: str) -> None:
        """Raises ParameterError where the run has none."""
        if not self.has_photos:
            raise ParameterError(f"{self.folder} has prompts and boxes alone; {purpose} takes photos")

    def read_json(self, name: str) -> object:
        """What is in that file. Raises FileNotFoundError naming the notebook that has to run first."""
        return json.loads(self._read(name))

    def read_jsonl(self, name: str) -> list[dict]:
        """One value per line. Raises FileNotFoundError naming the notebook that has to run first."""
        # not splitlines, which also splits at U+0085, U+2028 and others that stand in texts
        return [json.loads(line) for line in self._read(name).split("\n") if line]

    def has(self, name: str) -> bool:
        """Whether the run has that file."""
        return (self.folder / name).is_file()

    def write_json(self, name: str, value: object) -> Path:
        """Write a whole file, unless it holds just that already."""
        return self._write(name, _json(value, indent=1))

    def write_jsonl(self, name: str, rows: Iterable[Mapping]) -> Path:
        """Write a whole file, one value per line, unless it holds just that already."""
        return self._write(name, "".join(f"{_json(row)}\n" for row in rows))

    def picture(self, arm: str, scene: Scene | str) -> Path:
        """Where the picture of that scene in that arm lies or will lie."""
        return self.folder / "pictures" / arm / f"{getattr(scene, 'name', scene)}.png"

    def missing(self, arm: str, scenes: Iterable[Scene]) -> list[Scene]:
        """Those scenes, in order, whose picture in that arm is absent or cannot be decoded to its end."""
        return [scene for scene in scenes if not images.is_whole(self.picture(arm, scene))]

    def claim(self, arm: str) -> Path:
        """The file whose lock is held by whoever draws that arm: see `files.claimed`."""
        return self.folder / "drawing" / f"{arm}.json"

    def arms(self) -> list[str]:
        """Names of the arms that have pictures, sorted."""
        return sorted(path.name for path in self.folder.glob("pictures/*/") if self.count_pictures(path.name))

    def count_pictures(self, arm: str = "*") -> int:
        """Pictures that are there, of one arm or of all together."""
        folders = self.folder.glob(f"pictures/{arm}/")
        return sum(name.endswith(".png") for folder in folders for name in os.listdir(folder))

    def costs(self, arm: str) -> tuple[float, float] | None:
        """Mean UNet rows and seconds per picture of an arm, as its files say; None where they do not."""
        folder = self.folder / "pictures" / arm
        return records.costs(folder, folder.stat().st_mtime_ns) if folder.is_dir() else None

    def licences(self, arms: Iterable[str]) -> dict[str, str]:
        """Title of a method -> the licence of the checkpoint that it brings, of those arms that have one."""
        own = own_checkpoints_of(arms, self.card["protocol"]["models"])
        return {title: one.licence for title, one in own.items() if one.licence}

    def captions(self, captioner: str) -> pd.DataFrame:
        """scene, generated_text, flags, seconds: one row per scene. Where there are no photos, the prompts of
        the data set are the captions of the only captioner, PROMPTS."""
        if captioner == PROMPTS and not self.has_photos:
            rows = [(scene.name, scene.caption, [], 0.0) for scene in self.scenes]
            return pd.DataFrame(rows, columns=["scene", "generated_text", "flags", "seconds"])
        return pd.DataFrame(self.read_jsonl(f"captions/{captioner}.jsonl"))

    def prompts(self, template: str) -> pd.DataFrame:
        """scene, prompt, tokens, truncated: one row per scene, of a template or of an edit set."""
        rows = [*self.edits(template).values()] or self.read_jsonl(f"prompts/{template}.jsonl")
        return pd.DataFrame(rows)

    def edits(self, template: str) -> dict[str, dict]:
        """Scene -> its row of an edit set: prompt, source_prompt, instruction, box, source, target, appended.
        Empty for a template."""
        name = f"edits/{template}.jsonl"
        return {row["scene"]: row for row in (self.read_jsonl(name) if self.has(name) else ())}

    def scores(self, arms: Iterable[str] | None = None) -> pd.DataFrame:
        """One row per arm and metric, of all arms or of those that are named and scored, so that a notebook
        does not depend on what later ones score. Columns:

        arm, metric, value, standard_error, low, high, n, reason (why there is no value); of the metric its
        group and lower_is_better; of the arm its kind ("ours", "external", "control" or "captions") and, of
        our own the fields of `Arm`.
        """
        patterns = ["scores/*.json"] if arms is None else [f"scores/{arm}.json" for arm in arms]
        files = [path for pattern in patterns for path in sorted(self.folder.glob(pattern))]
        rows = [row for path in files for row in records.score_rows(path, stamp(path))]
        return pd.DataFrame(rows, columns=COLUMNS).astype(dict.fromkeys(NUMBERS, float))

    def boxes(self, arm: str) -> pd.DataFrame:
        """One row per box that was asked for: scene, box, label, phrase, size, found, iou, crop_correct,
        crop_similarity, colour_distance, rgb_distance."""
        return pd.DataFrame(self.read_jsonl(f"boxes/{arm}.jsonl"))

    def finish(self, following: str = "") -> object:
        """To be the last value of a notebook: shows what was saved, where to go on, and the versions."""
        from IPython.display import Markdown  # here, because who only reads a run waits for no IPython

        names = [f"`{name}`" for name in sorted(set(self.saved))] or ["nothing: everything was there already"]
        saved = "".join(f"- {name}\n" for name in names)
        onward = f"\nNext: [{following}]({following}.ipynb)\n" if following else ""
        versions = ", ".join(f"{name} {version}" for name, version in self.card["versions"].items())
        text = f"Saved in the run folder:\n\n{saved}{onward}\n*{versions}; {self.card['device']}*"
        return Markdown(text)

    def _read(self, name: str) -> str:
        path = self.folder / name
        if not path.is_file():
            notebook = WRITTEN_BY.get(name) or WRITTEN_BY.get(name.split("/")[0], "an earlier one")
            raise FileNotFoundError(f"{path}: not there yet; run {notebook}, which writes it")
        return path.read_text(encoding="utf-8")

    def _write(self, name: str, text: str) -> Path:
        path = self.folder / name
        if not path.is_file() or path.read_text(encoding="utf-8") != text:  # else what uses it looks outdated
            with beside(path) as partial:
                partial.write_text(text, encoding="utf-8", newline="\n")
            self.saved.append(name)
        return path


def _begin(folder: Path, card: dict) -> None:
    """Write run.json, and before it what the scenes are."""
    if card["protocol"].get("dataset_checksum"):
        dataset.remember(folder, card["protocol"])
    with beside(folder / "run.json") as partial:
        partial.write_text(_json(card, indent=1), encoding="utf-8", newline="\n")


def _json(value: object, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent, allow_nan=False, default=_plain)


def _plain(value: object) -> object:
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{value!r}: a {type(value).__name__} cannot be written as JSON")
