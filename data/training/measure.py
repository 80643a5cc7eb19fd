"""`python -m data.training.measure`: the demo checkpoints against their bars, on scenes that no training saw.

The scenes become a run like any user's; pictures and scores are made by the code that the notebooks use.
"""

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from data.training.caption_quality import caption_f1
from data.training.clip import BARE
from data.training.photos import write_photos
from data.training.world import ALL_PHRASES, COLOURS, KINDS, SPLITS, draw_scene
from helpers.captioning import prompts
from helpers.captioning.captions import caption_all
from helpers.captioning.prompts import TEMPLATES
from helpers.generation import draw as generation
from helpers.generation.generate import generate
from helpers.models.loading import load_gligen, release
from helpers.models.sets import model_set
from helpers.runs.arms import Arm
from helpers.runs.protocol import protocol
from helpers.runs.run import Run
from helpers.scenes import images
from helpers.scoring import intervals, scores, verdicts
from helpers.scoring.alignment import named_colour, r_precision
from helpers.scoring.distances import paired_kid
from helpers.scoring.features import efficientnet_features, image_features, text_features
from helpers.scoring.judges import Judges

DEMO = model_set("demo")
DISTANCE = scores.realism(DEMO)
GUIDANCES = (1.0, 1.5, 2.0, 3.0, 5.0, 7.5, 11.0)
MEGABYTE = 10**6


@dataclass(frozen=True)
class Row:
    """A row of the table. bar: the least allowed value, with `at_most` the most; None: no bar."""

    part: str
    measure: str
    value: intervals.Estimate
    bar: float | None = None
    at_most: bool = False

    def __str__(self) -> str:
        bar = "" if self.bar is None else f"{'≤' if self.at_most else '≥'} {self.bar:g}"
        held = "" if self.bar is None else ("yes" if self.holds else "no")
        interval = f"{self.value.low:.3g} to {self.value.high:.3g}" if self.value.standard_error else ""
        cells = self.part, self.measure, bar, f"{self.value.value:.3g}", interval, str(self.value.n), held
        return f"| {' | '.join(cells)} |"

    @property
    def holds(self) -> bool:
        """Whether the value itself, not its interval, reaches the bar."""
        return self.value.value <= self.bar if self.at_most else self.value.value >= self.bar


def start(folder: Path, count: int, judges: Judges) -> Run:
    """A run on `count` validation photos whose prompts are made of the reference captions."""
    photos = folder / f"photos-{count}"
    write_photos(photos, count, "validation")
    run = Run.open(folder / f"run-{count}", **protocol(str(photos.resolve()), "demo"))
    captions = {scene.name: scene.caption for scene in run.scenes}
    for name in ("caption", "suffix"):
        rows = prompts.make(run.scenes, captions, TEMPLATES[name], judges.clip.processor.tokenizer)
        prompts.keep(run, name, rows)
    return run


def of_photos(run: Run, table: pd.DataFrame, judges: Judges) -> Iterator[Row]:
    """Autoencoder, CLIP and detector, on the photos themselves."""
    pairs = ((scene.photo(), images.load(run.picture(scores.ROUND_TRIP, scene))) for scene in run.scenes)
    noise = [_psnr(*images.to_array(pair).astype(float)) for pair in pairs]
    yield Row("autoencoder", "PSNR in dB", intervals.mean(np.array(noise)), 27)
    named = of(table, scores.PHOTOS, "crop accuracy")
    yield Row("CLIP", f"crop to phrase, top 1 of {len(ALL_PHRASES)}", named, 0.95)
    different = {scene.caption: scene for scene in run.scenes}  # nobody can tell equal captions apart
    said = text_features(judges.clip, list(different))
    seen = image_features(judges.clip, [scene.photo() for scene in different.values()])
    picked = intervals.mean(r_precision(said, seen))
    yield Row("CLIP", "caption to photo, top 1 of 100", picked, 0.9)
    yield Row("detector", "AP50 on photos", of(table, scores.PHOTOS, "AP50"), 0.9)


