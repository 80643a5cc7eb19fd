"""A study is notebooks in order on one run folder; a sweep is more arms for it."""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from helpers.generation.draw import series
from helpers.models.sets import model_set
from helpers.parameters import ParameterError
from helpers.report import tables
from helpers.report.comparisons import second_seed_arms
from helpers.runs.arms import check
from helpers.runs.protocol import at, protocol
from helpers.runs.run import Run
from helpers.sweeps import grids, progress
from helpers.sweeps.options import read_options
from helpers.sweeps.tasks import ELSEWHERE, FAILED, Task, perform
from helpers.sweeps.workers import Cluster, Processes, Workers

REPORT = "06_visual_comparison"
QUIET = {"progress": False}  # bars are for who watches; in an executed notebook they are litter
SWEEP = (1.0, 2.0, 5.0, 11.0)  # guidance_scales that every report shows beside it
STOPPED = "stopped; what is made is kept, and the same command goes on from there"


def study(run: Run, guidance: float, external: Mapping[str, str]) -> Iterator[Task]:
    """The notebooks of a report; what one of them chose is read when the next one is due."""
    asked = ("dataset", "models", "steps", "scheduler", "fit", "beams", "safety")
    yield Task("00_overview", parameters={name: run.card["protocol"][name] for name in asked})
    yield Task("01_captioning")
    yield Task("02_template_comparison", parameters={"guidance_scale": guidance, **QUIET})
    yield Task("03_gligen_grounding", parameters=QUIET)
    curves = grids.arms(run, {"grounding": ["text", "image"], "guidance_scale": SWEEP})
    yield Task("03_gligen_grounding", "03_more_arms", {"arms": curves + second_seed_arms(run), **QUIET})
    yield Task("04_fid", parameters={"external": dict(external)})
    yield from closing()


def closing() -> Iterator[Task]:
    """What shows the scores of all arms."""
    yield from (Task("05_guidance_sweep"), Task(REPORT))


def arm_tasks(names: Sequence[str], together: bool = False, batch_size: int = 0) -> list[Task]:
    """A notebook run an arm, so that one that fails stops no other; or one for each series of arms."""
    parameters = {"together": together, "batch_size": batch_size, "keep_models": True, **QUIET}
    groups = series(names) if together else [[name] for name in names]
    titles = [f"{group[0]}+{len(group) - 1}" if len(group) > 1 else group[0] for group in groups]
    return [
        Task("03_gligen_grounding", f"arms/{title}", {"arms": group, **parameters})
        for title, group in zip(titles, groups, strict=True)
    ]


def make_report(run: Run, tasks: Iterator[Task]) -> list[str]:
    """Run what is not done, a line a notebook on the terminal; the first failure ends it and is returned."""
    for task in tasks:
        print(f"  {task.title:<32}", end="", flush=True)
        outcome = perform(run.folder, task)
        print(progress.told(outcome), flush=True)
        if outcome.what == FAILED:
            return [progress.failure(task.title, outcome)]
    _render(run)
    return []


def sweep(run: Run, tasks: Sequence[Task], workers: Workers) -> list[str]:
    """Carry out the arms, a line an arm as it ends, then scores, curves and report; returns the failures."""
    with workers:
        failures = draw_arms(run, tasks, workers)
        for task in (Task("04_fid"), *closing()):
            for _, outcome in workers.carry_out(partial(perform, run.folder), [task]):
                print(f"  {task.title:<38} {progress.told(outcome)}", flush=True)
            if outcome.what == FAILED:
                return [*failures, progress.failure(task.title, outcome)]
    _render(run)
    return failures


