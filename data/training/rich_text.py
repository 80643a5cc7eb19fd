"""`python -m data.training.rich_text`: Rich Text against its bars, on drawn scenes that no training saw.

One box of each scene is asked for in a colour without a word; the comparison says the nearest word to the same
generator. The target is measured in a drawing that has the colour. The demo autoencoder never saw these
colours, so that the table holds the exact drawings as well, and a row per colour.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from data.training.clip import BARE
from data.training.measure import DEMO, Row
from data.training.world import ALL_PHRASES, COLOURS, KINDS, SPLITS, UNNAMED, describe, draw_scene
from helpers.generation.generate import generate
from helpers.generation.requests import Request
from helpers.models.loading import Gligen, load_gligen
from helpers.scenes import boxes as rectangles
from helpers.scoring import adherence, box_values, intervals
from helpers.scoring.colours import nearest_name, object_colour, rgb_distance
from helpers.scoring.edits import kept
from helpers.scoring.features import detect, image_features, text_features
from helpers.scoring.judges import Judges

GUIDANCE = DEMO.guidance_scale
NAMED = ("", "highly detailed, ")


@dataclass(frozen=True, eq=False)
class Task:
    """One box in a colour without a word. word: the request that says the nearest word; colours: the targets of
    all boxes, of which one is a colour; exact: the drawing with the colour."""

    name: str
    box: int
    word: Request
    colours: tuple
    exact: Image.Image

    @property
    def rich(self) -> Request:
        """The request of Rich Text with boxes."""
        return replace(self.word, grounding="rich_text", colours=self.colours)


def tasks(count: int, first: int) -> list[Task]:
    """Tasks of validation scenes: the largest box of each, the colours in turn."""
    made = []
    for number, seed in enumerate(SPLITS["validation"][first : first + count]):
        plain, name = draw_scene(seed, crisp=True), list(UNNAMED)[number % len(UNNAMED)]
        box = int(rectangles.area(plain.boxes).argmax())
        exact = draw_scene(seed, crisp=True, recolour={box: name})
        target = object_colour(np.asarray(exact.image), exact.boxes[box])
        said = draw_scene(seed, crisp=True, recolour={box: nearest_name(UNNAMED[name], COLOURS)})
        colours = tuple(target if k == box else "not asked for" for k in range(len(said.boxes)))
        prompt = f"{said.caption}, professional quality, highly detailed"
        options = {"boxes": said.boxes, "phrases": said.phrases, "guidance_scale": GUIDANCE}
        made.append(Task(name, box, Request(str(seed), prompt, **options), colours, exact.image))
    return made


def draw(gligen: Gligen, requests: Sequence[Request], steps: int) -> list[Image.Image]:
    """Pictures of requests."""
    made = generate(gligen, requests, steps, DEMO.scheduler, batch_size=8, progress=False)
    return [picture.image for picture in made]
