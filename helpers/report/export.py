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
from PIL import Image

from helpers.models.sets import model_set, with_own
from helpers.parameters import ParameterError, nearest, number
from helpers.report import qualification
from helpers.report.export_formats import FORMATS, SPLITS, Example
from helpers.report.tables import PIECES
from helpers.runs.arms import own_arm
from helpers.runs.layouts import arm_layouts, given_boxes
from helpers.runs.methods import own_checkpoints
from helpers.runs.protocol import at, spelling
from helpers.runs.run import Run
from helpers.scenes import images
from helpers.scenes.scenes import Scene
from helpers.scoring.adherence import FOUND as IOU
from helpers.scoring.scores import PHOTOS

MARK = "dataset.json"  # in an exported folder: what was exported, and every file of it
SHARE = number((int, float), 0, 1, "give a share from 0 to 1")
LICENCES = {  # of the published checkpoints, as their pages state them
    "Salesforce/blip2-opt-2.7b": "MIT; for its language half, see also the model card of facebook/opt-2.7b",
    "Salesforce/blip2-flan-t5-xl": "MIT",
    "google/owlv2-base-patch16-ensemble": "Apache 2.0",
    "timbrooks/instruct-pix2pix": "MIT",
    "masterful/gligen-1-4-generation-text-box": "CreativeML OpenRAIL-M",
}


def export(
    run: Run,
    arms: Sequence[str],
    folder: str | Path,
    format: str = "coco",
    iou: float = IOU,
    crop_accuracy: float = 1.0,
    val: float = 0.2,
    seed: int = 0,
    every: bool = False,
) -> list[str]:
    """Write the qualifying pictures of arms as a training set; returns what was written, in lines.

    Also writes which pictures qualify into the run folder (`qualification.remember`). arms: PHOTOS is the
    photos themselves, fitted as the pictures are, and all of them. folder: absent, empty, or an earlier
    export, which is replaced; it is there whole or not at all. format: of FORMATS. iou, crop_accuracy: see
    `qualification.qualifying`. val, seed: see `split`. every: take all pictures, unjudged.
    Raises ParameterError, before anything is written there, for what cannot be right or leaves no picture.
    """
    folder, thresholds = at(folder), {"iou": iou, "crop_accuracy": crop_accuracy}
    _check(run, arms, folder, format, **thresholds, val=val)
    table = _table(run, arms, every, *thresholds.values())
    chosen, sides = table[table.qualifies], split(run.scenes, val, seed)
    if chosen.empty:
        counts = f"none of {len(table)} pictures qualifies (IoU {iou:g}, crop accuracy {crop_accuracy:g})"
        raise ParameterError(f"{counts}; lower --iou or --crop-accuracy, or take all pictures with --all 1")
    scenes = {(arm, scene.name): scene for arm in arms for scene in arm_layouts(run, arm, run.scenes)}
    examples = [
        _example(run, row.arm, scenes[row.arm, row.scene], sides[row.scene]) for row in chosen.itertuples()
    ]
    options = {"format": format, "val": val, "seed": seed} | ({"all": 1} if every else thresholds)
    with _replaced(folder) as place:
        for name, content in _files(run, arms, folder, examples, table, options).items():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            if callable(content):
                content(place / name)
            else:
                (place / name).write_text(content, encoding="utf-8", newline="\n")
    return _summary(run, examples, table, folder, format, val)


def split(scenes: Iterable[Scene], val: float, seed: int) -> dict[str, str]:
    """Scene name -> "train" or "val": the given share of scenes, those whose hashed names come first."""
    names = [scene.name for scene in scenes]
    order = sorted(names, key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).digest())
    return {name: SPLITS[place < round(val * len(names))] for place, name in enumerate(order)}


def _check(run: Run, arms: Sequence[str], folder: Path, format: str, **shares: float) -> None:
    problems = [f"{name} = {value!r}: {advice}" for name, value in shares.items() if (advice := SHARE(value))]
    if format not in FORMATS:
        problems.append(f"format = {format!r}: {nearest(format, FORMATS)}")
    if not arms or len(set(arms)) < len(arms):
        problems.append(f"arms = {list(arms)!r}: name at least one, and each once")
    there = [*run.arms(), *[PHOTOS] * run.has_photos]
    absent = [arm for arm in arms if arm not in there]
    problems += [f"arm = {arm!r}: no such pictures; {nearest(arm, there)}" for arm in absent]
    if other := _other_file(folder):
        problems.append(f"to = {str(folder)!r}: {other}; name another folder")
    if problems:
        raise ParameterError("\n".join(problems))


def _other_file(folder: Path) -> str:
    """What stands in the way of writing there: a file, or what no export wrote."""
    if not folder.is_dir():
        return "this is a file" if folder.exists() else ""
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}
    mark = folder / MARK
    known = json.loads(mark.read_text(encoding="utf-8")).get("files", []) if mark.is_file() else []
    other = sorted(name for name in found - set(known) if not name.endswith(".cache"))
    return f"it holds {other[0]}, which is not of an export" if other else ""


def _table(run: Run, arms: Sequence[str], every: bool, *thresholds: float) -> pd.DataFrame:
    """`qualification.qualifying` of the arms, kept in the run folder; photos qualify unjudged."""
    made = [arm for arm in arms if arm != PHOTOS]
    tables = [qualification.every(run, [arm for arm in arms if every or arm == PHOTOS])]
    if made and not every:
        tables.insert(0, qualification.qualifying(run, made, *thresholds))
        qualification.remember(run, tables[0], *thresholds)
    return pd.concat([table for table in tables if len(table)], ignore_index=True)


