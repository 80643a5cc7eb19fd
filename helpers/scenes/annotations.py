"""Scenes written as annotations.json, the format that `read_scenes` reads."""

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from helpers.files import beside
from helpers.scenes.checks import PROMPT
from helpers.scenes.entries import words
from helpers.scenes.scenes import Scene


def write_annotations(path: str | Path, scenes: Iterable[Scene]) -> None:
    """Write scenes in the format that read_scenes reads, whole or not at all. Boxes read back bit for bit."""
    entries = [_entry(scene) for scene in scenes]
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
    texts |= {PROMPT + template: prompt for template, prompt in scene.prompts.items()}
    return entry | {key: text for key, text in texts.items() if text is not None} | scene.extra


def _shortest(fraction: np.float32, side: int) -> float:
    """The pixel position with the fewest decimals that is still the same float32 fraction."""
    exact = float(fraction) * side
    rounded = (round(exact, decimals) for decimals in range(10))
    return next((value for value in rounded if np.float32(value / side) == fraction), exact)