def draw_arms(run: Run, tasks: Sequence[Task], workers: Workers) -> list[str]:
    """Arms that another sweep is at come last, when there is nothing else to do but wait for them."""
    names = [name for task in tasks for name in task.arms]
    lines = progress.Lines(len(tasks), progress.Costs(run).need(names).pictures)
    failures = []
    for wait in (False, True):
        later = []
        for task, outcome in workers.carry_out(partial(perform, run.folder, wait=wait), tasks):
            if outcome.what == ELSEWHERE:
                later.append(task)
                continue
            if outcome.what == FAILED:
                failures.append(progress.failure(task.title, outcome))
            print(lines.line(task.title, outcome), flush=True)
        tasks = later
    return failures


def _render(run: Run) -> None:
    executed, page = run.folder / "notebooks" / f"{REPORT}.ipynb", run.folder / "report.html"
    if not page.is_file() or page.stat().st_mtime < executed.stat().st_mtime:
        tables.render(executed, page)


def start(options: argparse.Namespace) -> Run:
    """The run that the command line asks for; what is wrong with it is said before a model is loaded."""
    options.guidance = options.guidance or [model_set(options.models).guidance_scale]
    counts = {"workers": options.workers, "batch_size": options.batch_size}
    given = {name: value for name, value in counts.items() if value is not None}
    check(**given | ({"guidance_scale": options.guidance[0]} if options.what == "report" else {}))
    suffix = "" if options.models == "demo" else f"-{options.models}"
    folder = options.run or f"runs/{at(options.dataset).resolve().name}{suffix}"
    settings = protocol(options.dataset, options.models, options.steps, safety=bool(options.safety))
    if options.what == "sweep" and not (at(folder) / "run.json").is_file():
        raise ParameterError(
            f"run = {folder!r}: no run there yet; a sweep adds arms to a report: make it first"
        )
    run = Run.open(folder, **settings)
    print(f"{len(run.scenes)} scenes of {options.dataset}, {options.models} models -> {folder}", flush=True)
    return run


def asked_for(run: Run, options: argparse.Namespace) -> list[str]:
    """Names of the arms that the command line asks for, by a grid file, options, or neither."""
    grid = (grids.read(Path(options.grid)) if options.grid else {}) | options.axes
    if options.status and not grid:
        return grids.remembered(run)
    return grids.arms(run, grid or {"guidance_scale": SWEEP})


def run_sweep(run: Run, names: Sequence[str], options: argparse.Namespace) -> list[str]:
    """Print what the arms are at or what they take, or make them; returns the failures."""
    if options.status:
        print(*progress.table(progress.states(run, names), len(run.scenes)), sep="\n")
        return []
    if options.dry_run:
        print(*progress.Costs(run).plan(names, options.workers or 1), sep="\n")
        return []
    workers = Cluster(options.cluster) if options.cluster else Processes(options.workers)
    grids.remember(run, names)
    print(f"{progress.Costs(run).need(names, workers.count).sentence(run)}; {workers.name}", flush=True)
    return sweep(run, arm_tasks(names, options.together, options.batch_size or 0), workers)


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0 when everything is done, 1 when a notebook failed, 2 when nothing could start, 130 when
    it was stopped from the keyboard."""
    options = read_options(arguments, __doc__)
    try:
        run = start(options)
        names = asked_for(run, options) if options.what == "sweep" else []
    except (ValueError, FileNotFoundError) as error:
        return _say(2, f"error: {error}")
    try:
        if options.what == "sweep":
            failures = run_sweep(run, names, options)
        else:
            external = dict(text.split("=", 1) for text in options.external)
            failures = make_report(run, study(run, options.guidance[0], external))
    except ParameterError as error:  # a cluster that is not there
        return _say(2, f"error: {error}")
    except KeyboardInterrupt:
        return _say(130, f"\n{STOPPED}")
    if failures:
        return _say(1, f"{len(failures)} failed; the same command tries them again:", *failures)
    if not (options.dry_run or options.status):
        print(f"report: {run.folder / 'report.html'}")
    return 0


def _say(status: int, *lines: str) -> int:
    print(*lines, sep="\n  ", file=sys.stderr)
    return status
