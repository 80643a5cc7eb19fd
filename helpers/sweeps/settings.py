"""The settings that a command's options name: a run folder, its protocol, and which scenes of a data set."""

import argparse
import json
import math
import re

from helpers.parameters import ParameterError, number
from helpers.runs.arms import check
from helpers.runs.protocol import FEWEST, at, protocol
from helpers.runs.run import Run
from helpers.scenes.scenes import Scenes

PROTOCOL = {"dataset": "data/demo", "models": "demo", "steps": None, "scheduler": None}  # and the defaults
PROTOCOL |= {"fit": "squash", "beams": 4, "safety": False}
PROTOCOL |= {"crops": "squash", "detector": "", "detector_labels": ""}


def settings_of(options: argparse.Namespace) -> tuple[str, dict, bool]:
    """The folder of the run that the options name, its protocol, and whether it is there already; of one that
    is there only what is given must agree. Raises ParameterError naming each value that cannot be right."""
    given = {name: value for name in PROTOCOL if (value := getattr(options, name)) is not None}
    given |= {"safety": bool(given["safety"])} if "safety" in given else {}
    named, chosen = PROTOCOL | given, selection(options)
    parts = [at(named["dataset"]).resolve().name, chosen.get("split"), chosen.get("limit")]
    parts += [named["models"]] if named["models"] != "demo" else []
    folder = options.run or f"runs/{'-'.join(str(part) for part in parts if part)}"
    known = _known(folder)
    if not known and options.command != "report":
        raise ParameterError(
            f"run = {folder!r}: no run there yet; `report` makes one, and then takes more arms"
        )
    if "dataset" in given and known and at(given["dataset"]).resolve() == at(known["dataset"]).resolve():
        given["dataset"] = known["dataset"]
    before = {"split": None, "limit": None, "seed": 0, "labels": {}, "skip_bad": False}
    before |= known.get("selection", {})
    different = [
        f"{name} = {value!r}: {folder} was made with {was.get(name)!r}; leave it out, or name another run"
        for wanted, was in ((given, known), (chosen, before))
        for name, value in wanted.items()
        if known and value != was.get(name) and not name.startswith("detector")  # Run.open compares these
    ]
    checked = ("models", "scheduler", "fit", "beams", "crops")
    check(**{name: named[name] for name in checked if named[name] is not None})
    if different:
        raise ParameterError("\n".join(different))
    settings = PROTOCOL | {name: known[name] for name in PROTOCOL if name in known} | given
    return folder, protocol(**settings, selection=known.get("selection") if known else chosen), bool(known)


def begin(folder: str, settings: dict) -> Run:
    """The run of that protocol, begun where there is none; says what its photos are."""
    run = Run.open(folder, **settings)
    about = f"{len(run.scenes)} scenes of {settings['dataset']}, {settings['models']} models -> {folder}"
    print(about, flush=True)
    describe(run.scenes)
    return run


def open_run(options: argparse.Namespace) -> Run:
    """The run that the options name."""
    return begin(*settings_of(options)[:2])


def describe(scenes: Scenes) -> None:
    """Print what was recognised, and a line for each cause of what was put in order or left out."""
    print(f"  {scenes.format}", *(f"  note: {note}" for note in scenes.notes), sep="\n", flush=True)


def _known(folder: str) -> dict:
    """The protocol of the run in that folder; empty where there is none."""
    path = at(folder)
    if file := next((place for place in (path, *path.parents) if place.is_file()), None):
        raise ParameterError(f"run = {folder!r}: {file} is a file; name a folder (RUN=runs/another)")
    card = path / "run.json"
    return json.loads(card.read_text(encoding="utf-8"))["protocol"] if card.is_file() else {}


def selection(options: argparse.Namespace) -> dict[str, object]:
    """Which scenes of the data set, as keywords of `read_scenes`: those that are given."""
    given = {"split": options.split, "limit": options.limit, "seed": options.sample_seed}
    given |= {"labels": _labels(options.labels or "") or None, "skip_bad": bool(options.skip_bad) or None}
    if options.limit is not None:
        check_count("limit", options.limit)
    return {name: value for name, value in given.items() if value is not None}


def _labels(text: str) -> dict[str, str | None]:
    """`hat=helmet vest=` as {"hat": "helmet", "vest": None}: renamed, and left out."""
    pairs = [pair.strip() for pair in (text.split(",") if "," in text else text.split()) if pair.strip()]
    for pair in pairs:
        if not re.fullmatch("[^=]+=[^=]*", pair):
            said = "give OLD=NEW, or OLD= to leave its boxes out; a comma between those with blanks in a name"
            raise ParameterError(f"labels = {pair!r}: {said}")
    return {old.strip(): new.strip() or None for old, _, new in (pair.partition("=") for pair in pairs)}


def check_count(name: str, value: int) -> None:
    """Raises ParameterError for a number of scenes that is too small to measure anything."""
    if advice := number(int, FEWEST, math.inf, f"give a whole number, at least {FEWEST}")(value):
        raise ParameterError(f"{name} = {value!r}: {advice}")
