"""The settings that a command's options name: a run folder, its protocol, and which scenes of a data set."""

import argparse
import math
import re
from collections.abc import Sequence
from inspect import signature

from helpers.models.sets import model_set
from helpers.parameters import ParameterError, number
from helpers.runs import external
from helpers.runs.arms import check
from helpers.runs.protocol import FEWEST, at, protocol
from helpers.runs.run import Run
from helpers.scenes.scenes import Scenes

USUAL = {"dataset": "data/demo", "models": "demo"}
NAMES = [name for name in signature(protocol).parameters if name not in ("selection", "wait")]  # of options
EVERY = {"split": None, "limit": None, "seed": 0, "labels": {}, "skip_bad": False}  # selects all scenes


def given(options: argparse.Namespace, *names: str, **renamed: str) -> dict[str, object]:
    """The options that were given, by their own names or by those that they have elsewhere (name=option)."""
    every = {name: name for name in names} | renamed
    found = {name: getattr(options, option) for name, option in every.items()}
    return {name: value for name, value in found.items() if value is not None}


def protocol_of(options: argparse.Namespace) -> tuple[str, dict, bool]:
    """The folder of the run that the options name, its protocol, and whether it is there already; of one that
    is there only what is given must agree. Raises ParameterError naming each value that cannot be right."""
    own, chosen = given(options, *NAMES), selection(options)
    own |= {"safety": bool(own["safety"])} if "safety" in own else {}
    named = USUAL | own
    parts = [at(named["dataset"]).resolve().name, chosen.get("split"), chosen.get("limit")]
    parts += [named["models"]] if named["models"] != "demo" else []
    folder = options.run or f"runs/{'-'.join(str(part) for part in parts if part)}"
    if not (known := _known(folder)):
        if options.command != "report":
            missing = "no run there yet; `report` makes one, and then takes more arms"
            raise ParameterError(f"run = {folder!r}: {missing}")
        return folder, protocol(**named, selection=chosen), False
    before = EVERY | known.get("selection", {}) | known
    different = [  # `Run.open` compares those that have several spellings
        f"{name} = {value!r}: {folder} was made with {before.get(name)!r}; leave it out, or name another run"
        for name, value in {**own, **chosen}.items()
        if value != before.get(name) and name not in ("dataset", "detector", "detector_labels")
    ]
    if different:
        raise ParameterError("\n".join(different))
    settings = {name: known[name] for name in NAMES if name in known} | own
    return folder, protocol(**settings, selection=known.get("selection")), True


def begin(folder: str, settings: dict) -> Run:
    """The run of that protocol, begun where there is none; says what its photos are."""
    run = Run.open(folder, **settings)
    about = f"{len(run.scenes)} scenes of {settings['dataset']}, {settings['models']} models -> {folder}"
    print(about, flush=True)
    describe(run.scenes)
    return run


def open_run(options: argparse.Namespace) -> Run:
    """The run that the options name."""
    return begin(*protocol_of(options)[:2])


def describe(scenes: Scenes) -> None:
    """Print what was recognised, and a line for each cause of what was put in order or left out."""
    print(f"  {scenes.format}", *(f"  note: {note}" for note in scenes.notes), sep="\n", flush=True)


def _known(folder: str) -> dict:
    """The protocol of the run in that folder; empty where there is none."""
    path = at(folder)
    if file := next((place for place in (path, *path.parents) if place.is_file()), None):
        raise ParameterError(f"run = {folder!r}: {file} is a file; name a folder (RUN=runs/another)")
    return Run(path).card["protocol"] if (path / "run.json").is_file() else {}


def selection(options: argparse.Namespace) -> dict[str, object]:
    """Which scenes of the data set, as keywords of `read_scenes`: those that are given."""
    chosen = given(options, "split", "limit", seed="sample_seed")
    if "limit" in chosen:
        check_count("limit", options.limit)
    if labels := _labels(options.labels or ""):
        chosen["labels"] = labels
    return chosen | ({"skip_bad": True} if options.skip_bad else {})


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


def guidance(run: Run | None, protocol: dict, options: argparse.Namespace) -> float:
    """guidance_scale of a report's comparison: as given, as the run had it, or the model set's own."""
    scale = options.guidance
    if scale is None and run and run.has("choices/template.json"):
        scale = run.read_json("choices/template.json")["guidance_scale"]
    scale = model_set(protocol["models"]).guidance_scale if scale is None else scale
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
