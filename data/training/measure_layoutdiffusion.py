"""`python -m data.training.measure_layoutdiffusion`: the demo LayoutDiffusion against its bars and GLIGEN.

The scenes are those of `data.training.measure`, which no training saw. The null layout is drawn as pictures
from elsewhere, for no arm leaves all boxes out.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from data.training.measure import DEMO, DISTANCE, Row, curve, of, start
from helpers.generation import draw as generation
from helpers.generation.generate import Request, generate, write
from helpers.generation.methods import layoutdiffusion
from helpers.models.loading import release
from helpers.runs.arms import Arm
from helpers.runs.run import Run
from helpers.scoring import scores
from helpers.scoring.metrics import FOUND

GUIDANCES = (1.0, 1.5, 2.0, 3.0)
NULL = "null-layout"
OURS, TEXT = (Arm("suffix", method, DEMO.guidance_scale).name for method in ("layoutdiffusion", "text"))
PART = "LayoutDiffusion"


def draw_null(run: Run) -> None:
    """The scenes' noise, denoised with the null layout."""
    if missing := run.missing(NULL, run.scenes):
        parts = layoutdiffusion.load(DEMO)
        requests = [Request(scene.name, grounding="layoutdiffusion", guidance_scale=1.0) for scene in missing]
        pictures = generate(parts, requests, DEMO.steps, DEMO.scheduler)
        write(pictures, lambda request: run.picture(NULL, request.scene))
        release(parts)


def rows(table: pd.DataFrame) -> Iterator[Row]:
    """Every bar."""

    realism, variety = of(table, TEXT, DISTANCE), of(table, f"{TEXT}-s1", "variety")
    yield Row(PART, "AP50", of(table, OURS, "AP50"), 0.65)
    yield Row(PART, "crop to phrase", of(table, OURS, "crop accuracy"), 0.8)
    yield Row(PART, "AP50, boxes shuffled", of(table, scores.SHUFFLED + OURS, "AP50"), 0.05, at_most=True)
    yield Row(PART, f"{FOUND}, null layout", of(table, NULL, FOUND), 0.1, at_most=True)
    yield Row(PART, DISTANCE, of(table, OURS, DISTANCE), 2 * realism.value, at_most=True)
    yield Row(PART, "variety", of(table, f"{OURS}-s1", "variety"), variety.low)
    for metric in ("AP50", "crop accuracy", DISTANCE):
        yield Row("GLIGEN text", metric, of(table, TEXT, metric))
    yield Row("GLIGEN text", "variety", variety)


def main(arguments: list[str] | None = None) -> None:
    """Measure, and print two tables in Markdown: the bars, and the curve over guidance_scale."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, default=256, help="validation scenes")
    parser.add_argument("--work", type=Path, default=Path("runs/quality"), help="photos and run")
    parser.add_argument("--guidance", type=float, nargs="*", default=GUIDANCES, help="guidance_scales tried")
    given = parser.parse_args(arguments)
    judges = scores.Judges(DEMO)
    run = start(given.work, given.scenes, judges)
    curved = [Arm("suffix", "layoutdiffusion", guidance).name for guidance in given.guidance]
    names = list(dict.fromkeys([TEXT, f"{TEXT}-s1", OURS, f"{OURS}-s1", *curved]))
    generation.draw(run, names)
    draw_null(run)
    scores.score(run, run.scenes, [*names, NULL], judges)
    scores.score_controls(run, run.scenes, OURS, judges)
    table = run.scores()
    print("| part | measure | bar | value | 95 % | n | held |\n|---|---|---|---|---|---|---|")
    print(*rows(table), sep="\n")
    print("\n" + curve(table, curved))


if __name__ == "__main__":
    main()
