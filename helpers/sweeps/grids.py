"""A grid: what a sweep varies, from a file or the command line, and the arms that it comes to."""

import hashlib
import tomllib
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path

from helpers.parameters import ParameterError, nearest
from helpers.runs.arms import Arm, check
from helpers.runs.run import Run

# the first varies slowest
AXES = ("grounding", "template", "grounded_fraction", "guidance_share", "guidance_scale", "seed", "layout")
FOLDER = "sweeps"  # of a run: the arms that were asked for, one file per grid
Grid = Mapping[str, Sequence]


def read(path: Path) -> dict[str, list]:
    """A TOML file with a list, or one value, for any of AXES.

    Raises ParameterError for a file that is absent or is no TOML, and for a name that is none of AXES.
    """
    try:
        grid = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise ParameterError(f"grid {path}: cannot be read ({error}); see README, Sweeps") from error
    if unknown := [name for name in grid if name not in AXES]:
        raise ParameterError("\n".join(f"grid {path}: {name!r}; {nearest(name, AXES)}" for name in unknown))
    return {name: values if isinstance(values, list) else [values] for name, values in grid.items()}


def arms(run: Run, grid: Grid) -> list[str]:
    """Names of the arms of a grid, each once, in an order that loads every checkpoint once.

    What the grid does not name: every grounding, the chosen template, full grounding, seed 0; and the
    guidance_scale of the comparison. Without boxes grounded_fraction means nothing, and is 1; with image
    grounding there are no other layouts than the photos' own.
    Raises ParameterError listing every value that cannot be right, a template without prompts among them.
    """
    choice = run.read_json("choices/template.json")
    usual = {
        "grounding": run.groundings,
        "template": [choice["template"]],
        "grounded_fraction": [1.0],
        "guidance_share": [1.0],
        "guidance_scale": [choice["guidance_scale"]],
        "seed": [0],
        "layout": [""],
    }
    grid = {name: list(grid.get(name) or usual[name]) for name in AXES}
    templates = sorted(path.stem for path in (run.folder / "prompts").glob("*.jsonl"))
    check(templates, **{f"{name}s": values for name, values in grid.items()})
    if "image" in grid["grounding"]:
        run.require_photos("image grounding")
    grid["grounding"].sort(key=lambda grounding: grounding == "image")  # which has a checkpoint of its own
    settings = [dict(zip(AXES, values, strict=True)) for values in product(*grid.values())]
    settings = [one for one in settings if not (one["layout"] and one["grounding"] == "image")]
    for one in settings:
        one["grounded_fraction"] = 1 if one["grounding"] == "none" else one["grounded_fraction"]
    return list(dict.fromkeys(Arm(**one).name for one in settings))


def remember(run: Run, names: Sequence[str]) -> None:
    """Note in the run folder that these arms were asked for: a file for every list of arms."""
    name = hashlib.sha256(repr(sorted(names)).encode()).hexdigest()[:16]
    run.write_json(f"{FOLDER}/{name}.json", list(names))


def remembered(run: Run) -> list[str]:
    """All arms that sweeps of this run were asked for."""
    files = sorted((run.folder / FOLDER).glob("*.json"))
    return list(dict.fromkeys(name for path in files for name in run.read_json(f"{FOLDER}/{path.name}")))
