"""Notebooks 04 to 06 on a study of 2,160 scenes and 15 arms: `python -m tests.benchmarks.bench_large_study`.

The photos are copies of the demo photos with noise, and so are the pictures of the arms. Features, detections
and texts are made up where networks would take hours; everything after them is what a user waits for.
"""

import argparse
import json
import os
import resource
import shutil
import tempfile
import time
from collections.abc import Iterator
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import nbformat
import numpy as np
from PIL import Image

from helpers.models.sets import data_folder
from helpers.runs.arms import Arm
from helpers.runs.protocol import ROOT, protocol
from helpers.runs.run import Run
from helpers.scenes import images
from helpers.scenes.scenes import Scene, fitted, read_scenes
from helpers.scoring import extraction, scores
from helpers.scoring.adherence import Detections
from helpers.scoring.extraction import PHOTOS, Pictures
from helpers.scoring.measurements import collect
from helpers.sweeps.notebooks import execute, keep

BARS = {2160: (180, 3.0), 240: (12, 3.0)}  # scenes -> seconds and GiB of 04, 05 and 06 together
BEFORE = {240: "35 s"}  # on idle cores, before scores kept their leave-one-out values
BOOKS = ("04_fid", "05_guidance_sweep", "06_visual_comparison")
TEMPLATES = ("caption", "label", "suffix")
ARMS = [
    *(Arm(template, "text", 2).name for template in TEMPLATES),
    *(Arm("suffix", grounding, 2, seed=seed).name for grounding in ("none", "image") for seed in (0, 1)),
    Arm("suffix", "text", 2, seed=1).name,
    *(Arm("suffix", grounding, scale).name for grounding in ("text", "image") for scale in (1, 5, 11)),
    Arm("suffix", "text", 7.5).name,
]
SHOWN = 1.0  # seconds from which a cell is listed


def make(folder: Path, count: int, arms: list[str], dimensions: int = 128) -> None:
    """A run with pictures, captions, choices and made-up features, as 01 to 03 leave it but for scores."""
    demo = read_scenes(data_folder() / "demo")
    rng, photos = np.random.default_rng(0), folder / "photos"
    photos.mkdir(parents=True)
    entries = json.loads((data_folder() / "demo" / "annotations.json").read_text())
    for i in range(count):
        _noisy(demo[i % len(demo)].photo(), rng).save(photos / f"{i:04}.png", compress_level=1)
    entries = [entries[i % len(entries)] | {"image": f"{i:04}.png"} for i in range(count)]
    (photos / "annotations.json").write_text(json.dumps(entries))
    run = Run.open(folder / "run", **protocol(str(photos), "demo"))
    for name in (*arms, scores.ROUND_TRIP):
        for k, scene in enumerate(demo):
            first = run.picture(name, f"{k:04}")
            record = {"arm": name, "dropped_boxes": "[]", "dropped_phrases": "[]", "cut_texts": "[]"}
            images.save(_noisy(scene.photo(), rng), first, record)
            for i in range(k + len(demo), count, len(demo)):
                shutil.copyfile(first, run.picture(name, f"{i:04}"))
    for i in range(min(count, len(demo)), len(demo)):
        for name in (*arms, scores.ROUND_TRIP):
            run.picture(name, f"{i:04}").unlink()
    _texts(run)
    _features(run, arms, dimensions, rng)


def _noisy(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    pixels = np.asarray(picture).copy()
    pixels[rng.integers(0, len(pixels), 50), rng.integers(0, len(pixels), 50)] = rng.integers(0, 256, (50, 3))
    return Image.fromarray(pixels)


def _texts(run: Run) -> None:
    said = {scene.name: f"{scene.caption}, number {i}" for i, scene in enumerate(run.scenes)}
    for name in ("opt", "t5"):
        rows = [
            {"scene": s, "generated_text": f"{t} {name}", "flags": [], "seconds": 1.0}
            for s, t in said.items()
        ]
        run.write_jsonl(f"captions/{name}.jsonl", rows)
    for name in TEMPLATES:
        rows = [{"scene": s, "prompt": t, "tokens": 30, "truncated": False} for s, t in said.items()]
        run.write_jsonl(f"prompts/{name}.jsonl", rows)
    run.write_json("choices/captioner.json", {"captioner": "opt", "why": "made up"})
    choice = {"template": "suffix", "why": "made up", "guidance_scale": 2.0, "compared": list(TEMPLATES)}
    run.write_json("choices/template.json", choice | {"texts": dict.fromkeys(TEMPLATES, "{generated_text}")})


def _features(run: Run, arms: list[str], dimensions: int, rng: np.random.Generator) -> None:
    """Features and detections of every arm: directions around a common one, boxes near the asked ones."""
    from helpers.scoring import features  # here, because torch would count in the memory of every notebook

    common = rng.normal(size=dimensions)

    def embed(_: object, some: list) -> np.ndarray:
        rows = common + rng.normal(size=(len(some), dimensions))
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)

    def pooled(_: object, some: list) -> np.ndarray:
        return rng.gamma(1, 0.4, (len(some), 1280)).astype(np.float32)  # not below 0, as after the last layer

    def colours(_: object, layout: Scene) -> np.ndarray:
        return rng.gamma(2, 10, (len(layout.boxes), 1))

    def rgb(_: object, layout: Scene, *rest: object) -> np.ndarray:
        return rng.random((len(layout.boxes), 1))

    def pixels(crops: list) -> np.ndarray:
        return rng.integers(0, 256, (len(crops), 32 * 32 * 3), dtype="u1")

    for arm in (*arms, scores.ROUND_TRIP, PHOTOS):
        layouts = (fitted(scene, run.card["protocol"]) for scene in run.scenes)
        found = _detections(layouts, rng, noise=0.02 if arm == PHOTOS else 0.08)
        detect = lambda *asked, found=found: [next(found) for _ in asked[1]]  # noqa: E731
        with (
            patch.multiple(features, image_features=embed, text_features=embed, detect=detect),
            patch.object(features, "efficientnet_features", pooled),
            patch.multiple(extraction, _facts=lambda _: (60, 0, 0, 0), _colours=colours, _rgb=rgb),
            patch.object(extraction, "_pixels", pixels),
            patch.object(Pictures, "load", lambda pictures, i: pictures.paths[i]),
            patch.object(images, "crop", lambda picture, box: picture),
        ):
            collect(run, run.scenes, arm, SimpleNamespace(clip=None, detector=None, efficientnet=None))
    with patch.multiple(features, image_features=embed, text_features=embed):
        scores.score_captions(run, run.scenes, ["opt", "t5"], SimpleNamespace(clip=None))


