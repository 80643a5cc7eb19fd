"""Photos with labelled boxes in, pictures that follow the boxes out, and a report of what came out."""

import argparse
import re
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

from helpers.parameters import ParameterError, nearest

if TYPE_CHECKING:
    from helpers.runs.run import Run

COMMANDS = {
    "report": "the whole study, from photos to report.html; what is done already is not done again",
    "sweep": "more arms for a run: every combination of the given settings",
    "dry-run": "what `sweep` would make with the same options, and how long it would take",
    "status": "what a run has: notebooks, arms, scores, and what failed and why",
    "dataset": "a training set of the pictures whose boxes hold what was asked for",
    "study-detector": "whether the pictures help a detector: notebook 10_training, then the report",
}
EXAMPLES = {
    "report": "grounded report --dataset my_photos --models published --guidance 11 --run runs/mine",
    "sweep": "grounded sweep --run runs/mine --guidance 1 3 5 7.5 9 11 12 --fraction 0.3 1",
    "dry-run": "grounded dry-run --run runs/mine --guidance 1 3 5 7.5 9 11 12",
    "status": "grounded status --run runs/mine",
    "dataset": "grounded dataset --run runs/mine --arm suffix-text-g11 --to my_set --format yolo",
    "study-detector": "grounded study-detector --run runs/mine --arm suffix-text-g11 --test other_photos",
}
MARK = 11.0  # the guidance_scale that question 4 asks about
STOPPED = "stopped; what is made is kept, and the same command goes on from there"


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, with the nearest name, and nothing else."""

    def __init__(self, **options: object) -> None:
        super().__init__(**options, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter)

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}\n")

    def parse(self, arguments: Sequence[str]) -> argparse.Namespace:
        """The options. Exits with 2 for an option that is not known."""
        options, unknown = self.parse_known_args(arguments)
        if unknown:
            known = [name for name in self._option_string_actions if name.startswith("--")]
            self.error(f"{unknown[0]}: {self.prog} has no such option; {nearest(unknown[0], known)}")
        return options


def parser(command: str) -> Parser:
    """The options of one command."""
    about = {"prog": f"grounded {command}", "description": COMMANDS[command]}
    made = Parser(**about, epilog=f"example:\n  {EXAMPLES[command]}", usage=f"grounded {command} [OPTIONS]")
    if command in ("dataset", "study-detector"):
        _add_training(made, command)
        return made
    add = made.add_argument_group("run").add_argument
    add("--dataset", metavar="FOLDER", help="photos and annotations.json; default data/demo")
    add("--models", metavar="SET", help="demo (shipped, CPU; default) or published (hub, GPU)")
    add("--run", metavar="FOLDER", help="all results; default runs/NAME OF THE DATASET")
    add = made.add_argument_group("protocol", "fixed once a run is begun; a run knows its own").add_argument
    add("--steps", type=int, metavar="N", help="of denoising; default 20 demo, 50 published")
    add("--scheduler", metavar="NAME", help="pndm (default), ddim, dpm++2m or unipc")
    add("--fit", metavar="HOW", help="photo to square: squash (default) or crop")
    add("--beams", type=int, metavar="N", help="of the captioners' search; default 4")
    add("--safety", type=int, choices=(0, 1), help="1: withhold flagged pictures; default 0")
    _add_report(made) if command == "report" else _add_arms(made)
    return made


def _add_report(made: Parser) -> None:
    add = made.add_argument_group("report").add_argument
    add("--guidance", type=float, metavar="SCALE", help="guidance_scale; default 2 demo, 7.5 published")
    said = "pictures of another generator, named like the scenes, as an arm; may be given again"
    add("--external", action="append", default=[], metavar="NAME=FOLDER", help=said)
    made.set_defaults(workers=1, cluster=None)


def _add_arms(made: Parser) -> None:
    about = "every combination; default what the report compared, at 1 2 5 11"
    add = made.add_argument_group("arms", about).add_argument
    add("--guidance", type=float, nargs="+", metavar="SCALE", help="guidance_scale")
    said = "grounded_fraction, share of the steps that see the boxes; default 1"
    add("--fraction", type=float, nargs="+", metavar="SHARE", help=said)
    add("--grounding", nargs="+", metavar="KIND", help="none, text, image; default all three")
    add("--template", nargs="+", metavar="NAME", help="default the one that the report chose")
    add("--seed", type=int, nargs="+", metavar="N", help="default 0")
    add("--grid", metavar="FILE", help="the same in a TOML file")
    add = made.add_argument_group("work").add_argument
    add("--workers", type=int, metavar="N", help="notebooks at a time; default one per GPU, or one")
    add("--cluster", metavar="ADDRESS", help="a Dask scheduler: tcp://host:port, or its scheduler file")
    said = "pictures at once; default as many as free memory should hold"
    add("--batch-size", type=int, metavar="N", help=said)


def _add_training(made: Parser, command: str) -> None:
    add = made.add_argument_group("pictures").add_argument
    add("--run", metavar="FOLDER", default="runs/demo", help="a run with scores; default runs/demo")
    add(
        "--arm",
        nargs="+",
        metavar="NAME",
        help="arms that give pictures; default those of the report's choice",
    )
    said = "1: every picture, whatever its boxes hold; default 0"
    add("--all", type=int, choices=(0, 1), default=0, help=said)
    if command == "study-detector":
        add = made.add_argument_group("training").add_argument
        said = "photos that no arm saw, as a data set; default runs/test-photos"
        add("--test", metavar="FOLDER", help=said)
        add("--steps", type=int, metavar="N", help="of each training; default 200")
        said = "a detector of transformers to fine-tune; default a small one from nothing"
        add("--checkpoint", metavar="NAME", default="", help=said)
        return
    add("--iou", type=float, metavar="IOU", default=0.5, help="that every box has to reach; default 0.5")
    said = "share of a picture's boxes that CLIP has to name rightly; default 1"
    add("--crops", type=float, metavar="SHARE", default=1.0, help=said)
    add = made.add_argument_group("files").add_argument
    add("--to", metavar="FOLDER", required=True, help="absent, empty, or an earlier set, which is replaced")
    add("--format", metavar="NAME", default="coco", help="coco (default), yolo or voc")
    add("--val", type=float, metavar="SHARE", default=0.2, help="of photos, for validation; default 0.2")
    add("--seed", type=int, metavar="N", default=0, help="of the split; default 0")


def read_options(arguments: Sequence[str]) -> argparse.Namespace:
    """The command and its options; variables of make (`GUIDANCE=1 3`) are options, too. Exits with 2."""
    top = Parser(prog="grounded", description=__doc__, usage="grounded COMMAND [--help] [OPTIONS]")
    listed = "\n".join(f"  {name:<9} {what}\n            {EXAMPLES[name]}" for name, what in COMMANDS.items())
    top.epilog = f"commands:\n{listed}\n\n`grounded COMMAND --help` lists the options of a command."
    if not arguments or arguments[0] in ("-h", "--help"):
        top.print_help()
        top.exit(0)
    command, *rest = arguments
    if command not in COMMANDS:
        top.error(f"{command!r}: no such command; {nearest(command, COMMANDS)}")
    chosen = parser(command)
    options = chosen.parse([word for text in rest for word in _from_make(text, chosen)])
    options.command = command
    return options


def _from_make(text: str, chosen: Parser) -> list[str]:
    """A variable of make as an option with its values; any other argument as it is."""
    name, is_variable, value = text.partition("=")
    if not is_variable or not re.fullmatch("[A-Z_]+", name):
        return [text]
    actions = chosen._option_string_actions
    option = "--" + name.lower().replace("_", "-")
    if option not in actions:
        known = [key[2:].upper().replace("-", "_") for key in actions if key[:2] == "--" and key != "--help"]
        chosen.error(f"{text}: {chosen.prog} has no such variable; {nearest(name, known)}")
    if not value.strip():
        return []
    return [option, *(value.split() if actions[option].nargs == "+" else [value])]


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0 when everything is done, 1 when a notebook failed, 2 when nothing could start, 130 when
    it was stopped from the keyboard."""
    options = read_options(sys.argv[1:] if arguments is None else arguments)
    try:
        return _run(options)
    except KeyboardInterrupt:
        return _say(130, f"\n{STOPPED}")


