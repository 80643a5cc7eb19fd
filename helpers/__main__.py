"""Photos with labelled boxes in, pictures that follow the boxes out, and a report of what came out."""

import argparse
import re
import sys
from collections.abc import Sequence
from typing import NoReturn

from helpers.parameters import nearest
from helpers.runs.methods import METHODS

COMMANDS = {
    "report": "the whole study, from photos to report.html; what is done already is not done again",
    "sweep": "more arms for a run: every combination of the given settings",
    "dry-run": "what `sweep` would make with the same options, and how long it would take",
    "status": "what a run has: notebooks, arms, scores, and what failed and why",
    "tune": "the cheapest scheduler, steps and interval of guidance that are not worse than the run's",
    "edit": "photos with one thing changed, by every editor: notebook 07_edits, then the report",
    "tokens": "inclusive tokens of an attribute: prompts whose pictures show its categories evenly",
    "methods": "the same scenes by every other method: notebook 08_methods, then the report",
    "dataset": "a training set of the pictures whose boxes hold what was asked for",
    "study-detector": "whether the pictures help a detector: notebook 10_training, then the report",
    "prompts": "a run's layout prompts as files, for generators elsewhere; or upsampled ones, read back",
    "check": "read a data set: what was recognised, what was put in order, what is wrong",
    "fetch": "download the published models; goes on where it was stopped",
    "doctor": "what this machine can run, and which weights are there",
}
EXAMPLES = {
    "report": "--dataset my_photos --limit 10 --models published --guidance 11 --run runs/mine",
    "sweep": "--run runs/mine --guidance 1 3 5 7.5 9 11 12 --fraction 0.3 1",
    "dry-run": "--run runs/mine --guidance 1 3 5 7.5 9 11 12",
    "status": "--run runs/mine",
    "tune": "--run runs/mine --scenes 24",
    "edit": "--run runs/mine --edits night",
    "tokens": "--run runs/mine --attribute weather --photos my_weather",
    "methods": "--run runs/mine",
    "dataset": "--run runs/mine --arm suffix-text-g11 --to my_set --format yolo",
    "study-detector": "--run runs/mine --arm suffix-text-g11 --test other_photos",
    "prompts": "--run runs/mine --format flux3 --to my_prompts",
}
EXAMPLES |= {"check": "--dataset my_photos --split train", "fetch": "--models published", "doctor": ""}
RUN = ("data", "models", "run", "protocol", "yes")
GROUPS = dict.fromkeys(COMMANDS, (*RUN, "arms", "work"))  # of OPTIONS
GROUPS |= {"report": (*RUN, "report"), "tune": (*RUN, "tune"), "edit": (*RUN, "editing")}
GROUPS |= {"tokens": (*RUN, "attribute")}
GROUPS |= {"dataset": ("pictures", "training set"), "study-detector": ("pictures", "training")}
GROUPS |= {"prompts": ("layout prompts",), "check": ("data",), "fetch": ("models", "own weights")}
GROUPS |= {"doctor": ("models",), "methods": RUN}
OPTIONS = {  # group -> option -> what stands for its value, its type ([type]: several; bool: 1 or 0), help
    "data": {
        "dataset": ("FOLDER", str, "photos and annotations; default data/demo"),
        "split": ("NAME", str, "the part of a data set that has parts, such as train"),
        "limit": ("N", int, "so many scenes at most, drawn at random"),
        "sample-seed": ("N", int, "of that draw; default 0"),
        "labels": ("TEXT", str, "rename or leave out: 'hat=helmet vest='; a comma between names with blanks"),
        "skip-bad": ("", bool, "leave scenes with problems out, and list them"),
    },
    "models": {
        "models": ("SET", str, "demo (shipped, CPU; default) or published (hub, GPU)"),
        "safety": ("", bool, "withhold what the published models' safety checker flags"),
    },
    "run": {"run": ("FOLDER", str, "all results; default runs/NAME OF THE DATASET")},
    "protocol": {
        "steps": ("N", int, "of denoising; default 8 demo, 50 published"),
        "scheduler": ("NAME", str, "pndm (default published), ddim, dpm++2m (default demo) or unipc"),
        "fit": ("HOW", str, "photo to square: squash (default) or crop"),
        "beams": ("N", int, "of the captioners' search; default 4"),
        "crops": ("HOW", str, "what image grounding sees of a box: squash (all, default) or centre"),
        "detector": ("CHECKPOINT", str, "your own: a folder or hub name of an object detector, or an OWLv2"),
        "detector-labels": ("LABEL=CLASS", str, "what it calls your labels: 'worker=person helmet=hard hat'"),
    },
    "report": {
        "guidance": ("SCALE", float, "guidance_scale; default 2 demo, 7.5 published"),
        "external": ("NAME=FOLDER", (str,), "another generator's pictures, named by scene; repeatable"),
        "language": ("NAME", str, "of report.html: en (default) or zh-TW; a page keeps the one it has"),
    },
    "arms": {
        "guidance": ("SCALE", [float], "guidance_scale"),
        "fraction": ("SHARE", [float], "grounded_fraction, share of the steps that see the boxes; default 1"),
        "guidance-share": ("SHARE", [float], "share of the steps, the middle ones, with guidance; default 1"),
        "grounding": ("METHOD", [str], f"of {', '.join(METHODS)}; default none, text, image"),
        "knob": ("NAME=NUMBER", [str], "of a method, such as sdedit's strength=0.4 strength=0.8"),
        "template": ("NAME", [str], "default the one that the report chose"),
        "seed": ("N", [int], "default 0"),
        "layout": ("NAME", [str], "mirrored, jittered, other, random; default the photos' own boxes"),
        "grid": ("FILE", str, "the same in a TOML file"),
    },
    "work": {
        "workers": ("N", int, "notebooks at a time; default one per GPU, or one"),
        "cluster": ("ADDRESS", str, "a Dask scheduler: tcp://host:port, or its scheduler file"),
        "batch-size": ("N", int, "pictures at once; default as many as free memory should hold"),
    },
    "tune": {"scenes": ("N", int, "scenes that are drawn in every setting; default 24")},
    "editing": {
        "edits": ("NAME", [str], "of the data set (edits/NAME.jsonl), night or snow; default the former"),
        "guidance": ("SCALE", float, "guidance_scale; default that of the report"),
    },
    "attribute": {
        "attribute": ("NAME", str, "a field of annotations.json, such as place; of --photos any name"),
        "photos": ("FOLDER", str, "photos in a folder per category, its words; default those of the run"),
    },
    "pictures": {
        "run": ("FOLDER", str, "a run with scores; default runs/demo"),
        "arm": ("NAME", [str], "arms that give pictures, or photos; default the report's choice"),
        "all": ("", bool, "take every picture, whatever its boxes hold"),
    },
    "training set": {
        "iou": ("IOU", float, "that every box has to reach; default 0.5"),
        "crop-accuracy": ("SHARE", float, "of a picture's boxes that CLIP has to name rightly; default 1"),
        "to": ("FOLDER", str, "absent, empty, or an earlier set, which is replaced"),
        "format": ("NAME", str, "coco (default), yolo or voc"),
        "val": ("SHARE", float, "of the photos, for validation; default 0.2"),
        "seed": ("N", int, "of that split; default 0"),
    },
    "training": {
        "test": ("FOLDER", str, "photos that no arm saw, as a data set; default runs/test-photos"),
        "steps": ("N", int, "of each training; default 200"),
        "checkpoint": ("NAME", str, "a detector of transformers to fine-tune; default a small new one"),
    },
    "layout prompts": {
        "run": ("FOLDER", str, "a run with prompts; default runs/demo"),
        "format": ("NAME", str, "of a model: flux3 (default), moss or gligen"),
        "to": ("FOLDER", str, "absent, or with prompts of the same run, which are replaced"),
        "template": ("NAME", str, "whose prompts; default the one that the report chose"),
        "size": ("PIXELS", int, "side of the pictures, which moss counts boxes in; default 1024"),
        "upsampled": ("FILE", str, "prompts.jsonl after FLUX 3's upsampler: becomes template upsampled"),
    },
    "own weights": {"grounding": ("METHOD", [str], "methods whose own weights are wanted, too: flux3")},
    "yes": {"yes": ("", bool, "go on where the start says that it would take long")},
}
NOTES = {"protocol": "fixed once a run is begun; a run knows its own"}
NOTES |= {"arms": "every combination; default what the report compared, at 1 2 5 11"}


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
    about, example, name = COMMANDS[command], EXAMPLES[command], f"grounded {command}"
    said = {"description": about, "epilog": f"example:\n  {name} {example}"}
    made = Parser(prog=name, usage=f"{name} [OPTIONS]", **said)
    for group in GROUPS[command]:
        add = made.add_argument_group(group, NOTES.get(group)).add_argument
        for option, (metavar, kind, said) in OPTIONS[group].items():
            if kind is bool:
                add(f"--{option}", nargs="?", const=1, type=int, choices=(0, 1), help=said, metavar="0|1")
            elif isinstance(kind, tuple):
                add(f"--{option}", action="append", default=[], metavar=metavar, help=said)
            else:
                several = {"nargs": "+", "type": kind[0]} if isinstance(kind, list) else {"type": kind}
                add(f"--{option}", metavar=metavar, help=said, **several)
    return made


