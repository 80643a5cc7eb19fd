"""The prompts of a run: one a scene and template, with what the text encoder sees of it."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from helpers.runs import Run
from helpers.scenes import Scene
from helpers.settings import ParameterError
from helpers.templates import fill, truncate

if TYPE_CHECKING:
    from transformers import CLIPTokenizer


def make(
    scenes: Iterable[Scene], captions: Mapping[str, str], template: str, tokenizer: "CLIPTokenizer"
) -> list[dict]:
    """scene, prompt, tokens, truncated: one row a scene, in order. captions: scene name -> generated_text."""
    rows = []
    for scene in scenes:
        prompt = fill(template, captions[scene.name], scene.labels)
        tokens, _, truncated = truncate(prompt, tokenizer)
        rows.append({"scene": scene.name, "prompt": prompt, "tokens": tokens, "truncated": truncated})
    return rows


def keep(run: Run, template: str, rows: list[dict]) -> None:
    """Write prompts/<template>.jsonl.

    Raises ParameterError where the run has other prompts under that name: its pictures were made with those.
    """
    name = f"prompts/{template}.jsonl"
    old = {row["scene"]: row["prompt"] for row in run.read_jsonl(name)} if run.has(name) else {}
    changed = [row["scene"] for row in rows if old.get(row["scene"], row["prompt"]) != row["prompt"]]
    if changed:
        raise ParameterError(
            f"template {template!r}: {len(changed)} prompts differ from those that this run's pictures were "
            f"made with, first in scene {changed[0]!r}; start another run, or name the template anew"
        )
    run.write_jsonl(name, rows)
