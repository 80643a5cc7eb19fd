"""A study is notebooks in order on one run folder; a sweep is more arms for it."""

import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from inspect import signature

from tqdm import tqdm

from helpers.captioning import edits
from helpers.captioning.prompts import TEMPLATES
from helpers.report.comparisons import grounding_arms
from helpers.report.edits import arms as edit_arms
from helpers.report.methods import arms as method_arms
from helpers.runs.arms import Arm
from helpers.runs.protocol import protocol
from helpers.runs.run import Run
from helpers.sweeps import grids
from helpers.sweeps.tasks import ELSEWHERE, FAILED, Task
from helpers.sweeps.workers import Workers

REPORT, TUNE, EDIT, METHODS = "06_visual_comparison", "09_cost", "07_edits", "08_methods"
EDITS = "recolour"  # the edit set that a report shows where the data set has it
QUIET = {"progress": False}  # bars are for who watches; in an executed notebook they are litter
SWEEP = (1.0, 2.0, 5.0, 11.0)  # guidance_scales that every report shows beside its own
ARMS = len(TEMPLATES) + 2 + 2 * len(SWEEP) + 3  # of the study alone, without edits and other methods, at most
SCENES, SETTINGS = 24, 25  # of a search for the cheapest setting: by default, and about so many settings
BAR = "{n_fmt} of {total_fmt} pictures, {rate_fmt}, {remaining} left"
TITLES = ("00_overview", "01_captioning", "02_template_comparison", "03_gligen_grounding")
TITLES += ("03_more_arms", METHODS, "04_fid", "05_guidance_sweep", REPORT)


def study(run: Run, guidance: float, external: Mapping[str, str]) -> Iterator[Task]:
    """The notebooks of a report; what one of them chose is read when the next one is due."""
    known, names = run.card["protocol"], signature(protocol).parameters
    yield Task("00_overview", parameters={name: known[name] for name in names if name in known})
    yield Task("01_captioning")
    compared = tuple(Arm(template, "text", guidance).name for template in TEMPLATES)
    yield Task("02_template_comparison", "", {"guidance_scale": guidance, **QUIET}, compared)
    yield Task("03_gligen_grounding", "", QUIET, tuple(grounding_arms(run)))
    boxes = [kind for kind in run.groundings if kind != "none"]
    curves = grids.arms(run, {"grounding": boxes, "guidance_scale": SWEEP})
    yield _drawing([*curves, *grounding_arms(run, seed=1)], "03_more_arms")
    dropped = None in known.get("selection", {}).get("labels", {}).values()  # boxes, which edits count
    if EDITS in edits.names(known["dataset"]) and not dropped:
        yield edit(run, EDITS, guidance)
    yield from methods(run, quick=True)
    yield from closing(external)


def closing(external: Mapping[str, str]) -> Iterator[Task]:
    """What scores all arms and shows them."""
    yield Task("04_fid", parameters={"external": dict(external)})
    yield from (Task("05_guidance_sweep"), Task(REPORT))


def edit(run: Run, name: str, guidance: float) -> Task:
    """The notebook of one edit set."""
    parameters = {"edit_set": name, "guidance_scale": guidance, **QUIET}
    return Task(EDIT, f"{EDIT}_{name}", parameters, tuple(edit_arms(run, name, guidance)))


def methods(run: Run, quick: bool) -> Iterator[Task]:
    """The notebook of every method that can draw here, or of the quick ones alone, if there is one beside the
    study's."""
    if (names := method_arms(run, quick)) != grounding_arms(run):
        yield Task(METHODS, METHODS + "_all" * (not quick), {"quick": quick, **QUIET}, tuple(names))


def _drawing(arms: Sequence[str], name: str, **parameters: object) -> Task:
    return Task("03_gligen_grounding", name, {"arms": list(arms), **QUIET, **parameters}, tuple(arms))


