"""From a command's options to its work; what is wrong is said before a model is loaded or a run is begun."""

import argparse
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from helpers.models.sets import model_set
from helpers.parameters import ParameterError
from helpers.report import comparisons, export, languages
from helpers.runs import external
from helpers.runs.arms import check
from helpers.runs.protocol import at, scenes_of
from helpers.runs.run import Run
from helpers.scenes.problems import DatasetError
from helpers.scenes.scenes import read_scenes
from helpers.scoring.scores import ROUND_TRIP
from helpers.sweeps import grids, machine, plan, progress
from helpers.sweeps.settings import PROTOCOL, begin, check_count, describe, open_run, selection, settings_of
from helpers.sweeps.tasks import is_done
from helpers.sweeps.workers import Cluster, Workers

Work = Callable[[], Sequence[str]]  # what a command does once nothing speaks against it; returns failures


def report(options: argparse.Namespace) -> Work:
    """The whole study. Raises, as the others do, ParameterError or DatasetError for what cannot be right."""
    languages.check(options.language or languages.ENGLISH)
    joined = externals(options.external)
    folder, settings, known = settings_of(options)
    run = begin(folder, settings) if known else None
    scale = guidance(run, settings, options)
    if not (run and all(is_done(run, task) for task in plan.study(run, scale, joined))):
        pictures = plan.ARMS * len(scenes_of(settings)) - (run.count_pictures() if run else 0)
        _ready(Workers(1), settings, True, max(0, pictures), options)
    run = run or begin(folder, settings)
    tasks = plan.study(run, scale, joined)
    return lambda: _end(run, plan.make_report(run, tasks, Workers(1), options.language or ""))


def sweep(options: argparse.Namespace) -> Work:
    """More arms for a run that is there."""
    run, workers = open_run(options), _workers(options)
    names = asked_for(run, options)
    need = progress.Costs(run).need(names, workers.count)
    _ready(workers, run.card["protocol"], False, need.pictures, options)
    return lambda: _end(run, plan.sweep(run, names, workers, options.batch_size or 0))


def tune(options: argparse.Namespace) -> Work:
    """The cheapest setting that is not worse than the run's own."""
    run, scenes = open_run(options), plan.SCENES if options.scenes is None else options.scenes
    check_count("scenes", scenes)
    run.read_json("choices/template.json")  # the report's, without which there is nothing to tune
    _ready(Workers(1), run.card["protocol"], False, plan.SETTINGS * scenes, options)
    return lambda: plan.tune(run, Workers(1), scenes)


def dry_run(options: argparse.Namespace) -> Work:
    """What a sweep would take."""
    run = open_run(options)
    lines = progress.Costs(run).plan(asked_for(run, options), options.workers or 1)
    return lambda: print(*lines, sep="\n")


def status(options: argparse.Namespace) -> Work:
    """Which notebooks of the report are done, and what each arm has."""
    run = open_run(options)
    page = run.folder / "report.html"
    lines = progress.notebooks(run, plan.TITLES)
    lines += [f"  {'report.html':<32} {page.as_uri() if page.is_file() else 'not yet'}"]
    lines += progress.table(run, progress.states(run, asked_for(run, options)))
    return lambda: print(*lines, sep="\n")


def dataset(options: argparse.Namespace) -> Work:
    """A training set of a run's pictures, written before the lines about it are given."""
    if not options.to:
        raise ParameterError("to: name the folder of the training set (TO=my_set)")
    run = Run(options.run or "runs/demo")
    names = ("format", "iou", "crops", "val", "seed")
    given = {name: value for name in names if (value := getattr(options, name)) is not None}
    arms = options.arm or [comparisons.main_arm(run)]
    lines = export.export(run, arms, options.to, **given, every=bool(options.all))
    return lambda: print(*lines, sep="\n")


def study_detector(options: argparse.Namespace) -> Work:
    """Detectors trained on photos and on pictures, and the report with what came out."""
    run = Run(options.run or "runs/demo")
    given = {"arms": options.arm, "test_dataset": options.test, "steps": options.steps}
    given |= {"checkpoint": options.checkpoint, "qualified": False if options.all else None}
    tasks = plan.detector_study(**{name: value for name, value in given.items() if value is not None})
    return lambda: _end(run, plan.make_report(run, tasks, Workers(1)))


def check_data(options: argparse.Namespace) -> Work:
    """What a data set is; its problems are failures."""
    folder = options.dataset or PROTOCOL["dataset"]
    check(dataset=at(folder))

    def work() -> list[str]:
        try:
            scenes = read_scenes(at(folder), **selection(options))
        except DatasetError as error:
            return str(error).splitlines()
        boxes = [label for scene in scenes for label in scene.labels]
        print(f"{len(scenes):,} scenes, {len(boxes):,} boxes of {len(set(boxes)):,} labels in {folder}")
        describe(scenes)
        print("no problems")
        return []

    return work


def fetch(options: argparse.Namespace) -> Work:
    """Download a model set, by default the published one. What cannot be had is an error."""
    machine.fetch(options.models or "published", bool(options.safety))
    return list


def doctor(options: argparse.Namespace) -> Work:
    """What this machine can run."""
    lines = machine.doctor(bool(options.safety))
    return lambda: print(*lines, sep="\n")


COMMANDS = {"report": report, "sweep": sweep, "dry-run": dry_run, "status": status, "tune": tune}
COMMANDS |= {"dataset": dataset, "study-detector": study_detector}
COMMANDS |= {"check": check_data, "fetch": fetch, "doctor": doctor}


def guidance(run: Run | None, settings: dict, options: argparse.Namespace) -> float:
    """guidance_scale of a report's comparison: as given, as the run had it, or the model set's own."""
    scale = options.guidance
    if scale is None and run and run.has("choices/template.json"):
        scale = run.read_json("choices/template.json")["guidance_scale"]
    scale = model_set(settings["models"]).guidance_scale if scale is None else scale
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


def _workers(options: argparse.Namespace) -> Workers:
    """Where the notebooks of a sweep run. Raises ParameterError for a cluster that is not there."""
    return Cluster(options.cluster) if options.cluster else Workers(options.workers)


def _ready(
    workers: Workers, settings: dict, captions: bool, pictures: int, options: argparse.Namespace
) -> None:
    """Say what is short or slow where the notebooks will run; what is missing there is an error."""
    for note in workers.ask(machine.require, settings, captions, pictures, bool(options.yes)):
        print(f"  note: {note}", flush=True)


def _end(run: Run, failures: Sequence[str]) -> Sequence[str]:
    """The failures under a headline; where there are none, prints where the report lies, and its answers."""
    if failures:
        return [f"{len(failures)} failed; the same command tries again:", *failures]
    from helpers.report.answers import all_of

    print(f"report: {(run.folder / 'report.html').resolve().as_uri()}")
    for answer in all_of(run):
        print(f"  {answer.question} {' '.join(answer.short.split())}")
    return []
