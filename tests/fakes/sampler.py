"""A sampler of the real one's shape that costs nothing: for sweeps that are killed, and for counting costs.

`prepare` makes notebook 03 with one more cell, which puts it in the real one's place; `python -m
tests.fakes.sampler` sweeps with that notebook.
"""

import argparse
import copy
import hashlib
import json
import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
from PIL import Image

from helpers.generation.pictures import Picture, write
from helpers.runs.run import Run
from helpers.scenes import images
from helpers.sweeps.tasks import NOTEBOOKS

ROOT = Path(__file__).resolve().parents[2]
AT_ONCE = 2  # pictures


REPORTED = "from helpers.report import box_scores, comparisons, gallery, tables"


def prepare(folder: Path, log: Path, pause: float, shown: bool = True) -> str:
    """Write the notebook; its path without suffix, for a task. pause: seconds per batch; log: see `install`.

    shown: with what notebook 03 shows of the pictures once all are made, which takes longer than making them.
    """
    import nbformat  # here, because kernels and sweeps import this module and wait a second for that one

    book = nbformat.read(NOTEBOOKS / "03_gligen_grounding.ipynb", as_version=4)
    if not shown:
        drawn = next(i for i, cell in enumerate(book.cells) if cell.source.startswith("assert"))
        del book.cells[drawn + 1 :]
        [imports] = [cell for cell in book.cells if REPORTED in cell.source]
        imports.source = imports.source.replace(REPORTED, "from helpers.report import comparisons")
    place = next(i for i, cell in enumerate(book.cells) if "parameters" in cell.metadata.get("tags", ()))
    lines = ["import sys", f"sys.path.insert(0, {str(ROOT)!r})", "from tests.fakes import sampler"]
    call = f"sampler.install({str(log)!r}, {pause})"
    book.cells.insert(place + 1, nbformat.v4.new_code_cell("\n".join([*lines, call]), id="fake"))
    folder.mkdir(parents=True, exist_ok=True)
    nbformat.write(book, folder / "03_gligen_grounding.ipynb")
    return str(folder / "03_gligen_grounding")


def install(log: str, pause: float) -> None:
    """Take the place of the models and the loop. log: gets a line for every picture that was saved."""
    models, grounding = ModuleType("helpers.models.loading"), ModuleType("helpers.generation.generate")
    models.load_gligen = models.load_stable_diffusion = lambda *_, **__: SimpleNamespace()
    models.release = lambda *_: None
    grounding.fitting, grounding.write = lambda *_: AT_ONCE, write

    def generate(gligen, requests, batch_size, height, width, steps, scheduler, **_):
        for start in range(0, len(requests), batch_size):
            time.sleep(pause)
            for request in requests[start : start + batch_size]:
                yield Picture(request, paint(request, width), told(request, width, steps, scheduler))

    grounding.generate = generate
    sys.modules |= {"helpers.models.loading": models, "helpers.generation.generate": grounding}
    if log and not hasattr(images, "plain_save"):
        images.plain_save = copy.copy(images.save)
        images.save = lambda image, path, text=None: (images.plain_save(image, path, text), note(log, path))


def paint(request, side: int) -> Image.Image:
    """A smooth picture that depends on everything that was asked for."""
    knobs = (request.grounding, request.guidance_scale, request.grounded_fraction, request.seed)
    digest = hashlib.sha256(repr((request.scene, knobs)).encode()).hexdigest()
    random = np.random.default_rng(int(digest[:12], 16))
    small = Image.fromarray(random.integers(0, 255, (4, 4, 3), dtype=np.uint8))
    return small.resize((side, side), Image.Resampling.BICUBIC)


def told(request, side: int, steps: int, scheduler: str) -> dict:
    """The record of a picture."""
    asked = {"scene": request.scene, "prompt": request.prompt, "grounding": request.grounding}
    asked |= {"guidance_scale": request.guidance_scale, "seed": request.seed, "steps": steps}
    empty = {"dropped_boxes": [], "dropped_phrases": [], "cut_texts": [], "flagged": False}
    return asked | empty | {"width": side, "height": side, "scheduler": scheduler}


def note(log: str, path: Path) -> None:
    """Append a line at once, whoever else does."""
    file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, f"{path}\n".encode())
    os.close(file)


def main() -> int:
    """Sweep the arms that a JSON list names: the notebook, workers or a cluster, and how many fail."""
    from helpers.sweeps import plan
    from helpers.sweeps.workers import Cluster, Workers

    signal.signal(signal.SIGINT, signal.default_int_handler)  # a script's & would have it ignored
    parser = argparse.ArgumentParser()
    parser.add_argument("run")
    parser.add_argument("notebook")
    parser.add_argument("arms", type=json.loads)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--cluster")
    parser.add_argument("--batch-size", type=int, default=0)
    options = parser.parse_args()
    workers = Cluster(options.cluster) if options.cluster else Workers(options.workers)
    print(workers.name, flush=True)
    real = plan.series_tasks(options.arms, workers.count, options.batch_size)
    tasks = [replace(task, notebook=options.notebook) for task in real]
    with workers:
        failures = plan.draw_arms(Run(options.run), tasks, workers)
    print(*failures, sep="\n")
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main())
