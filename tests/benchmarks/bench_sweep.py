"""What a sweep costs beside its pictures: `python -m tests.benchmarks.bench_sweep --help`.

The bare loop draws the same arms in this process, checkpoint loaded, nothing saved; sweeps start their
kernels, load, run a notebook per series, and save. --simulate: many arms of a sampler that costs
nothing, so that what is left is bookkeeping.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import psutil
import torch

from helpers.captioning.prompts import TEMPLATES, fill
from helpers.generation.draw import request
from helpers.generation.generate import generate
from helpers.models.loading import load_gligen
from helpers.models.sets import model_set
from helpers.runs.arms import Arm
from helpers.runs.protocol import ROOT, at, protocol
from helpers.runs.run import Run
from helpers.scenes import images
from helpers.sweeps import plan
from helpers.sweeps.workers import Workers
from tests.benchmarks.timing import interleaved, ratio, setting, spread, table
from tests.fakes import sampler
from tests.fakes.study import write_scenes

SCALES = (1, 3, 5, 7.5, 9, 11, 12)


def begin(folder: Path, dataset: str) -> Run:
    """A run that could be swept at once: its prompts are the scenes' own captions in the template."""
    run = Run.open(folder, **protocol(dataset, "demo"))
    prompts = [fill(TEMPLATES["suffix"], scene.caption, scene.labels) for scene in run.scenes]
    rows = [{"scene": scene.name, "prompt": text} for scene, text in zip(run.scenes, prompts, strict=True)]
    run.write_jsonl("prompts/suffix.jsonl", rows)
    run.write_json("choices/template.json", {"template": "suffix", "guidance_scale": 2.0})
    return run


def overhead(options: argparse.Namespace, folder: Path) -> None:
    """Seven arms of the demo photos: bare, and as a sweep with one notebook at a time and with two."""
    arms = [Arm("suffix", options.grounding, scale) for scale in SCALES]
    ready = [begin(folder / f"run-{place}", "data/demo") for place in range(2 * options.turns)]
    run, count = ready[0], len(arms) * len(ready[0].scenes)
    kind = "image" if options.grounding == "image" else "text"
    gligen = load_gligen(model_set("demo").gligen[kind], kind)
    prompts = run.prompts("suffix").set_index("scene").prompt
    alone, later = [], []  # seconds from the first batch to the last, bare and in a sweep that has started

    def bare() -> None:
        began = []
        for arm in arms:
            wanted = [request(scene, prompts[scene.name], arm, run.card["protocol"]) for scene in run.scenes]
            own = {name: run.card["protocol"][name] for name in ("steps", "scheduler")}
            for _ in generate(gligen, wanted, **own, batch_size=8, fixed_shapes=True, progress=False):
                began = began or [time.perf_counter()]
        alone.append(time.perf_counter() - began[0])

    def swept(*more: str) -> None:
        """As a command, from the start of Python to its end."""
        mine, names = ready.pop(), json.dumps([arm.name for arm in arms])
        command = [sys.executable, "-m", "tests.fakes.sampler", str(mine.folder), "03_gligen_grounding"]
        subprocess.run([*command, names, "--batch-size", "8", *more], cwd=ROOT, check=True)
        assert mine.count_pictures() == count
        if not more:
            saved = [path.stat().st_mtime for path in mine.folder.glob("pictures/*/*.png")]
            later.append(max(saved) - min(saved))

    contestants = {
        "the bare loop, 1 process of all cores": bare,
        "a sweep, 1 notebook at a time": swept,
        "a sweep, 2 notebooks at a time": lambda: swept("--workers", "2"),
    }
    seconds = interleaved(contestants, options.turns, warm=False)
    base, one, *_ = seconds.values()
    rows = [
        [
            name,
            spread(took),
            f"{count / statistics.median(took):.3g}",
            f"{1 - 1 / ratio(took, base):.1%}",
            f"{ratio(one, took):.2f}",
        ]
        for name, took in seconds.items()
    ]
    print(setting(torch.device("cpu"), arms=len(arms), pictures=count, grounding=options.grounding))
    print(table(["who", "time", "pictures/s", "of it overhead", "times the speed of one"], rows))
    print(f"Once it has started, {1 - 1 / ratio(later, alone):.1%} of a sweep is overhead.\n")


def simulate(options: argparse.Namespace, folder: Path) -> None:
    """Bookkeeping alone: seconds per picture, and memory of all processes as the run folder grows."""
    arms, scenes = options.simulate
    run = begin(folder / "run", str(write_scenes(folder / "photos", scenes)))
    names = [Arm("suffix", "text", 1 + number / 100).name for number in range(arms)]
    notebook = sampler.prepare(folder / "notebooks", "", 0)
    tasks = [replace(task, notebook=notebook) for task in plan.series_tasks(names, batch_size=16)]
    memory, ended = [], threading.Event()

    def watch() -> None:
        while not ended.wait(5):
            there = sum(1 for _ in (run.folder / "pictures").glob("*"))
            memory.append([there, f"{resident():.0f} MiB"])

    with ThreadPoolExecutor(1) as pool, Workers(1) as workers:
        watching = pool.submit(watch)
        began = time.perf_counter()
        assert plan.draw_arms(run, tasks, workers) == []
        took = time.perf_counter() - began
        ended.set()
        watching.result()
    assert run.count_pictures() == arms * scenes
    print(setting(torch.device("cpu"), arms=arms, scenes=scenes))
    head = ["arms in the folder", "memory of sweep and kernel"]
    print(table(head, memory[:: len(memory) // 8 or 1]))
    painting, saving = costs_of_pictures(run, folder)
    each = 1000 * took / (arms * scenes) - painting
    print(f"{arms * scenes} pictures in {took:.0f} s: {each:.2f} ms of bookkeeping a picture; one PNG takes")
    print(f"{saving:.2f} ms on one core, and the fake sampler, which is not counted, {painting:.2f} ms\n")


def resident() -> float:
    """MiB of this process and all that it started."""
    total = 0
    for process in (psutil.Process(), *psutil.Process().children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            total += process.memory_info().rss
    return total / 2**20


def costs_of_pictures(run: Run, folder: Path, count: int = 200) -> tuple[float, float]:
    """Milliseconds that the fake sampler takes per picture, and that one takes to save."""
    protocol, began = run.card["protocol"], time.perf_counter()
    arms = [Arm("suffix", "text", 2 + place) for place in range(count)]
    asked = [request(run.scenes[0], "a", arm, protocol) for arm in arms]
    pictures = [sampler.paint(one, protocol["size"]) for one in asked]
    painted = time.perf_counter()
    for picture in pictures:
        images.save(picture, folder / "one.png")
    saved = time.perf_counter()
    return 1000 * (painted - began) / count, 1000 * (saved - painted) / count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=1)
    parser.add_argument("--grounding", default="text", choices=("none", "text", "image"))
    said = "only the bookkeeping of so many arms and scenes, such as 500 200"
    parser.add_argument("--simulate", type=int, nargs=2, metavar=("ARMS", "SCENES"), help=said)
    options = parser.parse_args()
    at("runs").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=at("runs")) as folder:
        (simulate if options.simulate else overhead)(options, Path(folder))


if __name__ == "__main__":
    main()
