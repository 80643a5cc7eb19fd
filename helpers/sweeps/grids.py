"""A grid: what a sweep varies, from a file or the command line, and the arms that it comes to."""

import hashlib
import tomllib
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path

from helpers.parameters import ParameterError, nearest
from helpers.runs.arms import Arm, check
from helpers.runs.methods import KNOBS, METHODS, NEUTRAL
from helpers.runs.run import Run

# the first varies slowest
AXES = ("grounding", "template", "grounded_fraction", "guidance_share", "guidance_scale", "seed", "layout")
FOLDER = "sweeps"  # of a run: the arms of each of its sweeps, in a file each


def read(path: Path) -> dict[str, list]:
    """A TOML file with a list, or one value, for any of AXES and for knobs that only some methods have.

    Raises ParameterError for a file that is absent or is no TOML, and for a name that is none of these.
    """
    try:
        grid = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise ParameterError(f"grid {path}: cannot be read ({error}); see README, Sweeps") from error
    known = (*AXES, *KNOBS)
    if unknown := [name for name in grid if name not in known]:
        raise ParameterError("\n".join(f"grid {path}: {name!r}; {nearest(name, known)}" for name in unknown))
    return {name: values if isinstance(values, list) else [values] for name, values in grid.items()}


def arms(run: Run, grid: Mapping[str, Sequence]) -> list[str]:
    """Names of the arms of a grid, each once, in an order that loads every checkpoint once.

    What the grid does not name: every grounding, the chosen template, and the guidance_scale of the
    comparison, unless a method has none; else the defaults of Arm. Without boxes grounded_fraction means
    nothing, and is 1; with image grounding there are no other layouts than the photos' own.
    Raises ParameterError listing every value that cannot be right, a template without prompts among them.
    """
    choice = run.read_json("choices/template.json")
    usual = {axis: [choice[axis] if axis in choice else getattr(Arm, axis, None)] for axis in AXES}
    usual["grounding"] = run.groundings
    knobs = {name: grid[name] for name in KNOBS if grid.get(name)}
    asked = {name for name in NEUTRAL if grid.get(name)}
    grid = {axis: list(grid.get(axis) or usual[axis]) for axis in AXES}
    files = (path for folder in ("prompts", "edits") for path in run.folder.glob(f"{folder}/*.jsonl"))
    templates = sorted(path.stem for path in files)
    check(templates, **{f"{axis}s": values for axis, values in grid.items()})
    if reading := [one for one in grid["grounding"] if METHODS[one].needs_photo]:
        run.require_photos(f"{METHODS[reading[0]].title}")
    grid["grounding"].sort(key=lambda grounding: grounding == "image")  # which has a checkpoint of its own
    names = {}
    for values in product(*grid.values(), *knobs.values()):
        settings = dict(zip((*AXES, *knobs), values, strict=True))
        more = {name: settings.pop(name) for name in knobs}
        if settings["grounding"] == "none":
            settings["grounded_fraction"] = 1
        lacks = settings.keys() & NEUTRAL.keys() - {*METHODS[settings["grounding"]].knobs} - asked
        settings |= {name: NEUTRAL[name] for name in lacks}
        if not (settings["layout"] and settings["grounding"] == "image"):
            names[Arm(**settings, knobs=more).name] = None
    return list(names)


def parse_knobs(texts: Sequence[str]) -> dict[str, list[float]]:
    """Knob -> values of each NAME=NUMBER. Raises ParameterError for what is written otherwise."""
    found: dict[str, list[float]] = {}
    for text in texts:
        name, _, value = text.partition("=")
        if name not in KNOBS:
            raise ParameterError(f"knob = {text!r}: {nearest(name, KNOBS)}")
        try:
            found.setdefault(name, []).append(float(value))
        except ValueError as error:
            raise ParameterError(f"knob = {text!r}: give {name}=NUMBER") from error
    return found


def write_sweep(run: Run, names: Sequence[str]) -> None:
    """Note the arms of a sweep in the run folder: a file for every list of arms."""
    name = hashlib.sha256(repr(sorted(names)).encode()).hexdigest()[:16]
    run.write_json(f"{FOLDER}/{name}.json", list(names))


def swept_arms(run: Run) -> list[str]:
    """Names of all arms of a run's sweeps, each once, made or not."""
    files = sorted((run.folder / FOLDER).glob("*.json"))
    return list(dict.fromkeys(name for path in files for name in run.read_json(f"{FOLDER}/{path.name}")))
