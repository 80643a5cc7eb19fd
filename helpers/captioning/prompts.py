"""The prompts of a run: one a scene and template, with what the text encoder sees of it."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import pandas as pd

from helpers.captioning.templates import fill, truncate
from helpers.parameters import ParameterError
from helpers.runs.run import Run
from helpers.scenes.scenes import Scene

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


def problems(captions: Mapping[str, pd.DataFrame], longest: Mapping[str, list[dict]]) -> pd.DataFrame:
    """How many captions of each captioner are empty, repeat, echo, or are too long once in a template.

    captions: captioner -> its table; longest: captioner -> rows of `make` with the longest template.
    """
    rows = []
    for name, table in captions.items():
        counts = {
            flag: sum(flag in flags for flags in table["flags"]) for flag in ("empty", "repeats", "echo")
        }
        cut = sum(row["truncated"] for row in longest[name])
        rows.append({"captioner": name, **counts, "over 77 tokens": cut, "seconds": table.seconds.mean()})
    return pd.DataFrame(rows)


def tokens(made: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """For each template: least, median and most tokens of its prompts, and how many of them are cut."""
    rows = {name: table.tokens.agg(["min", "median", "max"]) for name, table in made.items()}
    frame = pd.DataFrame(rows).T.astype(int).assign(cut=[table.truncated.sum() for table in made.values()])
    return frame.rename_axis("template").reset_index()


def examples(made: Mapping[str, pd.DataFrame], scenes: Iterable[Scene]) -> pd.DataFrame:
    """One row a template and scene: the prompt. made: template -> `Run.prompts`, by scene."""
    rows = [
        (f"{scene.name}, {name}", table.prompt[scene.name])
        for scene in scenes
        for name, table in made.items()
    ]
    return pd.DataFrame(rows, columns=["scene, template", "prompt"])
