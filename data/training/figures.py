"""Figures of README and data card: what the demo models draw, and how they learnt.

Run as `python -m data.training.figures`; reads what `data.training.measure` and `data.training.train` left.
"""

import argparse
import json
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from PIL import Image, ImageDraw

from helpers.report import charts, comparisons
from helpers.runs.arms import Arm
from helpers.runs.run import Run
from helpers.scenes import boxes, images
from helpers.scoring.scores import ROUND_TRIP

matplotlib.use("agg")
FOLDER = Path(__file__).resolve().parents[2] / "figures"
SIDE = 192  # pixels of a picture on the sheet, enlarged smoothly
GAP, LINE = 4, 16  # pixels between pictures, and for the name above each row


def samples(run: Run, columns: int = 8) -> Image.Image:
    """Photos, their round trips and their text-grounded pictures, one row per guidance_scale, with the boxes
    asked for. The scenes are the first with at least two boxes: nobody picked the good ones."""
    scenes = [scene for scene in run.scenes if len(scene.boxes) > 1][:columns]
    rows = {"photo": None, "round trip": ROUND_TRIP}
    rows |= {f"guidance_scale {arm.guidance_scale:g}": arm.name for arm in _grounded(run)}
    width, height, head = SIDE + GAP, SIDE + GAP + LINE, GAP + LINE
    sheet = Image.new("RGB", (GAP + width * len(scenes), GAP + height * len(rows)), "white")
    for row, (name, arm) in enumerate(rows.items()):
        ImageDraw.Draw(sheet).text((GAP, GAP + row * height), name, fill="#333333")
        for column, scene in enumerate(scenes):
            picture = images.load(run.picture(arm, scene)) if arm else scene.photo()
            large, count = picture.resize((SIDE, SIDE), Image.Resampling.BICUBIC), len(scene.boxes)
            drawn = boxes.draw_boxes(large, scene.boxes, [""] * count, ["#ffffff"] * count)
            sheet.paste(drawn, (GAP + column * width, head + row * height))
    return sheet


def guidance(run: Run) -> Figure:
    """Crop accuracy and distance to the photos over guidance_scale, with intervals."""
    measures = {"crop accuracy": comparisons.HIGHER, comparisons.realism(run): comparisons.LOWER}
    return charts.curves(comparisons.over_guidance(run, _grounded(run)), measures)


def curves(work: Path) -> Figure:
    """The losses of every training in that folder over pictures seen, averaged over 500 steps."""
    files = [path for path in sorted(work.glob("*.jsonl")) if path.with_suffix(".json").is_file()]
    rows, columns = -(-len(files) // 3), min(len(files), 3)
    page = Figure(figsize=(3.8 * columns, 2.8 * rows), layout="constrained")
    panels = np.ravel(page.subplots(rows, columns))
    for unused in panels[len(files) :]:
        unused.remove()
    for axes, path in zip(panels, files, strict=False):
        batch = json.loads(path.with_suffix(".json").read_text())["batch_size"]
        losses = pd.DataFrame([json.loads(line) for line in path.read_text().splitlines()])
        losses = losses.drop_duplicates("step", keep="last").sort_values("step").set_index("step")
        for name in losses.columns.drop(["seconds", "minutes_left"]):
            axes.plot(losses.index * batch / 1000, losses[name].rolling(10, min_periods=1).mean(), label=name)
        axes.set(title=path.stem, xlabel="thousand pictures", yscale="log")
        axes.legend(frameon=False, fontsize=8)
    return page


def main(arguments: list[str] | None = None) -> None:
    """Write figures/samples.png, figures/guidance.png and figures/training.png."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", default="runs/quality/run-256", help="of data.training.measure")
    parser.add_argument("--work", type=Path, default=Path("runs/training"), help="of data.training.train")
    parser.add_argument("--figures", type=Path, default=FOLDER, help="where the figures go")
    given = parser.parse_args(arguments)
    given.figures.mkdir(parents=True, exist_ok=True)
    run = Run(given.run)
    samples(run).save(given.figures / "samples.png", optimize=True)
    guidance(run).savefig(given.figures / "guidance.png", dpi=110)
    curves(given.work).savefig(given.figures / "training.png", dpi=110)


def _grounded(run: Run) -> list[Arm]:
    """Text grounding with the quality words, by guidance_scale."""
    return comparisons.guidance_arms(run, "text", "suffix")


if __name__ == "__main__":
    main()