def _detections(layouts: Iterator, rng: np.random.Generator, noise: float) -> Iterator[Detections]:
    for layout in layouts:
        kept = rng.random(len(layout.boxes)) < 0.9
        boxes = np.clip(layout.boxes + rng.normal(size=layout.boxes.shape) * noise, 0, 1)
        boxes = np.concatenate([np.minimum(boxes[:, :2], boxes[:, 2:] - 0.01), boxes[:, 2:]], 1)[kept]
        labels = tuple(label for label, there in zip(layout.labels, kept, strict=True) if there)
        order = np.argsort(-(certain := rng.random(len(labels))), kind="stable")
        named = tuple(labels[i] for i in order)
        yield Detections(boxes[order].astype(np.float32), named, certain[order].astype(np.float32))


def timed(folder: Path) -> tuple[list[list[object]], float]:
    """Rows of the table, each notebook and below it its slow cells, then all; and the peak memory in GiB.

    Beside the seconds stand those of the processor, which other work on the machine does not change.
    """
    rows, total = [], np.zeros(2)
    for name in BOOKS:
        output = folder / "notebooks" / f"{name}.ipynb"
        before = _clocks()
        keep(execute(ROOT / "notebooks" / f"{name}.ipynb", output, {"run_folder": str(folder)}), output)
        total += (spent := _clocks() - before)
        rows.append([name, *(f"{seconds:.1f} s" for seconds in spent)])
        for cell in nbformat.read(output, as_version=4).cells:
            if (took := cell.metadata.get("papermill", {}).get("duration") or 0) >= SHOWN:
                lines = [line for line in cell.source.splitlines() if line and "import" not in line]
                shown = next(iter(lines), "imports")[:60].replace("|", "")
                rows.append([f"· {shown}", f"{took:.1f} s", ""])
    rows.append(["all three", *(f"{seconds:.1f} s" for seconds in total)])
    return rows, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20


def _clocks() -> np.ndarray:
    """Seconds passed, and those of the processor in all notebooks that ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return np.array([time.perf_counter(), used.ru_utime + used.ru_stime])


def main() -> None:
    """Prints a markdown table for each number of scenes; every notebook is opened twice, side by side."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, nargs="+", default=[240, 2160])
    parser.add_argument("--arms", type=int, default=len(ARMS))
    parser.add_argument("--keep", type=Path, help="a folder that keeps the studies, to profile them")
    options, processes = parser.parse_args(), get_context("spawn")
    for count in options.scenes:
        load = f"{os.getloadavg()[0]:.1f}"  # of other work: below 0.5 these are times of an idle machine
        with tempfile.TemporaryDirectory() as scratch, processes.Pool(1) as pool:
            folder = (options.keep or Path(scratch)) / str(count)
            if not folder.is_dir():
                with processes.Pool(1) as maker:
                    maker.apply(make, (folder, count, ARMS[: options.arms]))
            (first, memory), (again, _) = (pool.apply(timed, (folder / "run",)) for _ in range(2))
        seconds, most = BARS.get(count, ("", ""))
        opened = {name: rest for name, *rest in again}
        rows = [[*row, *(opened.get(row[0], ["", ""]) if row[2] else ["", ""])] for row in first]
        rows[-1] += [BEFORE.get(count, "not known"), f"{seconds} s"]
        rows.append(["peak memory of a notebook", f"{memory:.2f} GiB", "", "", "", "", f"{most} GiB"])
        head = ["what", "time", "of the processor", "opened again", "of the processor", "before", "bar"]
        _print(head, [row + [""] * (len(head) - len(row)) for row in rows], count, options.arms, load)


def _print(head: list[str], rows: list[list[object]], scenes: int, arms: int, load: str) -> None:
    import torch  # after the notebooks, as above

    from tests.benchmarks.timing import setting, table

    print(setting(torch.device("cpu"), scenes=scenes, arms=arms, load_before=load))
    print(table(head, rows), flush=True)


if __name__ == "__main__":
    main()