def _run(options: argparse.Namespace) -> int:
    if options.command in ("dataset", "study-detector"):
        return _train(options)
    from helpers.sweeps import plan, start  # here, so that a typing error is told at once

    report = options.command == "report"
    try:
        external = start.externals(options.external) if report else {}
        run = start.open_run(options)
        scale = start.guidance(run, options) if report else None
        names = [] if report else start.asked_for(run, options)
    except (ValueError, OSError) as error:
        return _say(2, f"error: {error}")
    if options.command in ("status", "dry-run"):
        lines = (
            start.status(run, names) if options.command == "status" else start.dry_run(run, names, options)
        )
        return _say(0, *lines)
    try:
        workers = start.workers(options)
        if report:
            failures = plan.make_report(run, plan.study(run, scale, external), workers)
        else:
            failures = plan.sweep(run, names, workers, options.batch_size or 0)
    except ParameterError as error:  # a cluster that is not there
        return _say(2, f"error: {error}")
    if failures:
        return _say(1, f"{len(failures)} failed; the same command tries again:", *failures)
    return _end(run)


def _train(options: argparse.Namespace) -> int:
    """A training set, or the study of detectors."""
    from helpers.report import comparisons, export
    from helpers.runs.run import Run
    from helpers.sweeps import plan
    from helpers.sweeps.workers import Workers

    try:
        run = Run(options.run)
        if options.command == "dataset":
            arms, every = options.arm or [comparisons.main_arm(run)], bool(options.all)
            choice = {"iou": options.iou, "crops": options.crops, "val": options.val, "seed": options.seed}
            return _say(0, *export.export(run, arms, options.to, options.format, **choice, every=every))
        given = {"steps": options.steps, "test_dataset": options.test, "arms": options.arm}
        given = {name: value for name, value in given.items() if value}
        study = plan.detector_study(**given, checkpoint=options.checkpoint, qualified=not options.all)
        if failures := plan.make_report(run, study, Workers(1)):
            return _say(1, f"{len(failures)} failed; the same command tries again:", *failures)
    except (ValueError, OSError) as error:
        return _say(2, f"error: {error}")
    return _end(run)


def _end(run: "Run") -> int:
    """Where the report lies, and its answers."""
    from helpers.report.answers import all_of

    print(f"report: {(run.folder / 'report.html').resolve().as_uri()}")
    for answer in all_of(run, MARK):
        print(f"  {answer.question} {' '.join(answer.short.split())}")
    return 0


def _say(status: int, *lines: str) -> int:
    print(*lines, sep="\n  " if status else "\n", file=sys.stderr if status else sys.stdout)
    return status


if __name__ == "__main__":
    sys.exit(main())
