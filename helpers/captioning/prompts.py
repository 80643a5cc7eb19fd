"""Prompts: templates filled with captions, one per scene and template, and where encoders cut them."""

import re
import string
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from helpers.parameters import ParameterError, nearest
from helpers.runs.run import Run
from helpers.scenes.scenes import Scene

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

# The three of the original study, verbatim: "on on" and the missing space are its own
TEMPLATES = {
    "caption": "{generated_text}",
    "label": "{generated_text},focus on on {labels},focus on bboxes, high resolution, highly detailed",
    "suffix": "{generated_text}, professional quality, highly detailed",
}
FIELDS = ("generated_text", "labels", "phrases")
NAMED = ", ".join(f"{{{field}}}" for field in FIELDS)


def fill(
    template: str, generated_text: str, labels: Sequence[str], phrases: Sequence[str] = (), category: str = ""
) -> str:
    """The prompt of one scene. Labels and phrases stand once each, in order of first appearance, joined by
    ", ". category: how the prompt says that of an attribute, see `captioning.attributes`."""
    listed = {"labels": ", ".join(dict.fromkeys(labels)), "phrases": ", ".join(dict.fromkeys(phrases))}
    return template.format(generated_text=generated_text, category=category, **listed)


def add(templates: dict[str, str]) -> dict[str, str]:
    """The original templates and one's own, by name.

    A name is lower-case letters, digits and underscores, for it stands in file names and arms.
    Raises ValueError listing every problem: a bad or taken name, an unknown field, no field, a lone brace.
    """
    problems = [
        f"template {name!r}: {problem}"
        for name, text in templates.items()
        for problem in _template_problems(name, text)
    ]
    if problems:
        raise ValueError("\n".join(problems))
    return TEMPLATES | templates


def _template_problems(name: object, text: object) -> list[str]:
    if not isinstance(name, str) or not re.fullmatch("[a-z][a-z0-9_]*", name):
        return ["the name must be lower-case letters, digits and underscores, such as 'night_shot'"]
    if name in TEMPLATES and text != TEMPLATES[name]:
        return ["the name is taken by a template of the original study; choose another"]
    if not isinstance(text, str):
        return [f"{text!r} is not a text"]
    try:
        parts = [part[1:] for part in string.Formatter().parse(text) if part[1] is not None]
    except ValueError as error:
        return [f"{text!r}: {error}; fields are {NAMED}, double other braces"]
    if not parts:
        return [f"{text!r} gives all photos one prompt; use any of {NAMED}"]
    fields = [
        field + (f"!{conversion}" if conversion else "") + (f":{form}" if form else "")
        for field, form, conversion in parts
    ]
    return [
        f"{text!r}: unknown field {{{field}}}; {nearest(field, FIELDS)}"
        for field in fields
        if field not in FIELDS
    ]


def truncate(prompt: str, tokenizer: "PreTrainedTokenizerFast") -> tuple[int, str, bool]:
    """The part of a prompt that a text encoder reads: (tokens, kept, truncated).

    tokens counts begin and end, and what is over tokenizer.model_max_length (CLIP: 77) is cut; kept is the
    part of the prompt, in its own letters, that survives. The tokenizer must be a fast one: it knows offsets.
    """
    coded = tokenizer(prompt, return_offsets_mapping=True, verbose=False)
    tokens, limit = len(coded["input_ids"]), tokenizer.model_max_length
    if tokens <= limit:
        return tokens, prompt, False
    # begin and end take two places, so the last token kept is number limit - 2
    return tokens, prompt[: coded["offset_mapping"][limit - 2][1]], True


def make(
    scenes: Iterable[Scene],
    captions: Mapping[str, str],
    template: str,
    tokenizer: "PreTrainedTokenizerFast",
) -> list[dict]:
    """scene, prompt, tokens, truncated: a row per scene, in order. captions: scene name -> generated_text."""
    rows = []
    for scene in scenes:
        prompt = fill(template, captions[scene.name], scene.labels, scene.phrases)
        tokens, _, truncated = truncate(prompt, tokenizer)
        rows.append({"scene": scene.name, "prompt": prompt, "tokens": tokens, "truncated": truncated})
    return rows


def keep(run: Run, template: str, rows: list[dict], folder: str = "prompts") -> None:
    """Write prompts/<template>.jsonl, or edits/<template>.jsonl of an edit set (folder).

    Raises ParameterError where the run has other prompts under that name: its pictures were made with those.
    """
    name = f"{folder}/{template}.jsonl"
    old = {row["scene"]: row["prompt"] for row in run.read_jsonl(name)} if run.has(name) else {}
    changed = [row["scene"] for row in rows if old.get(row["scene"], row["prompt"]) != row["prompt"]]
    if changed:
        raise ParameterError(
            f"template {template!r}: {len(changed)} prompts differ from those that this run's pictures were "
            f"made with, first in scene {changed[0]!r}; start another run, or name the template anew"
        )
    run.write_jsonl(name, rows)
