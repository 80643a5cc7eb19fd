"""Scenes written as annotations.json, the format that `read_scenes` reads."""

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from helpers.files import beside
from helpers.scenes.checks import PROMPT
from helpers.scenes.entries import words
from helpers.scenes.scenes import Scene

KEYS = {"caption": "generated_text"}  # template -> its key in the file, where that is not PROMPT + template


def write_annotations(
    path: str | Path,
    scenes: Iterable[Scene],
    generated_text: dict[str, str] | None = None,
    prompts: dict[str, dict[str, str]] | None = None,
) -> None:
    """Write scenes in the format that read_scenes reads, whole or not at all.

    generated_text: by scene name; prompts: by template name, then scene name ({"suffix": {"a": "..."}} is
    written as prompt_w_suffix). A scene that they leave out keeps its own. Boxes read back bit for bit.
    Raises ValueError naming texts for scenes that are not there.
    """
    scenes = list(scenes)
    keys = {template: KEYS.get(template, PROMPT + template) for template in prompts or {}}
    texts = {"generated_text": generated_text or {}}
    texts |= {keys[template]: by_scene for template, by_scene in (prompts or {}).items()}
    for key, by_scene in texts.items():
        strange = sorted(by_scene.keys() - {scene.name for scene in scenes})
        if strange:
            raise ValueError(f"{key} is given for {strange}, which are not among the {len(scenes)} scenes")
    entries = [
        _entry(scene)
        | {key: by_scene[scene.name] for key, by_scene in texts.items() if scene.name in by_scene}
        for scene in scenes
    ]
    with beside(path) as partial:
        partial.write_text(json.dumps(entries, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _entry(scene: Scene) -> dict:
    size = (scene.width, scene.height, scene.width, scene.height)
    entry = {
        "image": scene.image or scene.path.name,
        "width": scene.width,
        "height": scene.height,
        "labels": list(scene.labels),
        "bboxes": [[_shortest(*pair) for pair in zip(box, size, strict=True)] for box in scene.boxes],
    }
    if scene.phrases != tuple(map(words, scene.labels)):
        entry["phrases"] = list(scene.phrases)
    texts = {"caption": scene.caption, "generated_text": scene.generated_text}
    texts |= {KEYS.get(template, PROMPT + template): prompt for template, prompt in scene.prompts.items()}
    return entry | {key: text for key, text in texts.items() if text is not None} | scene.extra


def _shortest(fraction: np.float32, side: int) -> float:
    """The pixel position with the fewest decimals that is still the same float32 fraction."""
    exact = float(fraction) * side
    rounded = (round(exact, decimals) for decimals in range(10))
    return next((value for value in rounded if np.float32(value / side) == fraction), exact)
