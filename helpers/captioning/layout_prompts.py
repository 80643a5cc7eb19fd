"""Layout prompts: caption, boxes and phrases as the one text that a generator reads, in a format per model.

They are written for generators elsewhere, and what FLUX 3's upsampler makes of them is read back.

A format takes the caption, boxes (n, 4) as fractions (x_min, y_min, x_max, y_max) with origin top left, a
phrase per box, and (width, height) of the pictures in pixels. No torch.
"""

import json
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from helpers.captioning import prompts
from helpers.files import beside
from helpers.parameters import ParameterError, option
from helpers.runs.layouts import arm_layouts
from helpers.runs.methods import KNOBS
from helpers.runs.protocol import at
from helpers.runs.run import Run
from helpers.scenes.boxes import area, to_pixels

GRID = 1000  # units of FLUX 3 along a side of the picture, whatever its shape
ARTICLE = re.compile(r"(?:an?|the|some|one)\s+", re.IGNORECASE)
AFTER_NOUN = re.compile(r",|\s(?:with|without|in|on|of|at|by|for|to|under|behind|beside|wearing|holding)\s")
BRACKETS = str.maketrans("<>", "()")  # in a caption they stand around ids alone
TOGETHER = "prompts.jsonl"  # in the folder of prompts: all of them, a row {scene, prompt} each
UPSAMPLED = "upsampled"  # the template under which upsampled prompts stand in a run

Format = Callable[[str, np.ndarray, Sequence[str], tuple[int, int]], str]


def flux3(caption: str, boxes: np.ndarray, phrases: Sequence[str], size: tuple[int, int] = (0, 0)) -> str:
    """FLUX 3: the caption, which cites the id of each box where it names it first, and a JSON table of boxes.

    Ids are a noun and a number, counted from left to right, then down. bbox is [top, left, bottom, right] in
    thousandths of the picture, at least one wide and high. What the caption does not name is appended to it.
    Without boxes the caption alone. After the system prompt `t2i_bbox` of diffusers 0.42.1.
    """
    caption = " ".join(caption.translate(BRACKETS).split())
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    low = np.minimum(np.rint(GRID * boxes[:, :2]), GRID - 1).astype(int)
    # 2 at least, because a row of nothing over 1 is read as fractions
    high = np.maximum(np.rint(GRID * boxes[:, 2:]), np.maximum(low + 1, 2)).astype(int)
    rows, counts, ids = [], Counter(), defaultdict(list)
    for index in np.lexsort((boxes[:, 1], boxes[:, 0])):
        noun = _identifier(_noun(phrases[index]))
        counts[noun] += 1
        ids[phrases[index]].append(f"{noun}_{counts[noun]}")
        (left, top), (right, bottom) = low[index].tolist(), high[index].tolist()
        row = {"id": ids[phrases[index]][-1], "bbox": [top, left, bottom, right], "desc": phrases[index]}
        rows.append(row)
    table = [json.dumps(rows, ensure_ascii=False)] if rows else []
    return " ".join([*filter(None, [_cited(caption, ids)]), *table])


def moss(caption: str, boxes: np.ndarray, phrases: Sequence[str], size: tuple[int, int]) -> str:
    """MOSS-Image: a JSON object of the caption and a box per item, [top, left, bottom, right] in pixels from
    the middle of the picture. Without boxes the caption alone.

    The numbers are those of the model's documentation; of its keys' names no first-party page was seen.
    """
    pixels = to_pixels(boxes, *size) - np.array([*size, *size]) // 2
    pairs = zip(phrases, pixels[:, [1, 0, 3, 2]].tolist(), strict=True)
    items = [{"label": "object", "caption": phrase, "bbox": corner} for phrase, corner in pairs]
    layout = {"caption": caption, "items": items, "bbox_format": "abs_centralized", "bbox_order": "yxyx"}
    return json.dumps(layout, ensure_ascii=False) if items else caption


def gligen(caption: str, boxes: np.ndarray, phrases: Sequence[str], size: tuple[int, int] = (0, 0)) -> str:
    """GLIGEN: a JSON object with prompt, phrases and locations (fractions), as `readers` reads it, too. The
    largest boxes come first, for programs take the first 30."""
    order = np.argsort(-area(boxes), kind="stable")
    locations = np.asarray(boxes, np.float64).reshape(-1, 4)[order].round(6).tolist()
    layout = {"prompt": caption, "phrases": [phrases[k] for k in order], "locations": locations}
    return json.dumps(layout, ensure_ascii=False)


FORMATS: dict[str, Format] = {"flux3": flux3, "moss": moss, "gligen": gligen}


def table(prompt: str) -> list[dict] | None:
    """The rows of the table of boxes that ends a prompt of FLUX 3; None where it has none."""
    for start in re.finditer(r"\[\s*\{", prompt):
        try:
            return json.loads(prompt[start.start() :])
        except ValueError:
            continue
    return None


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


def _cited(caption: str, ids: dict[str, list[str]]) -> str:
    """The caption with every id once. ids: of each phrase."""
    cited, absent = defaultdict(list), []
    for phrase, own in ids.items():
        if (end := _mention(caption, ARTICLE.sub("", phrase, 1)) or _mention(caption, _noun(phrase))) is None:
            named = phrase.translate(BRACKETS)
            article = "" if ARTICLE.match(named) else "an " if named[:1].lower() in "aeiou" else "a "
            absent.append(" ".join([article + named, *(f"<{one}>" for one in own)]))
        else:
            cited[end] += own
    for end in sorted(cited, reverse=True):
        caption = " ".join([caption[:end], *(f"<{one}>" for one in cited[end])]) + caption[end:]
    start = [f"{caption.rstrip(' .,;')}, with "] if caption and absent else [caption]
    return "".join([*start, ", ".join(absent)])


def _mention(caption: str, words: str) -> int | None:
    """Where the first mention of these words ends in a caption, one or several of the thing."""
    found = re.search(rf"(?<!\w){re.escape(words)}(?:e?s)?(?!\w)", caption, re.IGNORECASE)
    return found and found.end()


def _noun(phrase: str) -> str:
    """The word that says what a phrase is about: "cone" of "a red cone with a stripe"."""
    before = AFTER_NOUN.split(ARTICLE.sub("", phrase.strip(), 1), maxsplit=1)[0]
    return (before.split() or phrase.split())[-1]


def _identifier(noun: str) -> str:
    """A noun in lower-case Latin letters, digits and underscores, a letter first; "obj" where none is."""
    plain = unicodedata.normalize("NFKD", noun).encode("ascii", "ignore").decode()
    return re.sub(r"\W+", "_", re.sub(r"^[\W\d_]+", "", plain)).strip("_").lower() or "obj"
