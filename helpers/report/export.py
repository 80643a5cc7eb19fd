"""A training set of the qualifying pictures, split by photo, as COCO, YOLO or Pascal VOC, with a card."""

import hashlib
import json
import shlex
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
from jinja2 import Environment, FileSystemLoader
from PIL import Image

from helpers.models.sets import model_set
from helpers.parameters import ParameterError, nearest, number
from helpers.report import qualification
from helpers.report.export_formats import FORMATS, SPLITS, Example
from helpers.report.tables import FOLDER
from helpers.runs.layouts import arm_layouts
from helpers.runs.protocol import at, spelling
from helpers.runs.run import Run
from helpers.scenes.boxes import largest
from helpers.scenes.scenes import Scene
from helpers.scoring.adherence import FOUND as IOU

MARK = "dataset.json"  # in an exported folder: what was exported, and every file of it
SHARE = number((int, float), 0, 1, "give a share from 0 to 1")
RAIL = "from Stable Diffusion 1.4, CreativeML OpenRAIL-M; see its page"
LICENCES = {  # of the published checkpoints
    "Salesforce/blip2-opt-2.7b": "MIT",
    "Salesforce/blip2-flan-t5-xl": "MIT",
    "google/owlv2-base-patch16-ensemble": "Apache 2.0",
    "masterful/gligen-1-4-generation-text-box": RAIL,
    "anhnct/Gligen_Text_Image": RAIL,
}


def export(
    run: Run,
    arms: Sequence[str],
    folder: str | Path,
    format: str = "coco",
    iou: float = IOU,
    crops: float = 1.0,
    val: float = 0.2,
    seed: int = 0,
    every: bool = False,
) -> list[str]:
    """Write the qualifying pictures of arms as a training set; returns what was written, in lines.

    Also writes which pictures qualify into the run folder (`qualification.remember`). folder: absent, empty,
    or an earlier export, which is replaced; it is there whole or not at all. format: of FORMATS. iou, crops:
    see `qualification.qualifying`. val, seed: see `split`. every: take all pictures, unjudged.
    Raises ParameterError, before anything is written there, for what cannot be right or leaves no picture.
    """
    folder = at(folder)
    _check(run, arms, folder, format, iou=iou, crops=crops, val=val)
    table = qualification.every(run, arms) if every else qualification.qualifying(run, arms, iou, crops)
    if not every:
        qualification.remember(run, table, iou, crops)
    chosen = table[table.qualifies]
    if chosen.empty:
        counts = f"none of {len(table)} pictures qualifies (IoU {iou:g}, crops {crops:g})"
        raise ParameterError(f"{counts}; lower --iou or --crops, or take all pictures with --all 1")
    sides = split(run.scenes, val, seed)
    scenes = {(arm, scene.name): scene for arm in arms for scene in arm_layouts(run, arm, run.scenes)}
    examples = [
        _example(run, row.arm, scenes[row.arm, row.scene], sides[row.scene]) for row in chosen.itertuples()
    ]
    options = {"format": format, "val": val, "seed": seed}
    options |= {"all": 1} if every else {"iou": iou, "crops": crops}
    facts = {
        "run": spelling(run.folder),
        "arms": list(arms),
        **options,
        "command": _command(run, arms, folder, options),
    }
    facts |= {"names": sorted({label for scene in run.scenes for label in scene.labels})}
    files = dict(FORMATS[format](examples, facts["names"]))
    files["README.md"] = _card(run, examples, table, facts)
    files["pictures.csv"] = _csv(_pictures(examples))
    files["rejected.csv"] = _csv(table[~table.qualifies].drop(columns="qualifies"))
    files[MARK] = json.dumps(facts | {"files": [*files, MARK]}, ensure_ascii=False, indent=1)
    with _replaced(folder) as partial:
        for name, content in files.items():
            _put(partial / name, content)
    return _summary(examples, table, folder, format, val)


def split(scenes: Iterable[Scene], val: float, seed: int) -> dict[str, str]:
    """Scene name -> "train" or "val": the given share of scenes, those whose hashed names come first."""
    names = [scene.name for scene in scenes]
    order = sorted(names, key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).digest())
    return {name: SPLITS[place < round(val * len(names))] for place, name in enumerate(order)}


def _check(run: Run, arms: Sequence[str], folder: Path, format: str, **shares: float) -> None:
    problems = [f"{name} = {value!r}: {said}" for name, value in shares.items() if (said := SHARE(value))]
    if format not in FORMATS:
        problems.append(f"format = {format!r}: {nearest(format, FORMATS)}")
    if not arms or len(set(arms)) < len(arms):
        problems.append(f"arms = {list(arms)!r}: name at least one, and each once")
    there = run.arms()
    problems += [
        f"arm = {arm!r}: no such pictures; {nearest(arm, there)}" for arm in arms if arm not in there
    ]
    if strange := _strange(folder):
        problems.append(f"to = {str(folder)!r}: {strange}; name another folder")
    if problems:
        raise ParameterError("\n".join(problems))


