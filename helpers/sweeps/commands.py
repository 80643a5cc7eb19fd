"""From a command's options to its work; what is wrong is said before a model is loaded or a run is begun."""

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from helpers.captioning import attributes, edits, layout_prompts
from helpers.parameters import ParameterError, nearest
from helpers.report import comparisons, export, languages
from helpers.report.methods import lacking
from helpers.runs.arms import Arm, check
from helpers.runs.methods import METHODS
from helpers.runs.protocol import at, scenes_of
from helpers.runs.run import Run
from helpers.scenes.problems import DatasetError
from helpers.scenes.scenes import read_scenes
from helpers.scoring.scores import ROUND_TRIP
from helpers.sweeps import grids, machine, plan, progress, settings
from helpers.sweeps.settings import given, open_run
from helpers.sweeps.tasks import Task, is_done
from helpers.sweeps.workers import Cluster, Workers

Work = Callable[[], Sequence[str]]  # what a command does once nothing speaks against it; returns failures


def report(options: argparse.Namespace) -> Work:
    """The whole study. Raises, as the others do, ParameterError or DatasetError for what cannot be right."""
    languages.check(options.language or languages.ENGLISH)
    joined = settings.externals(options.external)
    folder, protocol, is_known = settings.protocol_of(options)
    run = settings.begin(folder, protocol) if is_known else None
    scale = settings.guidance(run, protocol, options)
    if not (run and all(is_done(run, task) for task in plan.study(run, scale, joined))):
        pictures = plan.ARMS * len(scenes_of(protocol)) - (run.count_pictures() if run else 0)
        _require(options, Workers(1), protocol, max(0, pictures))
    run = run or settings.begin(folder, protocol)
    language = options.language or ""
    return lambda: _end(run, plan.report(run, plan.study(run, scale, joined)), language)


def sweep(options: argparse.Namespace) -> Work:
    """More arms for a run that is there."""
    run = open_run(options)
    workers = Cluster(options.cluster) if options.cluster else Workers(options.workers)
    names = arms_of(run, options)
    need = progress.Costs(run).need(names, workers.count)
    _require(options, workers, run.card["protocol"], need.pictures, names)
    print(f"{need.sentence(run)}; {workers.name}", flush=True)
    return lambda: _end(run, plan.sweep(run, names, workers, options.batch_size or 0))


def tune(options: argparse.Namespace) -> Work:
    """The cheapest setting that is not worse than the run's own."""
    run, scenes = open_run(options), plan.SCENES if options.scenes is None else options.scenes
    settings.check_count("scenes", scenes)
    run.require_photos("the search for a cheaper setting, which is no worse in realism,")
    run.read_json("choices/template.json")  # the report's, without which there is nothing to tune
    _require(options, Workers(1), run.card["protocol"], plan.SETTINGS * scenes)

    def work() -> list[str]:
        failures = plan.report(run, [Task(plan.TUNE, parameters={"scenes": scenes, **plan.QUIET})])
        if not failures:
            found = run.read_json(f"{plan.TUNE}/{scenes}/cost.json")
            print(found["sentence"], *found["lines"], sep="\n  ")
        return failures

    return work


def edit(options: argparse.Namespace) -> Work:
    """Edit sets of a run, and the report with what came out."""
    run = open_run(options)
    run.require_photos("an edit")
    protocol, known = run.card["protocol"], edits.names(run.card["protocol"]["dataset"])
    chosen = options.edits or [name for name in known if name not in edits.GLOBAL]
    if not chosen or (unknown := [name for name in chosen if name not in known]):
        none = f"this data set has none of its own; name one of {', '.join(known)}"
        said = nearest(unknown[0], known) if chosen else none
        raise ParameterError(f"edits = {', '.join(chosen)!r}: {said}")
    scale = settings.guidance(run, protocol, options)
    tasks = [plan.edit(run, name, scale) for name in chosen]
    _require(options, Workers(1), protocol, sum(len(task.arms) for task in tasks) * len(run.scenes))
    return lambda: _end(run, plan.report(run, [*tasks, Task(plan.REPORT)]))


def tokens(options: argparse.Namespace) -> Work:
    """Inclusive tokens, learnt before the lines about them are given, and what draws with them."""
    from helpers.generation.tokens import learn  # here, for it waits for torch

    if not (name := options.attribute):
        raise ParameterError("attribute: name a field of annotations.json, or give photos, too, and any name")
    run = open_run(options)
    about = learn(run, name, options.photos or "")
    lines = [f"{', '.join(about['tokens'])}: {about['seconds']} s of training, in {run.folder / 'tokens'}"]
    lines += [f"  CLIP names {about['right']:.2f} of the reference photos rightly"]
    lines += [f"  grounded sweep --run {run.folder} --template {' '.join(attributes.templates(name))}"]
    return partial(print, *lines, sep="\n")


def methods(options: argparse.Namespace) -> Work:
    """Every method that can draw the same scenes, and the report with what came out."""
    run = open_run(options)
    if not (tasks := [*plan.methods(run, quick=False)]):
        reasons = (f"{METHODS[name].title}: {why}" for name, why in lacking(run).items() if why)
        raise ParameterError("\n  ".join(["no method but the study's can draw here", *reasons]))
    _require(options, Workers(1), run.card["protocol"], progress.Costs(run).need(tasks[0].arms).pictures)
    return lambda: _end(run, plan.report(run, [*tasks, Task(plan.REPORT)]))


