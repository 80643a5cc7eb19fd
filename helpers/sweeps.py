"""A study is notebooks in order on one run folder; a sweep is more arms for it."""

import argparse
import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from helpers import report
from helpers.arms import siblings
from helpers.notebooks import NotebookError, is_done, run_notebook
from helpers.protocols import ROOT, at, protocol
from helpers.runs import Run
from helpers.settings import Arm, check, model_set

NOTEBOOKS = ROOT / "notebooks"
REPORT = "06_visual_comparison"
QUIET = {"progress": False}  # bars are for who watches; in an executed notebook they are litter
SWEEP = (1.0, 2.0, 5.0, 11.0)  # guidance_scales that every report shows beside it


@dataclass(frozen=True)
class Task:
    """One run of a notebook: its name, the name of the executed copy (default: the same), and parameters."""

    notebook: str
    name: str = ""
    parameters: Mapping[str, object] = field(default_factory=dict)


def study(run: Run, guidance: float, external: Mapping[str, str]) -> Iterator[Task]:
    """The notebooks of a report; what one of them chose is read when the next one is due."""
    asked = ("dataset", "models", "steps", "scheduler", "fit", "beams", "safety")
    yield Task("00_overview", parameters={name: run.card["protocol"][name] for name in asked})
    yield Task("01_captioning")
    yield Task("02_template_comparison", parameters={"guidance_scale": guidance, **QUIET})
    yield Task("03_gligen_grounding", parameters=QUIET)
    more = {"arms": arms(run, SWEEP) + siblings(run), **QUIET}
    yield Task("03_gligen_grounding", "03_more_arms", more)
    yield Task("04_fid", parameters={"external": dict(external)})
    yield Task("05_guidance_sweep")
    yield Task(REPORT)


def more_arms(run: Run, scales: Sequence[float]) -> Iterator[Task]:
    """One notebook run an arm, so that one that fails stops no other; then scores, curves and report."""
    for arm in arms(run, scales):
        yield Task("03_gligen_grounding", f"arms/{arm}", {"arms": [arm], **QUIET})
    yield from (Task("04_fid"), Task("05_guidance_sweep"), Task(REPORT))


def arms(run: Run, scales: Sequence[float]) -> list[str]:
    """Names of the arms of a guidance sweep: the chosen template, text and image, every guidance_scale."""
    template = run.read_json("choices/template.json")["template"]
    pairs = [(grounding, scale) for grounding in ("text", "image") for scale in sorted(set(scales))]
    return [Arm(template, grounding, scale).name for grounding, scale in pairs]


def perform(run: Run, tasks: Iterator[Task]) -> list[NotebookError]:
    """Run what is not done, a line a notebook on the terminal, and render the report when all went well.

    An arm that fails is returned at the end; any other notebook that fails ends the study at once.
    """
    failures = []
    for task in tasks:
        name = task.name or task.notebook
        path, output = NOTEBOOKS / f"{task.notebook}.ipynb", run.folder / "notebooks" / f"{name}.ipynb"
        parameters = {"run_folder": str(run.folder), **task.parameters}
        print(f"  {name:<32}", end="", flush=True)
        try:
            print(perform_one(run, path, output, parameters), flush=True)
        except NotebookError as error:
            print("failed", flush=True)
            failures.append(error)
            if not name.startswith("arms/"):
                return failures
    executed, page = run.folder / "notebooks" / f"{REPORT}.ipynb", run.folder / "report.html"
    if not page.is_file() or page.stat().st_mtime < executed.stat().st_mtime:
        report.render(executed, page)
    return failures


def perform_one(run: Run, path: Path, output: Path, parameters: Mapping[str, object]) -> str:
    """Run a notebook unless it is done; what to say of it on the terminal."""
    if is_done(run, path, output, parameters):
        return "done before"
    began, before = time.monotonic(), run.count_pictures()
    run_notebook(path, output, parameters)
    pictures, seconds = run.count_pictures() - before, time.monotonic() - began
    return f"{seconds:6.1f} s" + (f", {pictures} pictures" if pictures else "")


def start(options: argparse.Namespace) -> Run:
    """The run that the command line asks for; what is wrong with it is said before a model is loaded."""
    options.guidance = options.guidance or [model_set(options.models).guidance_scale]
    check(guidance_scales=options.guidance)
    suffix = "" if options.models == "demo" else f"-{options.models}"
    folder = options.run or f"runs/{at(options.dataset).resolve().name}{suffix}"
    settings = protocol(options.dataset, options.models, options.steps, safety=bool(options.safety))
    run = Run.open(folder, **settings)
    print(f"{len(run.scenes)} scenes of {options.dataset}, {options.models} models -> {folder}", flush=True)
    return run


def read_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line; `make report` and `make sweep` hand over their variables as options."""
    parser = argparse.ArgumentParser(prog="python -m helpers.sweeps", description=__doc__)
    parser.add_argument("what", choices=("report", "sweep"), help="the whole study, or more arms for it")
    parser.add_argument("--dataset", default="data/demo", help="folder with photos and annotations.json")
    parser.add_argument("--models", default="demo", help="demo (shipped, CPU) or published (hub, GPU)")
    parser.add_argument("--run", help="run folder; default runs/NAME OF THE DATASET")
    parser.add_argument("--steps", type=int, help="denoising steps; default 20 (demo), 50 (published)")
    said = "guidance_scale; default 2 (demo), 7.5 (published); sweep takes several"
    parser.add_argument("--guidance", type=float, nargs="+", help=said)
    said = "1: withhold what the safety checker flags; default 0"
    parser.add_argument("--safety", type=int, choices=(0, 1), default=0, help=said)
    parser.add_argument("--external", action="append", default=[], metavar="NAME=FOLDER")
    options = parser.parse_args(arguments)
    if not options.guidance and options.what == "sweep":
        options.guidance = list(SWEEP)
    if options.what == "report" and len(options.guidance or []) > 1:
        parser.error("a report has one --guidance; sweep takes several")
    if wrong := [text for text in options.external if not re.fullmatch(r"[\w.-]+=.+", text)]:
        parser.error(f"--external {wrong[0]}: give it as NAME=FOLDER")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0 when everything is done, 1 when a notebook failed, 2 when nothing could start."""
    options = read_options(arguments)
    try:
        run = start(options)
    except (ValueError, FileNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    external = dict(text.split("=", 1) for text in options.external)
    if options.what == "sweep":
        failures = perform(run, more_arms(run, options.guidance))
    else:
        failures = perform(run, study(run, options.guidance[0], external))
    for failure in failures:
        print(failure, file=sys.stderr)
    if not failures:
        print(f"report: {run.folder / 'report.html'}")
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main())
