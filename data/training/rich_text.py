"""`python -m data.training.rich_text`: Rich Text against its bars, on drawn scenes that no training saw.

One box of each scene is asked for in a colour without a word; the comparison says the nearest word to the
same generator. The target is measured in a drawing that has the colour. The demo autoencoder has never seen
these colours: the rows of the exact drawings through it show how near any picture of it can come.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from data.training.clip import BARE
from data.training.measure import DEMO, Row
from data.training.realism import round_trips
from data.training.world import ALL_PHRASES, COLOURS, KINDS, PLACES, SPLITS, UNNAMED, Drawn, draw_scene
from helpers.generation.generate import generate
from helpers.generation.methods import rich
from helpers.generation.requests import Request
from helpers.models.loading import Gligen, load_gligen
from helpers.scenes import boxes as rectangles
from helpers.scenes import images
from helpers.scoring import adherence, alignment, intervals
from helpers.scoring.colours import nearest_name, object_colour, rgb_distance
from helpers.scoring.edits import kept
from helpers.scoring.features import detect, image_features, text_features
from helpers.scoring.judges import Judges

QUALITY = "professional quality, highly detailed"  # of the template suffix
NONE = "not asked for"


@dataclass(frozen=True, eq=False)
class Task:
    """One box of a drawn scene in a colour without a word. said: the scene with the nearest word; exact: the
    drawing with the colour; target: that colour as it is measured in it."""

    colour: str
    box: int
    said: Drawn
    exact: Image.Image
    target: tuple[int, int, int]

    def request(self, grounding: str) -> Request:
        """The scene by a method: `text` has words alone."""
        targets = tuple(self.target if k == self.box else NONE for k in range(len(self.said.boxes)))
        inputs = {"boxes": self.said.boxes, "phrases": self.said.phrases}
        inputs |= {"colours": targets} if grounding == "rich_text" else {}
        prompt = f"{self.said.caption}, {QUALITY}"
        options = {"grounding": grounding, "guidance_scale": DEMO.guidance_scale}
        return Request(str(self.said.seed), prompt, **inputs, **options)


def tasks(count: int, first: int) -> list[Task]:
    """Tasks of validation scenes: the largest box of each whose colour can be measured, colours in turn."""
    made = []
    for seed in SPLITS["validation"][first : first + count]:
        plain, name = draw_scene(seed, crisp=True), list(UNNAMED)[seed % len(UNNAMED)]
        box = int(rectangles.area(plain.boxes).argmax())
        exact = draw_scene(seed, crisp=True, recolour={box: name}).image
        target = object_colour(np.asarray(exact), plain.boxes[box])
        if not isinstance(target, str):
            word = nearest_name(UNNAMED[name], COLOURS)
            said = draw_scene(seed, crisp=True, recolour={box: word})
            made.append(Task(name, box, said, exact, target))
    return made


def draw(gligen: Gligen, requests: Sequence[Request]) -> list[Image.Image]:
    """Pictures of requests of one method."""
    made = generate(gligen, requests, DEMO.steps, DEMO.scheduler, batch_size=8, progress=False)
    return [picture.image for picture in made]


def of_colours(some: Sequence[Task], arms: dict[str, list[Image.Image]]) -> Iterator[Row]:
    """RGB distances and their ratio to that of the nearest word, and what is kept outside the box."""
    word = arms["word"]
    distances = {name: _each(some, pictures, _distance) for name, pictures in arms.items()}
    for name, pictures in arms.items():
        yield Row(name, "RGB distance", intervals.mean(distances[name]))
        if name == "word":
            continue
        ratio = intervals.ratio_left_out(distances[name], distances["word"])
        yield Row(name, "RGB distance over that of the nearest word", intervals.jackknife(*ratio), 0.6, True)
        for colour in UNNAMED:
            mine = np.array([task.colour == colour for task in some])
            if mine.sum() > 2:
                ratio = intervals.ratio_left_out(distances[name][mine], distances["word"][mine])
                yield Row(name, f"the same, {colour}", intervals.jackknife(*ratio))
        if name not in ("exact", "exact, coded"):
            pairs = zip(some, pictures, word, strict=True)
            outside = [kept(np.asarray(a), np.asarray(b), one.said.boxes[one.box]) for one, a, b in pairs]
            yield Row(name, "PSNR to the picture by words outside the box", _mean(outside), 20)


def of_boxes(some: Sequence[Task], arms: dict[str, list[Image.Image]], judges: Judges) -> Iterator[Row]:
    """How many boxes fewer are found than in the pictures by words."""
    found = {}
    for name, pictures in arms.items():
        seen = detect(judges.detector, pictures, KINDS)
        pairs = [adherence.match(one.said, own) for one, own in zip(some, seen, strict=True)]
        found[name] = [adherence.reaches(ious).astype(float) for ious in pairs]
        falls = [before.sum() - after.sum() for before, after in zip(found["word"], found[name], strict=True)]
        counts = np.array([len(ious) for ious in pairs], float)
        fall = intervals.jackknife(*intervals.ratio_left_out(np.array(falls), counts))
        if name != "word":
            yield Row(name, "fall of the boxes found at IoU 0.5", fall, 0.05, True)


def of_footnotes(some: Sequence[Task], gligen: Gligen, judges: Judges) -> Iterator[Row]:
    """Crop accuracy where the prompt names kinds alone, of bare phrases and of footnotes that say colours."""
    texts, right = text_features(judges.clip, ALL_PHRASES), {}
    for grounding in ("text", "rich_text"):
        requests = []
        for task in some:
            bare = tuple(BARE[KINDS.index(label)] for label in task.said.labels)
            changes = {"prompt": f"{', '.join(bare)} {PLACES[task.said.place]}, {QUALITY}"}
            changes |= {"phrases": bare} if grounding == "text" else {"colours": (NONE,) * len(bare)}
            requests.append(replace(task.request(grounding), **changes))
        crops, own = [], []
        for task, picture in zip(some, draw(gligen, requests), strict=True):
            crops.append(image_features(judges.clip, [images.crop(picture, box) for box in task.said.boxes]))
            own.append([ALL_PHRASES.index(phrase) for phrase in task.said.phrases])
        flat = alignment.crop_correct(np.concatenate(crops), texts, np.concatenate(own))
        right[grounding] = [one.sum() for one in np.split(flat, np.cumsum([len(one) for one in own])[:-1])]
    counts = np.array([len(task.said.boxes) for task in some], float)
    shares = [np.array(one, float) for one in right.values()]
    for name, sums, bar in (("bare", shares[0], None), ("footnotes less bare", shares[1] - shares[0], 0.2)):
        gain = intervals.jackknife(*intervals.ratio_left_out(sums, counts))
        yield Row("footnotes", f"crop accuracy, {name}", gain, bar)


def of_attention(some: Sequence[Task], gligen: Gligen, judges: Judges) -> Iterator[Row]:
    """IoU of the regions that attention finds with the box in which the detector finds the same thing."""
    sampler = rich.Sampler(gligen, DEMO.steps, DEMO.scheduler, (DEMO.size, DEMO.size))
    ious = []
    for start in range(0, len(some), 8):
        requests = [
            replace(
                one.request("rich_text"), grounding="rich", boxes=np.empty((0, 4)), labels=one.said.labels
            )
            for one in some[start : start + 8]
        ]
        plain = [
            replace(one, grounding="none", phrases=(), labels=(), colours=(), knobs={}) for one in requests
        ]
        sampler.latents(requests)
        seen = detect(judges.detector, draw(gligen, plain), KINDS)
        for region in sampler.found:
            label = some[start + region.picture].said.labels[some[start + region.picture].box]
            found = seen[region.picture]
            boxes = [box for box, own in zip(found.boxes, found.labels, strict=True) if own == label]
            masks = [rich.coverage(box, *region.map.shape) for box in boxes]
            shares = [
                np.minimum(mask, region.map).sum() / np.maximum(mask, region.map).sum() for mask in masks
            ]
            ious += [max(shares)] if shares else []
    yield Row("attention", "IoU of region and found box, nearest of its kind", _mean(ious), 0.4)


def main(arguments: list[str] | None = None) -> None:
    """Print rows of Markdown as they are measured, and save the pictures side by side."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, default=256, help="validation scenes")
    parser.add_argument("--first", type=int, default=0, help="the first of them: knobs are chosen on others")
    parser.add_argument("--sheet", type=Path, default=Path("runs/quality/rich_text.png"))
    given = parser.parse_args(arguments)
    gligen, judges, some = (
        load_gligen(DEMO.gligen["text"], "text"),
        Judges(DEMO),
        tasks(given.scenes, given.first),
    )
    arms = {"word": draw(gligen, [one.request("text") for one in some])}
    arms["rich_text"] = draw(gligen, [one.request("rich_text") for one in some])
    rows = [(*pair, one.exact) for *pair, one in zip(*arms.values(), some, strict=True)]
    columns = [np.concatenate([np.asarray(picture) for picture in row]) for row in rows[:16]]
    given.sheet.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.concatenate(columns, axis=1)).save(given.sheet)
    print("| part | measure | bar | value | 95 % | n | held |\n|---|---|---|---|---|---|---|")
    exact = {"exact": [one.exact for one in some], "exact, coded": round_trips([one.exact for one in some])}
    parts: tuple[Callable[[], Iterator[Row]], ...] = (
        lambda: of_colours(some, arms | exact),
        lambda: of_boxes(some, arms, judges),
        lambda: of_attention(some, gligen, judges),
        lambda: of_footnotes(some, gligen, judges),
    )
    for part in parts:
        print(*part(), sep="\n", flush=True)


def _distance(task: Task, picture: Image.Image) -> float:
    return rgb_distance(np.asarray(picture), task.said.boxes[task.box], task.target)


def _each(some: Sequence[Task], pictures: Sequence[Image.Image], measure: Callable) -> np.ndarray:
    return np.array([measure(*pair) for pair in zip(some, pictures, strict=True)])


def _mean(values: Sequence[float]) -> intervals.Estimate:
    return intervals.mean(np.array(values))


if __name__ == "__main__":
    main()
