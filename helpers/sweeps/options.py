"""The command line of `helpers.sweeps.plan`; make hands over its variables as these options."""

import argparse
import re
from collections.abc import Sequence

from helpers.sweeps.grids import AXES

GIVEN_AS = {"guidance_scale": "guidance", "grounded_fraction": "fraction"}  # shorter on a command line


def read_options(arguments: Sequence[str] | None, about: str | None = None) -> argparse.Namespace:
    """The options, and as `axes` what was given of grids.AXES. Exits with 2 for what is wrong."""
    parser = argparse.ArgumentParser(prog="python -m helpers", description=about)
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
    _add_sweep(parser.add_argument_group("sweep only"))
    options = parser.parse_args(arguments)
    if options.what == "report":
        given = [name for name, value in vars(options).items() if value and name in options.sweep_only]
        if given:
            parser.error(f"--{given[0].replace('_', '-')} is for sweep only")
        if len(options.guidance or []) > 1:
            parser.error("a report has one --guidance; sweep takes several")
    if wrong := [text for text in options.external if not re.fullmatch(r"[\w.-]+=.+", text)]:
        parser.error(f"--external {wrong[0]}: give it as NAME=FOLDER")
    values = {axis: getattr(options, GIVEN_AS.get(axis, axis)) for axis in AXES}
    options.axes = {axis: given for axis, given in values.items() if given}
    return options


def _add_sweep(group: argparse._ArgumentGroup) -> None:
    said = "grounded_fraction: shares of the steps that see the boxes; default 1"
    added = [group.add_argument("--fraction", type=float, nargs="+", help=said)]
    added += [group.add_argument("--grounding", nargs="+", help="none, text, image; default all")]
    added += [group.add_argument("--template", nargs="+", help="default the one that the report chose")]
    added += [group.add_argument("--seed", type=int, nargs="+", help="default 0")]
    added += [group.add_argument("--grid", metavar="FILE", help="the same in a TOML file")]
    added += [group.add_argument("--workers", type=int, help="processes; default one a GPU, or one")]
    said = "carry it out on a Dask cluster: tcp://host:port, or its scheduler file"
    added += [group.add_argument("--cluster", metavar="ADDRESS", help=said)]
    said = "pictures at once; default as many as free memory should hold"
    added += [group.add_argument("--batch-size", type=int, help=said)]
    said = "arms that differ by guidance_scale alone share a notebook and its batches"
    added += [group.add_argument("--together", action="store_true", help=said)]
    said = "print what would be made and what it takes; make nothing"
    added += [group.add_argument("--dry-run", action="store_true", help=said)]
    said = "print what is done, running, failed, missing; without a grid, of all sweeps of the run"
    added += [group.add_argument("--status", action="store_true", help=said)]
    group.set_defaults(sweep_only=[one.dest for one in added])