def series_tasks(names: Sequence[str], workers: int = 1, batch_size: int = 0) -> list[Task]:
    """A notebook per series: the arms that differ by guidance_scale alone. Several workers get about two
    notebooks each, so that none is idle for long: series are then split."""
    series: dict[Arm, list[str]] = {}
    for name in names:
        series.setdefault(replace(Arm.parse(name), guidance_scale=1), []).append(name)
    pieces = -(-2 * workers // len(series)) if workers > 1 and series else 1
    parts = [arms[i::pieces] for arms in series.values() for i in range(min(pieces, len(arms)))]
    titles = [f"arms/{part[0]}" + (f"+{len(part) - 1}" if len(part) > 1 else "") for part in parts]
    return [_drawing(part, title, batch_size=batch_size) for part, title in zip(parts, titles, strict=True)]


def in_order(run: Run, tasks: Iterable[Task], workers: Workers) -> list[str]:
    """Run what is not done, one notebook after the other; the first failure ends it and is returned."""
    return next(filter(None, (carry_out(run, [task], workers) for task in tasks)), [])


def report(run: Run, tasks: Iterable[Task]) -> list[str]:
    """Run notebooks in order on this machine; returns the failure, if one fails."""
    with Workers(1) as workers:
        return in_order(run, tasks, workers)


def sweep(run: Run, names: Sequence[str], workers: Workers, batch_size: int = 0) -> list[str]:
    """Draw the arms, then scores, curves and report; returns the failures."""
    grids.write_sweep(run, names)
    with workers:
        failures = draw_arms(run, series_tasks(names, workers.count, batch_size), workers)
        return failures + in_order(run, closing({}), workers)


def draw_arms(run: Run, tasks: Sequence[Task], workers: Workers) -> list[str]:
    """Arms that another sweep is at come last, when there is nothing else to do but wait for them."""
    later: list[Task] = []
    failures = carry_out(run, tasks, workers, later)
    return failures + carry_out(run, later, workers)


def carry_out(
    run: Run, tasks: Sequence[Task], workers: Workers, later: list[Task] | None = None
) -> list[str]:
    """Run tasks, each as soon as there is room; prints a line per task as it ends, returns the failures.

    Below it stands what runs, rewritten each second in a terminal, a line per minute elsewhere: the pictures
    that arms have in the run folder, how fast they came, and how long the rest will take.
    later: takes the tasks that another sweep is at; None waits for it.
    """
    failures, waiting, is_live = [], [task.title for task in tasks], sys.stdout.isatty()
    arms, began = {arm for task in tasks for arm in task.arms}, time.monotonic()
    facts = {"total": len(arms) * len(run.scenes), "initial": sum(map(run.count_pictures, arms))}
    facts |= {"unit": "picture", "bar_format": BAR if arms else "{elapsed}"}
    for ended in workers.run(run.folder, tasks, later is None, every=1 if is_live else 60):
        if ended is None:
            now = {"n": sum(map(run.count_pictures, arms)), "elapsed": time.monotonic() - began}
            title = waiting[0] + (f" +{len(waiting) - 1}" if len(waiting) > 1 else "")
            _print(f"{title:<32} {tqdm.format_meter(**facts, **now)}", is_live, end="" if is_live else "\n")
            continue
        task, outcome = ended
        waiting.remove(task.title)
        place = f"{len(tasks) - len(waiting)} of {len(tasks)}" if len(tasks) > 1 else ""
        _print(f"{task.title:<32} {outcome!s:<32} {place}".rstrip(), is_live)
        if outcome.what == ELSEWHERE:
            later.append(task)
        if outcome.what == FAILED:
            first, *rest = [line for line in outcome.reason.splitlines() if line.strip()]
            lines = [f"{task.title}: {first.strip()}", *rest, f"executed notebook: {outcome.executed}"]
            failures.append("\n    ".join(lines))
    return failures


def _print(text: str, is_live: bool, end: str = "\n") -> None:
    print("\r\x1b[K" * is_live + f"  {text}", end=end, flush=True)
