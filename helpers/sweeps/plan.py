"""A study is notebooks in order on one run folder; a sweep is more arms for it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from inspect import signature

from helpers.captioning.prompts import TEMPLATES
from helpers.report.comparisons import grounding_arms, second_seed_arms
from helpers.runs.arms import Arm
from helpers.runs.protocol import protocol
from helpers.runs.run import Run
from helpers.sweeps import grids, progress
from helpers.sweeps.tasks import ELSEWHERE, FAILED, Task
from helpers.sweeps.workers import Workers

REPORT = "06_visual_comparison"
QUIET = {"progress": False}  # bars are for who watches; in an executed notebook they are litter
SWEEP = (1.0, 2.0, 5.0, 11.0)  # guidance_scales that every report shows beside its own
ARMS = len(TEMPLATES) + 2 + 2 * len(SWEEP) + 3  # of a report, at most
SCENES, SETTINGS = 24, 25  # of a search for the cheapest setting: by default, and about so many settings
TUNE = "09_cost"
TITLES = ("00_overview", "01_captioning", "02_template_comparison", "03_gligen_grounding")
TITLES += ("03_more_arms", "04_fid", "05_guidance_sweep", REPORT)


def study(run: Run, guidance: float, external: Mapping[str, str]) -> Iterator[Task]:
    """The notebooks of a report; what one of them chose is read when the next one is due."""
    known, asked = run.card["protocol"], signature(protocol).parameters
    yield Task("00_overview", parameters={name: known[name] for name in asked if name in known})
    yield Task("01_captioning")
    compared = tuple(Arm(template, "text", guidance).name for template in TEMPLATES)
    yield Task("02_template_comparison", "", {"guidance_scale": guidance, **QUIET}, compared)
    yield Task("03_gligen_grounding", "", QUIET, tuple(grounding_arms(run)))
    curves = grids.arms(run, {"grounding": ["text", "image"], "guidance_scale": SWEEP})
    yield _drawing([*curves, *second_seed_arms(run)], "03_more_arms")
    yield from closing(external)


def closing(external: Mapping[str, str]) -> Iterator[Task]:
    """What scores all arms and shows them."""
    yield Task("04_fid", parameters={"external": dict(external)})
    yield from (Task("05_guidance_sweep"), Task(REPORT))


def detector_study(**parameters: object) -> Iterator[Task]:
    """What trains detectors on photos and pictures, and the report, which then says whether pictures help."""
    yield from (Task("10_training", parameters=QUIET | parameters), Task(REPORT))


def _drawing(arms: Sequence[str], name: str, **parameters: object) -> Task:
    return Task("03_gligen_grounding", name, {"arms": list(arms), **QUIET, **parameters}, tuple(arms))


def series_tasks(names: Sequence[str], workers: int = 1, batch_size: int = 0) -> list[Task]:
    """A notebook per series: the arms that differ by guidance_scale alone. Several workers get about two
    notebooks each, so that none is idle for long: series are then split."""
    series: dict[Arm, list[str]] = {}
    for name in names:
        series.setdefault(replace(Arm.parse(name), guidance_scale=0), []).append(name)
    pieces = -(-2 * workers // len(series)) if workers > 1 and series else 1
    parts = [arms[i::pieces] for arms in series.values() for i in range(min(pieces, len(arms)))]
    titles = [f"arms/{part[0]}" + (f"+{len(part) - 1}" if len(part) > 1 else "") for part in parts]
    return [_drawing(part, title, batch_size=batch_size) for part, title in zip(parts, titles, strict=True)]


def make_report(run: Run, tasks: Iterator[Task], workers: Workers, language: str = "") -> list[str]:
    """Run what is not done, one notebook after the other; the first failure ends it and is returned.

    language: of the page; "" for the one that it has."""
    with workers:
        for task in tasks:
            if failures := carry_out(run, [task], workers):
                return failures
    _render(run, language)
    return []


def sweep(run: Run, names: Sequence[str], workers: Workers, batch_size: int = 0) -> list[str]:
    """Draw the arms, then scores, curves and report; returns the failures."""
    grids.remember(run, names)
    print(f"{progress.Costs(run).need(names, workers.count).sentence(run)}; {workers.name}", flush=True)
    with workers:
        failures = draw_arms(run, series_tasks(names, workers.count, batch_size), workers)
        for task in closing({}):
            if failed := carry_out(run, [task], workers):
                return [*failures, *failed]
    _render(run)
    return failures


def tune(run: Run, workers: Workers, scenes: int) -> list[str]:
    """Find the cheapest setting that is not worse, and print it; returns the failure, if it fails."""
    with workers:
        failures = carry_out(run, [Task(TUNE, parameters={"scenes": scenes, **QUIET})], workers)
    if not failures:
        found = run.read_json(f"{TUNE}/{scenes}/cost.json")
        print(found["sentence"], *found["lines"], sep="\n  ")
    return failures


def draw_arms(run: Run, tasks: Sequence[Task], workers: Workers) -> list[str]:
    """Arms that another sweep is at come last, when there is nothing else to do but wait for them."""
    later: list[Task] = []
    failures = carry_out(run, tasks, workers, later)
    return failures + carry_out(run, later, workers)


def carry_out(
    run: Run, tasks: Sequence[Task], workers: Workers, later: list[Task] | None = None
) -> list[str]:
    """Run tasks, each as soon as there is room; prints how far they are, returns the failures.

    later: takes the tasks that another sweep is at; None waits for it.
    """
    failures, watch = [], progress.Watch(run, tasks)
    for ended in workers.run(run.folder, tasks, later is None, watch.every):
        if ended is None:
            watch.show()
            continue
        task, outcome = ended
        watch.ended(task, outcome)
        if outcome.what == ELSEWHERE:
            later.append(task)
        if outcome.what == FAILED:
            failures.append(progress.failure(task.title, outcome))
    return failures


def _render(run: Run, language: str = "") -> None:
    from helpers.report.page import refresh  # here, because pages take a while to import

    page = run.folder / "report.html"
    if folder := refresh(run.folder / "notebooks" / f"{REPORT}.ipynb", page, language):
        print(f"pictures of {page.name}, too many for one file: {folder} (goes where the page goes)")
