"""`python -m data.training.measure_tokens`: inclusive tokens against their bars, on validation scenes.

The place is learnt from the demo photos, as a user learns it from his own; darkness and noise, which no
caption of the training ever named, are the attribute that cannot be reached.
"""

import argparse
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance

from data.training.measure import DEMO, Row, start
from data.training.world import SPLITS, draw_scene
from helpers.captioning.attributes import templates
from helpers.generation import draw as generation
from helpers.generation.tokens import learn
from helpers.models.sets import data_folder
from helpers.runs.arms import Arm
from helpers.runs.run import Run
from helpers.scenes import images
from helpers.scenes.scenes import read_scenes
from helpers.scoring import intervals, scores, verdicts
from helpers.scoring.attributes import chance
from helpers.scoring.intervals import Estimate

PLACE, FAULT = "place", "fault"
FIRST = 10**7  # seed of the train split from which the photos of FAULT are drawn
SPOILT, CRISP = "dark_or_noisy", "crisp"
KEYS = ["value", "standard_error", "low", "high", "n"]
GRAIN = 22  # levels, as in the noisy photos of the drawn world


def write_places(folder: Path) -> None:
    """The demo photos in a folder per place."""
    for scene in read_scenes(data_folder() / "demo"):
        there = folder / scene.extra[PLACE].replace(" ", "_")
        there.mkdir(parents=True, exist_ok=True)
        shutil.copy(scene.path, there)


def write_faults(folder: Path, count: int = 24) -> None:
    """Crisp photos, and others that are dark or noisy, every other one."""
    for k, seed in enumerate(SPLITS["train"][FIRST : FIRST + 2 * count]):
        photo, kind = draw_scene(seed, crisp=True).image, (CRISP, SPOILT)[k % 2]
        if kind == SPOILT and k % 4 == 1:
            photo = ImageEnhance.Brightness(photo).enhance(0.4)
        elif kind == SPOILT:
            grain = np.random.default_rng(seed).normal(0, GRAIN, (*photo.size[::-1], 3))
            photo = Image.fromarray(np.clip(np.asarray(photo) + grain, 0, 255).astype(np.uint8))
        (folder / kind).mkdir(parents=True, exist_ok=True)
        photo.save(folder / kind / f"{seed}.png")


def of_place(run: Run, about: dict, seconds: float, arms: dict[str, str]) -> Iterator[Row]:
    """The bars. arms: "tokens", "words" and "bare" -> an arm; seconds: of a processor, for learning."""
    table = run.scores([*arms.values()]).set_index(["arm", "metric"])[KEYS].astype(object)
    right, n = about["right"], sum(about["photos"].values())
    yield Row("tokens", f"CLIP right on {n} reference photos", Estimate(right, 0, right, right, n), 0.98)
    yield Row("tokens", "processor seconds of learning", Estimate(seconds, 0, seconds, seconds, 1), 60, True)
    level = chance(len(about["categories"]), len(run.scenes))
    yield Row("even draws", "attribute KL on average", Estimate(level, 0, level, level, len(run.scenes)))
    bars = {("tokens", "attribute KL"): (0.05, True), ("tokens", "hit rate"): (0.85,)}
    for kind, arm in arms.items():
        for metric in ("attribute KL", "hit rate", "crop accuracy"):
            if (arm, metric) in table.index:
                yield Row(kind, metric, Estimate(*table.loc[arm, metric]), *bars.get((kind, metric), ()))
    for metric, bar in (("attribute KL", (0, True)), ("crop accuracy", (-0.05,))):
        row = verdicts.difference(run, metric, arms["tokens"], arms["bare"])
        value = Estimate(row["difference"], *(row[key] for key in KEYS[1:]))
        yield Row("tokens less bare", f"{metric}, p = {row['p']:.2g}", value, *bar)


def of_fault(run: Run, about: dict, arm: str, folder: Path) -> Iterator[Row]:
    """What CLIP knows of it, and how much darker pictures are that were asked to be dark or noisy."""
    right, n = about["right"], sum(about["photos"].values())
    yield Row(FAULT, f"CLIP right on {n} reference photos", Estimate(right, 0, right, right, n), 0.98)
    asked = run.prompts(Arm.parse(arm).template).set_index("scene").category
    light = {SPOILT: [], CRISP: []}
    for scene in run.scenes:
        light[asked[scene.name].replace(" ", "_")].append(_light(run.picture(arm, scene)))
    photos = {kind: [_light(path) for path in sorted((folder / kind).iterdir())] for kind in light}
    for name, some in (("reference photos", photos), ("pictures", light)):
        parts = [intervals.mean(np.array(some[kind])) for kind in (CRISP, SPOILT)]
        gap, error = parts[0].value - parts[1].value, np.hypot(*(part.standard_error for part in parts))
        value = intervals.estimate(gap, error, min(part.n for part in parts))
        yield Row(FAULT, f"levels of 255 by which spoilt {name} are darker than crisp ones", value)


def _light(path: Path) -> float:
    return float(np.asarray(images.load(path).convert("L")).mean())


def main(arguments: list[str] | None = None) -> None:
    """Learn, draw and score, and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, default=96, help="validation scenes")
    parser.add_argument("--work", type=Path, default=Path("runs/quality"), help="photos and run")
    parser.add_argument("--grounding", default="text", help="the method that draws")
    given = parser.parse_args(arguments)
    judges = scores.Judges(DEMO)
    run, folder = start(given.work, given.scenes, judges), given.work / "references"
    for name, write in ((PLACE, write_places), (FAULT, write_faults)):
        if not (folder / name).is_dir():
            write(folder / name)
    began = time.process_time()
    place = learn(run, PLACE, (folder / PLACE).resolve())
    seconds = time.process_time() - began
    fault = learn(run, FAULT, (folder / FAULT).resolve(), text="{phrases} {category}")
    scale = DEMO.guidance_scale
    arms = {
        kind: Arm(template, given.grounding, scale).name
        for kind, template in zip(("tokens", "words", "bare"), templates(PLACE), strict=True)
    }
    spoilt = Arm(templates(FAULT)[0], given.grounding, scale).name
    generation.draw(run, [*arms.values(), spoilt])
    scores.score(run, run.scenes, [*arms.values()], judges)
    rows = [*of_place(run, place, seconds, arms), *of_fault(run, fault, spoilt, folder / FAULT)]
    print("| part | measure | bar | value | 95 % | n | held |\n|---|---|---|---|---|---|---|")
    print(*rows, sep="\n")


if __name__ == "__main__":
    main()
