"""Edit sets: what is to change in each photo, and the prompts before and after.

An edit set takes the place of a template in an arm's name. A data set brings its own as edits/<name>.jsonl, a
row per photo: {image, box, source, target, instruction}; box is the index of the edited box among the photo's
boxes in the annotations, or null for the whole picture; source are the words of the caption that the edit is
about, and target what replaces them.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from helpers.captioning.prompts import truncate
from helpers.parameters import ParameterError
from helpers.runs.protocol import at
from helpers.runs.run import Run
from helpers.scenes.scenes import Scene, fitted

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

GLOBAL = {  # edits of the whole picture, for any photos; boxes stay as they are
    "night": ("at night", "make it night"),
    "snow": ("in the snow", "cover it in snow"),
}
KEYS = ("image", "box", "source", "target", "instruction")


@dataclass(frozen=True)
class Edit:
    """One edit of one scene. box: index of the edited box in the scene as it is fitted for pictures, None for
    the whole picture. source: words of the caption, "" where something is only added."""

    box: int | None
    source: str
    target: str
    instruction: str


def names(folder: str | Path) -> list[str]:
    """Edit sets of a data set, then those for any photos. folder: of the data set."""
    own = sorted(path.stem for path in (at(folder) / "edits").glob("*.jsonl"))
    return [*own, *(name for name in GLOBAL if name not in own)]


def read(run: Run, name: str) -> dict[str, Edit]:
    """Scene name -> its edit, from the run's data set.

    Raises ParameterError that tells every problem, with file, line and value; also where the run leaves an
    edited box out.
    """
    protocol, scenes = run.card["protocol"], run.scenes
    folder = protocol["dataset"]
    path = at(folder) / "edits" / f"{name}.jsonl"
    if not path.is_file():
        if name not in GLOBAL:
            known = ", ".join(names(folder))
            raise ParameterError(f"edit set {name!r}: no {path}; edit sets of this data set: {known}")
        target, instruction = GLOBAL[name]
        return {scene.name: Edit(None, "", target, instruction) for scene in scenes}
    of_image = {scene.image: fitted(scene, protocol) for scene in scenes}
    edits: dict[str, Edit] = {}
    problems = []
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            problem = f"not JSON ({error})"
        else:
            problem = _problem(row, of_image, edits)
        if problem:
            problems.append(f"{path}, line {number}: {problem}")
        elif scene := of_image.get(row["image"]):
            place = None if row["box"] is None else scene.numbers.index(row["box"])
            edits[scene.name] = Edit(place, *(row[key] for key in KEYS[2:]))
    if problems:
        raise ParameterError("\n".join(problems))
    if without := [scene.image for scene in scenes if scene.name not in edits]:
        raise ParameterError(
            f"{path}: {len(without)} of {len(scenes)} photos have no row, such as {without[0]!r}; give one "
            "row per photo, with image as the annotations call it"
        )
    return edits


def make(
    scenes: Iterable[Scene],
    captions: Mapping[str, str],
    edits: Mapping[str, Edit],
    tokenizer: "PreTrainedTokenizerFast",
) -> list[dict]:
    """Rows like those of `prompts.make`, and source_prompt, instruction, box, source, target, appended.

    prompt is the caption after the edit, source_prompt before it. Where the caption does not hold the words
    of the edit, both get theirs appended, and appended says so.
    """
    rows = []
    for scene in scenes:
        edit, caption = edits[scene.name], captions[scene.name]
        where = re.search(re.escape(edit.source), caption, re.IGNORECASE) if edit.source else None
        if where:
            source, target = caption, caption[: where.start()] + edit.target + caption[where.end() :]
        else:
            source = f"{caption}, {edit.source}" if edit.source else caption
            target = f"{caption}, {edit.target}"
        cut = [truncate(prompt, tokenizer) for prompt in (target, source)]
        row = {"scene": scene.name, "prompt": target, "tokens": max(count for count, _, _ in cut)}
        row |= {"truncated": any(flag for _, _, flag in cut), "source_prompt": source}
        row |= {"instruction": edit.instruction, "box": edit.box, "appended": where is None}
        rows.append(row | {"source": edit.source, "target": edit.target})
    return rows


def _problem(row: object, of_image: Mapping[str, Scene], edits: Mapping[str, Edit]) -> str | None:
    if not isinstance(row, dict) or not set(KEYS) <= set(row):
        return f"{row!r:.80}: an object with {', '.join(KEYS)} is needed"
    for key in ("image", "source", "target", "instruction"):
        if not isinstance(row[key], str) or not (row[key].strip() or key == "source"):
            return f"{key} {row[key]!r}: a text is needed"
    box = row["box"]
    if box is not None and type(box) is not int:
        return f"box {box!r}: the index of a box is needed, from 0, or null for the whole picture"
    if row["source"] == row["target"]:
        return f"source and target are both {row['target']!r}: nothing would change"
    if (scene := of_image.get(row["image"])) is None:
        return None  # of another part of the data set
    if scene.name in edits:
        return f"image {row['image']!r} has an edit already; one row per photo"
    if box is None or box in scene.numbers:
        return None
    some = scene.numbers != tuple(range(len(scene.labels)))
    which = f"in this run, numbers {', '.join(map(str, scene.numbers))}" if some else "counted from 0"
    return f"box {box}: scene {scene.name!r} has {len(scene.labels)} boxes, {which}"
