"""Layout prompts of a run as files: for generators elsewhere, and what FLUX 3's upsampler made of them."""

import json
from collections.abc import Iterator

from helpers.captioning import prompts
from helpers.captioning.layout_prompts import FORMATS, table
from helpers.files import beside
from helpers.parameters import ParameterError, option
from helpers.runs.layouts import arm_layouts
from helpers.runs.methods import KNOBS
from helpers.runs.protocol import at
from helpers.runs.run import Run

TOGETHER = "prompts.jsonl"  # in the folder of prompts: all of them, a row {scene, prompt} each
UPSAMPLED = "upsampled"  # the template under which upsampled prompts stand in a run


def write(run: Run, folder: str, format: str = "flux3", template: str = "", size: int = 1024) -> list[str]:
    """Write a prompt per scene, SCENE.txt, and all of them together; returns lines that say so.

    format: of FORMATS. template: of the run's prompts, the chosen one where it is "". size: side of the
    pictures in pixels. Raises ParameterError for what cannot be right, and a folder with other files.
    """
    for name, value, rule in (("format", format, option(FORMATS)), ("size", size, KNOBS["size"].rule)):
        if advice := rule(value):
            raise ParameterError(f"{name} = {value!r}: {advice}")
    made, place = dict(_prompts(run, format, template, size)), at(folder)
    texts = {f"{scene}.txt": prompt for scene, prompt in made.items()}
    rows = [{"scene": scene, "prompt": prompt} for scene, prompt in made.items()]
    texts[TOGETHER] = "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)
    if place.is_file() or (other := sorted({path.name for path in place.glob("*")} - texts.keys())):
        what = "this is a file" if place.is_file() else f"it holds {other[0]}, which is no prompt of this run"
        raise ParameterError(f"to = {folder!r}: {what}; name another folder")
    for name, text in texts.items():
        with beside(place / name) as partial:
            partial.write_text(text, encoding="utf-8", newline="\n")
    back = "bring the pictures back, named like the scenes, with EXTERNAL=NAME=FOLDER"
    return [f"{len(made)} prompts for {format} -> {place}; {back}"]


def bring_upsampled(run: Run, file: str, template: str = "") -> list[str]:
    """Keep upsampled prompts, rows {scene, prompt} of a JSON-lines file, as the run's template UPSAMPLED; the
    rows that the upsampler added to the tables stand in `added`, and in the lines that are returned.

    Raises ParameterError that lists every scene without a prompt, and every box that is not as it was.
    """
    try:
        lines = [json.loads(line) for line in at(file).read_text(encoding="utf-8").split("\n") if line]
        given = {row["scene"]: row["prompt"] for row in lines}
    except (OSError, ValueError, KeyError, TypeError) as error:
        advice = "give JSON lines with scene and prompt, such as the prompts.jsonl of `grounded prompts`"
        raise ParameterError(f"upsampled = {file!r}: {type(error).__name__} {error}; {advice}") from error
    rows, problems = [], []
    for scene, prompt in _prompts(run, "flux3", template):
        asked = {row["id"]: row["bbox"] for row in table(prompt) or ()}
        rows_there = table(given.get(scene, "")) or ()
        there = {row.get("id"): row for row in rows_there if isinstance(row, dict)}
        problems += [f"scene {scene!r}: {said}" for said in _problems(asked, there, given.get(scene))]
        row = {"scene": scene, "prompt": given.get(scene), "tokens": None, "truncated": False}
        rows.append(row | {"added": [there[one] for one in there if one not in asked]})
    if problems:
        raise ParameterError("\n".join([f"upsampled = {file!r}", *problems]))
    prompts.keep(run, UPSAMPLED, rows)
    added = {row["scene"]: ", ".join(one["id"] for one in row["added"]) for row in rows if row["added"]}
    count = f"{len(rows)} prompts -> template {UPSAMPLED!r}; rows were added in {len(added)} scenes"
    return [count, *(f"  {scene}: {ids}" for scene, ids in added.items())]


def _prompts(run: Run, format: str, template: str, size: int = 1024) -> Iterator[tuple[str, str]]:
    """Scene name, layout prompt."""
    template = template or run.read_json("choices/template.json")["template"]
    texts = run.prompts(template).set_index("scene")
    for scene in arm_layouts(run, template, run.scenes):
        parts = texts.prompt[scene.name], scene.boxes, scene.phrases
        yield scene.name, FORMATS[format](*parts, (size, size))


def _problems(asked: dict[str, list], there: dict[str, dict], prompt: str | None) -> Iterator[str]:
    if prompt is None:
        yield "no prompt"
        return
    for one, box in asked.items():
        if one not in there:
            yield f"no row {one!r} in the table that ends its prompt"
        elif there[one].get("bbox") != box:
            yield f"bbox of {one!r} is {there[one].get('bbox')}, it was {box}"
