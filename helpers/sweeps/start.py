"""From a command's options to a run and its work; what is wrong is said before a model is loaded."""

import argparse
import json
import re
from collections.abc import Sequence
from pathlib import Path

from helpers.models.sets import model_set
from helpers.parameters import ParameterError
from helpers.runs import external
from helpers.runs.arms import check
from helpers.runs.protocol import at, protocol
from helpers.runs.run import Run
from helpers.scenes.scenes import read_scenes
from helpers.scoring.scores import ROUND_TRIP
from helpers.sweeps import grids, plan, progress
from helpers.sweeps.workers import Cluster, Workers

PROTOCOL = {"dataset": "data/demo", "models": "demo", "steps": None, "scheduler": "pndm"}  # and the defaults
PROTOCOL |= {"fit": "squash", "beams": 4, "safety": False}
PROTOCOL |= {"crops": "squash", "detector": "", "detector_labels": ""}


def open_run(options: argparse.Namespace) -> Run:
    """The run that the options name: one that is there, of which only what is given must agree, or a new one.

    Raises ParameterError naming each value that cannot be right, and what the reading of the photos raises.
    """
    given = {name: value for name in PROTOCOL if (value := getattr(options, name)) is not None}
    if "safety" in given:
        given["safety"] = bool(given["safety"])
    named = PROTOCOL | given
    suffix = "" if named["models"] == "demo" else f"-{named['models']}"
    folder = options.run or f"runs/{at(named['dataset']).resolve().name}{suffix}"
    known = _known(folder)
    if not known and options.command != "report":
        raise ParameterError(
            f"run = {folder!r}: no run there yet; `report` makes one, and then takes more arms"
        )
    if "dataset" in given and known and at(given["dataset"]).resolve() == at(known["dataset"]).resolve():
        given["dataset"] = known["dataset"]
    different = [
        f"{name} = {value!r}: {folder} was made with {known.get(name)!r}; leave it out, or name another run"
        for name, value in given.items()
        if known and value != known.get(name) and not name.startswith("detector")  # Run.open compares these
    ]
    check(**{name: named[name] for name in ("models", "scheduler", "fit", "beams", "crops")})
    if options.command == "report" and options.guidance is not None:
        check(guidance_scale=options.guidance)
    if different:
        raise ParameterError("\n".join(different))
    settings = protocol(**PROTOCOL | {name: known[name] for name in PROTOCOL if name in known} | given)
    if not known:
        read_scenes(at(settings["dataset"]))  # so that a folder with mistakes begins no run
    run = Run.open(folder, **settings)
    print(
        f"{len(run.scenes)} scenes of {settings['dataset']}, {settings['models']} models -> {folder}",
        flush=True,
    )
    return run


def _known(folder: str) -> dict:
    """The protocol of the run in that folder; empty where there is none."""
    path = at(folder)
    if file := next((place for place in (path, *path.parents) if place.is_file()), None):
        raise ParameterError(f"run = {folder!r}: {file} is a file; name a folder (RUN=runs/another)")
    card = path / "run.json"
    return json.loads(card.read_text(encoding="utf-8"))["protocol"] if card.is_file() else {}


def guidance(run: Run, options: argparse.Namespace) -> float:
    """guidance_scale of a report's comparison: as given, as the run had it, or the model set's own."""
    scale = options.guidance
    if scale is None and run.has("choices/template.json"):
        scale = run.read_json("choices/template.json")["guidance_scale"]
    if scale is None:
        scale = model_set(run.card["protocol"]["models"]).guidance_scale
    check(guidance_scale=scale)
    return scale


def externals(texts: Sequence[str]) -> dict[str, str]:
    """Name -> folder of each NAME=FOLDER; several may stand in one text, and a folder may have blanks.

    Raises ParameterError for what is written otherwise, a name of an own arm, a folder without pictures.
    """
    found = {}
    for text in (one for several in texts for one in re.split(r"\s+(?=[\w.-]+=)", several.strip())):
        name, _, folder = text.partition("=")
        external.check(name, folder)
        found[name] = folder
    return found


def asked_for(run: Run, options: argparse.Namespace) -> list[str]:
    """Names of the arms that a grid file or options ask for; without either, those of the report's curves."""
    counts = {"workers": options.workers, "batch_size": options.batch_size}
    check(**{name: value for name, value in counts.items() if value is not None})
    names = {"grounded_fraction": "fraction", "guidance_scale": "guidance"}
    given = {axis: getattr(options, names.get(axis, axis)) for axis in grids.AXES}
    grid = grids.read(Path(options.grid)) if options.grid else {}
    grid |= {axis: values for axis, values in given.items() if values}
    if options.command == "status" and not grid:
        drawn = [name for name in run.arms() if name != ROUND_TRIP]
        return list(dict.fromkeys([*drawn, *grids.remembered(run)]))
    return grids.arms(run, grid or {"guidance_scale": plan.SWEEP})


def dry_run(run: Run, names: Sequence[str], options: argparse.Namespace) -> list[str]:
    """Lines for a terminal: what the arms would take."""
    return progress.Costs(run).plan(names, options.workers or 1)


def status(run: Run, names: Sequence[str]) -> list[str]:
    """Lines for a terminal: which notebooks of the report are done, and what each arm has."""
    page = run.folder / "report.html"
    lines = progress.notebooks(run, plan.TITLES)
    lines += [f"  {'report.html':<32} {page.as_uri() if page.is_file() else 'not yet'}"]
    return lines + progress.table(run, progress.states(run, names))


def workers(options: argparse.Namespace) -> Workers:
    """Where the notebooks of a sweep run. Raises ParameterError for a cluster that is not there."""
    return Cluster(options.cluster) if options.cluster else Workers(options.workers)