def dry_run(options: argparse.Namespace) -> Work:
    """What a sweep would take."""
    run = open_run(options)
    return partial(print, *progress.Costs(run).plan(arms_of(run, options), options.workers or 1), sep="\n")


def status(options: argparse.Namespace) -> Work:
    """Which notebooks of the report are done, and what each arm has."""
    run = open_run(options)
    lines = [*progress.notebooks(run, plan.TITLES), *progress.table(run, arms_of(run, options))]
    return partial(print, *lines, sep="\n")


def dataset(options: argparse.Namespace) -> Work:
    """A training set of a run's pictures, written before the lines about it are given."""
    if not options.to:
        raise ParameterError("to: name the folder of the training set (TO=my_set)")
    run = Run(options.run or "runs/demo")
    rules = given(options, "format", "iou", "crop_accuracy", "val", "seed")
    arms = options.arm or [comparisons.main_arm(run)]
    return partial(print, *export.export(run, arms, options.to, **rules, every=bool(options.all)), sep="\n")


def study_detector(options: argparse.Namespace) -> Work:
    """Detectors trained on photos and on pictures, and the report with what came out."""
    run = Run(options.run or "runs/demo")
    parameters = plan.QUIET | given(options, "steps", "checkpoint", arms="arm", test_dataset="test")
    parameters |= {"qualified": False} if options.all else {}
    tasks = [Task("10_training", parameters=parameters), Task(plan.REPORT)]
    return lambda: _end(run, plan.report(run, tasks))


def check_data(options: argparse.Namespace) -> Work:
    """What a data set is; its problems are failures."""
    folder = options.dataset or settings.USUAL["dataset"]
    check(dataset=at(folder))

    def work() -> list[str]:
        try:
            scenes = read_scenes(at(folder), **settings.selection(options))
        except DatasetError as error:
            return str(error).splitlines()
        boxes = [label for scene in scenes for label in scene.labels]
        print(f"{len(scenes):,} scenes, {len(boxes):,} boxes of {len(set(boxes)):,} labels in {folder}")
        settings.describe(scenes)
        print("no problems")
        return []

    return work


def fetch(options: argparse.Namespace) -> Work:
    """Download a model set, by default the published one. What cannot be had is an error."""
    check(groundings=options.grounding or ["none"])
    machine.fetch(options.models or "published", bool(options.safety), options.grounding or ())
    return list


def prompts(options: argparse.Namespace) -> Work:
    """Layout prompts for generators elsewhere, written before the lines about them are given."""
    run, template = Run(options.run or "runs/demo"), options.template or ""
    if options.upsampled:
        return partial(print, *layout_prompts.bring_upsampled(run, options.upsampled, template), sep="\n")
    if not options.to:
        raise ParameterError("to: name the folder of the prompts (TO=my_prompts)")
    chosen = given(options, "format", "template", "size")
    return partial(print, *layout_prompts.write(run, options.to, **chosen), sep="\n")


def doctor(options: argparse.Namespace) -> Work:
    """What this machine can run."""
    return partial(print, *machine.doctor(bool(options.safety)), sep="\n")


COMMANDS = {"report": report, "sweep": sweep, "dry-run": dry_run, "status": status, "tune": tune}
COMMANDS |= {"edit": edit, "tokens": tokens, "methods": methods, "dataset": dataset}
COMMANDS |= {"study-detector": study_detector, "prompts": prompts, "check": check_data}
COMMANDS |= {"fetch": fetch, "doctor": doctor}


def arms_of(run: Run, options: argparse.Namespace) -> list[str]:
    """Names of the arms that a grid file or options name; without either, those of the report's curves, or,
    for a status, all that the run has or that its sweeps named."""
    check(**given(options, "workers", "batch_size"))
    grid = grids.read(Path(options.grid)) if options.grid else {}
    grid |= given(options, "grounding", "template", "guidance_share", "seed", "layout")
    grid |= given(options, grounded_fraction="fraction", guidance_scale="guidance")
    grid |= grids.parse_knobs(options.knob or ())
    if options.command == "status" and not grid:
        drawn = [name for name in run.arms() if name != ROUND_TRIP]
        return list(dict.fromkeys([*drawn, *grids.swept_arms(run)]))
    return grids.arms(run, grid or {"guidance_scale": plan.SWEEP})


def _require(
    options: argparse.Namespace, workers: Workers, protocol: dict, pictures: int, arms: Sequence[str] = ()
) -> None:
    """Say what is short or slow where the notebooks will run; what is missing there is an error."""
    groundings, captions = sorted({Arm.parse(arm).grounding for arm in arms}), options.command == "report"
    for note in workers.ask(machine.require, protocol, captions, pictures, bool(options.yes), groundings):
        print(f"  note: {note}", flush=True)


def _end(run: Run, failures: Sequence[str], language: str = "") -> Sequence[str]:
    """The failures under a headline; where there are none, prints where the report lies, and its answers.

    language: of the page; "" for the one that it has."""
    from helpers.report.page import refresh  # here, because pages take a while to import

    page = run.folder / "report.html"
    if folder := refresh(run.folder / "notebooks" / f"{plan.REPORT}.ipynb", page, language):
        print(f"pictures of {page.name}, too many for one file: {folder} (goes where the page goes)")
    if failures:
        return [f"{len(failures)} failed; the same command tries again:", *failures]
    from helpers.report.answers import all_of

    print(f"report: {page.resolve().as_uri()}")
    for answer in all_of(run):
        print(f"  {answer.question} {' '.join(answer.short.split())}")
    return []