def _strange(folder: Path) -> str:
    """What stands in the way of writing there: a file, or what no export wrote."""
    if not folder.is_dir():
        return "this is a file" if folder.exists() else ""
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}
    mark = folder / MARK
    known = json.loads(mark.read_text(encoding="utf-8")).get("files", []) if mark.is_file() else []
    other = sorted(name for name in found - set(known) if not name.endswith(".cache"))
    return f"it holds {other[0]}, which is not of an export" if other else ""


@contextmanager
def _replaced(folder: Path) -> Iterator[Path]:
    """A folder beside it, which takes its place when the block ends well and goes when it does not."""
    partial, old = (
        folder.with_name(f".{folder.name[:40]}.{uuid.uuid4().hex[:12]}.partial") for _ in range(2)
    )
    try:
        partial.mkdir(parents=True)
        yield partial
        if folder.exists():
            folder.rename(old)
        partial.rename(folder)
    finally:
        for path in (partial, old):
            shutil.rmtree(path, ignore_errors=True)


def _example(run: Run, arm: str, scene: Scene, side: str) -> Example:
    """scene: as the arm was asked for. Of a crowded one the boxes that the model was given."""
    path, given = run.picture(arm, scene), largest(scene.boxes)[0]
    with Image.open(path) as picture:
        width, height = picture.size
    boxes = scene.boxes[given].astype(np.float64) * [width, height, width, height]
    labels = tuple(scene.labels[index] for index in given)
    return Example(f"{scene.name}@{arm}.png", path, arm, scene.name, side, width, height, boxes, labels)


def _card(run: Run, examples: Sequence[Example], table: pd.DataFrame, facts: Mapping[str, object]) -> str:
    """README.md: what the set holds, how it was made, and where it comes from."""
    protocol, counts = run.card["protocol"], []
    for side in SPLITS:
        there = [one for one in examples if one.split == side]
        numbers = {"boxes": sum(len(one.boxes) for one in there), "photos": len({one.scene for one in there})}
        counts.append({"split": side, "pictures": len(there), **numbers})
    checkpoints = []
    for one in model_set(protocol["models"]).checkpoints(bool(protocol.get("safety"))):
        local = one.revision is None
        licence = "this project's own" if local else LICENCES.get(one.source, "see its page")
        commit = protocol.get("checkpoints", {}).get(one.name, "not noted by the run")
        checkpoints.append({"name": one.name, "source": "this project" if local else one.source})
        checkpoints[-1] |= {"commit": commit, "licence": licence}
    said = [scene.extra.get(key) for scene in run.scenes for key in ("license", "licence")]
    environment = Environment(loader=FileSystemLoader(FOLDER), keep_trailing_newline=True)
    return environment.get_template("card.md.j2").render(
        **facts | {"run": spelling(run.folder)},
        **{"examples": examples, "table": table, "counts": counts, "checkpoints": checkpoints},
        **{"protocol": protocol, "card": run.card, "causes": qualification.causes(table)},
        licences=sorted({str(one) for one in said if one is not None}),
    )


def _command(run: Run, arms: Sequence[str], folder: Path, options: Mapping[str, object]) -> str:
    words = ["grounded", "dataset", "--run", spelling(run.folder), "--arm", *arms, "--to", spelling(folder)]
    return shlex.join(
        [*words, *(word for name, value in options.items() for word in (f"--{name}", f"{value}"))]
    )


def _summary(
    examples: Sequence[Example], table: pd.DataFrame, folder: Path, format: str, val: float
) -> list[str]:
    counts = {side: sum(one.split == side for one in examples) for side in SPLITS}
    said = ", ".join(f"{count} {side}" for side, count in counts.items())
    lines = [f"{len(examples)} of {len(table)} pictures ({said}) -> {folder}, {format}"]
    lines += [f"not taken: {number} {cause}" for cause, number in qualification.causes(table).items()]
    empty = [side for side, count in counts.items() if not count and (side == "train" or val)]
    return lines + [f"no picture in {side}: give another --val or --seed" for side in empty]


def _pictures(examples: Sequence[Example]) -> pd.DataFrame:
    rows = [(one.file, one.split, one.arm, one.scene, len(one.boxes)) for one in examples]
    return pd.DataFrame(rows, columns=["file", "split", "arm", "scene", "boxes"])


def _csv(table: pd.DataFrame) -> str:
    return table.to_csv(index=False, lineterminator="\n")


def _put(path: Path, content: str | Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, Path):
        shutil.copyfile(content, path)
    else:
        path.write_text(content, encoding="utf-8", newline="\n")