def _example(run: Run, arm: str, scene: Scene, side: str) -> Example:
    """scene: the arm's layout, of which the boxes are taken that the model was given."""
    fit = run.card["protocol"]["size"], run.card["protocol"]["fit"]
    size, given = (fit[0], fit[0]), given_boxes(run, arm, scene)[0]

    def source(path: Path) -> None:
        if arm == PHOTOS:
            images.save(images.fit(scene.photo(), *fit), path)
        else:
            shutil.copyfile(run.picture(arm, scene), path)

    if arm != PHOTOS:
        with Image.open(run.picture(arm, scene)) as picture:
            size = picture.size
    boxes = scene.boxes[given].astype(np.float64) * [*size, *size]
    labels = tuple(scene.labels[index] for index in given)
    return Example(f"{scene.name}@{arm}.png", source, arm, scene.name, side, *size, boxes, labels)


def _files(
    run: Run,
    arms: Sequence[str],
    folder: Path,
    examples: Sequence[Example],
    table: pd.DataFrame,
    options: Mapping[str, object],
) -> dict[str, object]:
    """Every file of the set: name -> text, or what writes it."""
    place = spelling(run.folder)
    words = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", f"{value}")]
    command = ["grounded", "dataset", "--run", place, "--arm", *arms, "--to", spelling(folder), *words]
    facts = {"run": place, "arms": list(arms), **options, "command": shlex.join(command)}
    facts["names"] = sorted({label for scene in run.scenes for label in scene.labels})
    facts["licences"] = run.licences(arms)
    rows = [(one.file, one.split, one.arm, one.scene, len(one.boxes)) for one in examples]
    pictures = pd.DataFrame(rows, columns=["file", "split", "arm", "scene", "boxes"])
    files = dict(FORMATS[options["format"]](examples, facts["names"]))
    files["README.md"] = _card(run, pictures, table, facts)
    files["pictures.csv"] = pictures.to_csv(index=False, lineterminator="\n")
    rejected = table[~table.qualifies].drop(columns="qualifies")
    files["rejected.csv"] = rejected.to_csv(index=False, lineterminator="\n")
    marked = facts | {"files": [*files, MARK]}
    return files | {MARK: json.dumps(marked, ensure_ascii=False, indent=1)}


def _card(run: Run, pictures: pd.DataFrame, table: pd.DataFrame, facts: Mapping[str, object]) -> str:
    """README.md: what the set holds, how it was made, and where it comes from."""
    protocol, checkpoints, models = run.card["protocol"], [], model_set(run.card["protocol"]["models"])
    counts = pictures.groupby("split").agg(
        pictures=("file", "size"), boxes=("boxes", "sum"), photos=("scene", "nunique")
    )
    counts = counts.reindex(SPLITS, fill_value=0).reset_index().to_dict("records")
    own = own_checkpoints([arm.grounding for arm in map(own_arm, facts["arms"]) if arm], models)
    for one in with_own(models, own).checkpoints(bool(protocol.get("safety"))):
        source, licence = "this project", "this project's own"
        if one.converter:
            source, licence = (
                "its authors' files, converted",
                one.licence or "see where its authors publish it",
            )
        elif one.revision is not None:
            usual = LICENCES.get(one.source, f"see the model card of {one.source}")
            source, licence = one.source, one.licence or usual
        commit = protocol.get("checkpoints", {}).get(one.name, "not noted by the run")
        checkpoints.append({"name": one.name, "source": source, "commit": commit, "licence": licence})
    stated = [scene.extra.get(key) for scene in run.scenes for key in ("license", "licence")]
    markdown = PIECES.overlay(autoescape=False, keep_trailing_newline=True)
    return markdown.get_template("card.md.j2").render(
        **facts,
        **{"pictures": pictures, "table": table, "counts": counts, "checkpoints": checkpoints},
        **{"protocol": protocol, "card": run.card, "causes": qualification.causes(table)},
        photo_licences=sorted({str(one) for one in stated if one is not None}),
        photos=PHOTOS,
    )


def _summary(
    run: Run, examples: Sequence[Example], table: pd.DataFrame, folder: Path, format: str, val: float
) -> list[str]:
    counts = {side: sum(one.split == side for one in examples) for side in SPLITS}
    sides = ", ".join(f"{count} {side}" for side, count in counts.items())
    lines = [f"{len(examples)} of {len(table)} pictures ({sides}) -> {folder}, {format}"]
    lines += [
        f"read before you train: pictures of {title} are under {text}"
        for title, text in run.licences(one.arm for one in examples).items()
    ]
    lines += [f"not taken: {number} {cause}" for cause, number in qualification.causes(table).items()]
    empty = [side for side, count in counts.items() if not count and (side == "train" or val)]
    return lines + [f"no picture in {side}: give another --val or --seed" for side in empty]


@contextmanager
def _replaced(folder: Path) -> Iterator[Path]:
    """A folder beside it, which takes its place when the block ends well and goes when it does not."""
    new, old = (folder.with_name(f".{folder.name[:40]}.{uuid.uuid4().hex[:12]}.partial") for _ in range(2))
    try:
        new.mkdir(parents=True)
        yield new
        if folder.exists():
            folder.rename(old)
        new.rename(folder)
    finally:
        for path in (new, old):
            shutil.rmtree(path, ignore_errors=True)
