"""A whole study in small: tiny random checkpoints for every model of the demo set, and a few drawn scenes."""

import json
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from tests.fakes.blip2 import write_blip2
from tests.fakes.clip import write_clip
from tests.fakes.gligen import write_editor, write_gligen
from tests.fakes.owlv2 import write_owlv2

EVIL = '<img src="https://example.org/x">'  # a label that must not become a part of a page


def write_models(data: Path) -> Path:
    """Everything that `MODELS=demo` loads, random, under data/models. Returns data, for GROUNDED_DATA."""
    models = data / "models"
    write_blip2(models / "blip2-opt", "opt", seed=1)
    write_blip2(models / "blip2-t5", "t5", seed=2)
    write_gligen(models / "gligen-text", seed=3)
    write_gligen(models / "gligen-text-image", image=True, seed=4)
    write_editor(models / "instruct-pix2pix", seed=5)
    write_clip(models / "clip", seed=5)
    write_owlv2(models / "owlv2", seed=6)
    return data


def write_scenes(folder: Path, count: int = 4, size: int = 64) -> Path:
    """A dataset of drawn squares: two boxes a photo, the first photo with a label that looks like HTML."""
    random, entries = np.random.default_rng(0), []
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        image = Image.fromarray(random.integers(0, 255, (size, size, 3), dtype=np.uint8))
        boxes = [[4, 6, 30, 40], [34, 20, 60, 58]]
        for box, colour in zip(boxes, ("orange", "teal"), strict=True):
            ImageDraw.Draw(image).rectangle(box, fill=colour)
        image.save(folder / f"photo-{index}.png")
        labels = ["cone", EVIL if index == 0 else "crate"]
        entry = {"image": f"photo-{index}.png", "width": size, "height": size}
        entries.append(
            entry | {"labels": labels, "bboxes": boxes, "caption": "a cone and a crate", "drawn": True}
        )
    (folder / "annotations.json").write_text(json.dumps(entries))
    return folder