def read_options(arguments: Sequence[str]) -> argparse.Namespace:
    """The command and its options; variables of make (`GUIDANCE=1 3`) are options, too. Exits with 2."""
    top = Parser(prog="grounded", description=__doc__, usage="grounded COMMAND [--help] [OPTIONS]")
    listed = [
        f"  {key:<15} {text}\n{'':18}grounded {f'{key} {EXAMPLES[key]}'.strip()}"
        for key, text in COMMANDS.items()
    ]
    top.epilog = "\n".join(["commands:", *listed, "", "`grounded COMMAND --help` lists a command's options."])
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
    """Exit status 0 when everything is done, 1 when a notebook failed or a data set has problems, 2 when
    nothing could start, 130 when it was stopped from the keyboard."""
    options = read_options(sys.argv[1:] if arguments is None else arguments)
    from helpers.sweeps import commands  # here, so that a typing error is told at once

    try:
        try:
            work = commands.COMMANDS[options.command](options)
        except (ValueError, OSError) as error:
            return _say(2, f"error: {error}")
        failures = work()
    except KeyboardInterrupt:
        return _say(130, "\nstopped; what is made is kept, and the same command goes on from there")
    return _say(1, *failures) if failures else 0


def _say(status: int, *lines: str) -> int:
    print(*lines, sep="\n  ", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