def of_captions(run: Run) -> Iterator[Row]:
    """Both captioners against the reference captions."""
    photos, true = [scene.photo() for scene in run.scenes], [scene.caption for scene in run.scenes]
    for (name, checkpoint), bar in zip(DEMO.captioners.items(), (0.95, 0.9), strict=True):
        said = [one.generated_text for one in caption_all(checkpoint, photos)]
        whole, n = caption_f1(said, true), len(true)
        left = [caption_f1(said[:i] + said[i + 1 :], true[:i] + true[i + 1 :]) for i in range(n)]
        for field, words, least in (
            ("f1", "F1 of objects with colours", bar),
            ("place", "background right", 0.98),
        ):
            values = np.array([getattr(one, field) for one in left])
            yield Row(f"captioner {name}", words, intervals.jackknife(getattr(whole, field), values), least)


def of_pictures(run: Run, table: pd.DataFrame, best: str) -> Iterator[Row]:
    """Text grounding at its best guidance_scale, with its controls."""
    guidance = f"guidance_scale {Arm.parse(best).guidance_scale:g}"
    none = Arm("suffix", "none", Arm.parse(best).guidance_scale).name
    yield Row("GLIGEN text", f"AP50, {guidance}", of(table, best, "AP50"), 0.65)
    yield Row("GLIGEN text", "crop to phrase", of(table, best, "crop accuracy"), 0.85)
    yield Row("GLIGEN text", "AP50, boxes off", of(table, none, "AP50"), 0.1, at_most=True)
    yield Row(
        "GLIGEN text", "AP50, boxes shuffled", of(table, scores.SHUFFLED + best, "AP50"), 0.05, at_most=True
    )
    plain = best.replace("suffix", "caption")
    verdict = verdicts.difference(run, DISTANCE, best, plain)
    gap = intervals.Estimate(*(verdict[key] for key in ("difference", "standard_error", "low", "high", "n")))
    yield Row("templates", "distance with quality words less without", gap, 0, at_most=True)
    round_trip = of(table, scores.ROUND_TRIP, DISTANCE)
    yield Row("realism", f"{DISTANCE}, round trip", round_trip)
    yield Row(
        "realism", f"{DISTANCE}, pictures", of(table, best, DISTANCE), 5 * round_trip.value, at_most=True
    )


def of_other_photos(run: Run, judges: Judges) -> Row:
    """The distance between the photos and as many others of the same world."""
    seeds = SPLITS["validation"][len(run.scenes) : 2 * len(run.scenes)]
    others = efficientnet_features(
        judges.efficientnet, [draw_scene(seed, crisp=True).image for seed in seeds]
    )
    photos = efficientnet_features(judges.efficientnet, [scene.photo() for scene in run.scenes])
    value, left_out, spread = paired_kid(photos, others)
    value = intervals.quadratic(1000 * value, 1000 * left_out, 1000**2 * spread)
    return Row("realism", f"{DISTANCE}, other photos", value)


def of_crops(run: Run, judges: Judges, guidance: float) -> Row:
    """Image grounding where the phrases name the bare kind: does the colour come from the crop?"""
    gligen = load_gligen(DEMO.gligen["image"], "image")
    table, requests = run.prompts("suffix").set_index("scene").prompt, []
    for scene in run.scenes:
        made = generation.request(scene, "", Arm("suffix", "image", guidance), run.card["protocol"])
        bare = tuple(BARE[KINDS.index(label)] for label in scene.labels)
        requests.append(type(made)(**vars(made) | {"phrases": bare, "prompt": ""}))
    assert len(table) == len(requests)
    right, texts = [], text_features(judges.clip, ALL_PHRASES)
    for scene, picture in zip(
        run.scenes, generate(gligen, requests, DEMO.steps, DEMO.scheduler), strict=True
    ):
        crops = image_features(judges.clip, [images.crop(picture.image, box) for box in scene.boxes])
        found = (crops @ texts.T).argmax(1) % len(COLOURS)
        asked = [list(COLOURS).index(named_colour(phrase)) for phrase in scene.phrases]
        right.append((found == np.array(asked)).astype(float))
    release(gligen)
    sums, counts = np.array([one.sum() for one in right]), np.array([len(one) for one in right])
    share = intervals.jackknife(*intervals.ratio_left_out(sums, counts))
    return Row("GLIGEN image", "colour of the crop", share, 0.75)


def of_cost(run: Run, guidance: float) -> Iterator[Row]:
    """Size of all checkpoints, and seconds per picture in a batch of 16."""
    folder = Path(DEMO.clip.source).parent
    files = (path for path in folder.rglob("*") if path.is_file())
    size = (
        sum(path.lstat().st_size for path in files) / MEGABYTE
    )  # of a shared part once: the others are links
    yield Row("size", "all checkpoints in MB", intervals.Estimate(size, 0, size, size, 1), 96, at_most=True)
    gligen = load_gligen(DEMO.gligen["text"], "text")
    prompt, arm = run.prompts("suffix").prompt[0], Arm("suffix", "text", guidance)
    requests = [generation.request(scene, prompt, arm, run.card["protocol"]) for scene in run.scenes[:16]]
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        list(generate(gligen, requests, steps=20, batch_size=16, progress=False))
        seconds.append((time.perf_counter() - began) / len(requests))
    middle = float(np.median(seconds))
    estimate = intervals.Estimate(middle, 0, middle, middle, 3)
    yield Row("time", "seconds per picture, 20 steps, batch of 16", estimate, 0.6, at_most=True)


def curve(table: pd.DataFrame, names: list[str]) -> str:
    """guidance_scale against crop accuracy and distance, as a table."""
    lines = ["| guidance_scale | crop accuracy | AP50 | " + DISTANCE + " |", "|---|---|---|---|"]
    for name in names:
        values = [of(table, name, metric) for metric in ("crop accuracy", "AP50", DISTANCE)]
        cells = (f"{one.value:.3g} ({one.low:.3g} to {one.high:.3g})" for one in values)
        lines.append(f"| {Arm.parse(name).guidance_scale:g} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    """Measure, and print two tables in Markdown: parts against bars, and the curve over guidance_scale."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, default=256, help="validation scenes")
    parser.add_argument("--guidance", type=float, nargs="+", default=GUIDANCES, help="guidance_scales tried")
    parser.add_argument("--work", type=Path, default=Path("runs/quality"), help="photos and run")
    given = parser.parse_args(arguments)
    judges = scores.Judges(DEMO)
    run = start(given.work, given.scenes, judges)
    names = [Arm("suffix", "text", value).name for value in given.guidance]
    generation.draw(run, names)
    scores.score(run, run.scenes, names, judges)
    best = verdicts.best(run, "crop accuracy", names)
    others = [best.replace("suffix", "caption"), Arm("suffix", "none", Arm.parse(best).guidance_scale).name]
    generation.draw(run, others)
    scores.score(run, run.scenes, others, judges)
    generation.draw_round_trip(run)
    scores.score_controls(run, run.scenes, best, judges)
    table, guidance = run.scores(), Arm.parse(best).guidance_scale
    rows = [
        *of_photos(run, table, judges),
        *of_captions(run),
        *of_pictures(run, table, best),
        of_other_photos(run, judges),
    ]
    rows += [of_crops(run, judges, guidance), *of_cost(run, guidance)]
    print("| part | measure | bar | value | 95 % | n | held |\n|---|---|---|---|---|---|---|")
    print(*rows, sep="\n")
    print("\n" + curve(table, names))


def _psnr(a: np.ndarray, b: np.ndarray) -> float:
    return 10 * np.log10(255**2 / ((a - b) ** 2).mean())


def of(table: pd.DataFrame, arm: str, metric: str) -> intervals.Estimate:
    """An arm's score in a table of scores."""
    row = table[(table.arm == arm) & (table.metric == metric)].iloc[0]
    return intervals.Estimate(row.value, row.standard_error, row.low, row.high, int(row.n))


if __name__ == "__main__":
    main()
