"""What a sweep costs beside its pictures: `python -m tests.benchmarks.bench_sweep --help`.

The bare loop draws the same arms in this process, checkpoint loaded, nothing saved; sweeps start their
workers and kernels, load, run a notebook an arm, and save. --simulate: many arms of a sampler that costs
nothing, so that what is left is bookkeeping.
"""

import argparse
import resource
import statistics
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import torch

from helpers import sweeps
from helpers.generation import request
from helpers.grounding import generate
from helpers.models import load_gligen
from helpers.protocols import at, protocol
from helpers.runs import Run
from helpers.settings import Arm, model_set
from helpers.tasks import Task
from helpers.templates import TEMPLATES, fill
from helpers.workers import Processes
from tests.benchmarks.timing import interleaved, ratio, setting, spread, table
from tests.fakes import sampler
from tests.fakes.study import write_scenes

SCALES = (1, 3, 5, 7.5, 9, 11, 12)


def begin(folder: Path, dataset: str, grounding: str) -> Run:
    """A run that could be swept at once: its prompts are the scenes' own captions in the template."""
    run = Run.open(folder, **protocol(dataset, "demo"))
    prompts = [fill(TEMPLATES["suffix"], scene.caption, scene.labels) for scene in run.scenes]
    rows = [{"scene": scene.name, "prompt": text} for scene, text in zip(run.scenes, prompts, strict=True)]
    run.write_jsonl("prompts/suffix.jsonl", rows)
    run.write_json("choices/template.json", {"template": "suffix", "guidance_scale": 2.0})
    return run


def overhead(options: argparse.Namespace, folder: Path) -> None:
    """Seven arms of the demo photos: bare, one worker, two workers, and arms together in shared batches."""
    run = begin(folder / "bare", "data/demo", options.grounding)
    arms = [Arm("suffix", options.grounding, scale) for scale in SCALES]
    kind = "image" if options.grounding == "image" else "text"
    gligen = load_gligen(model_set("demo").gligen[kind], kind)
    prompts = run.prompts("suffix").set_index("scene").prompt
    count = len(arms) * len(run.scenes)

    def bare() -> None:
        for arm in arms:
            wanted = [request(scene, prompts[scene.name], arm, run.card["protocol"]) for scene in run.scenes]
            made = generate(gligen, wanted, 20, batch_size=8, fixed_shapes=True, progress=False)
            assert sum(1 for _ in made) == len(run.scenes)

    def swept(workers: int, together: bool = False) -> None:
        with tempfile.TemporaryDirectory(dir=folder) as where:
            mine = begin(Path(where) / "run", "data/demo", options.grounding)
            tasks = sweeps.arm_tasks([arm.name for arm in arms], together, 8)
            with Processes(workers) as pool:
                assert sweeps.draw_arms(mine, tasks, pool) == []
            assert mine.count_pictures() == count

    contestants = {
        "the bare loop, 1 process of all cores": bare,
        "a sweep, arm by arm, 1 worker": lambda: swept(1),
        "a sweep, arm by arm, 2 workers": lambda: swept(2),
        "a sweep, arms together, 1 worker": lambda: swept(1, True),
    }
    seconds = interleaved(contestants, options.turns, warm=False)
    base, one = seconds["the bare loop, 1 process of all cores"], seconds["a sweep, arm by arm, 1 worker"]
    rows = []
    for name, took in seconds.items():
        share = 1 - statistics.median(base) / statistics.median(took)
        rows.append([name, spread(took), f"{count / statistics.median(took):.3g}", f"{share:.1%}",
                     f"{ratio(one, took):.2f}"])  # fmt: skip
    print(setting(torch.device("cpu"), arms=len(arms), pictures=count, grounding=options.grounding))
    print(table(["who", "time", "pictures/s", "of it overhead", "times one worker's speed"], rows))


def simulate(options: argparse.Namespace, folder: Path) -> None:
    """Bookkeeping alone: seconds a picture, and memory of the sweep and its kernel as the run folder grows."""
    arms, scenes = options.simulate
    dataset = write_scenes(folder / "photos", scenes)
    run = begin(folder / "run", str(dataset), "text")
    names = [Arm("suffix", "text", 1 + number / 100).name for number in range(arms)]
    notebook = sampler.prepare(folder / "notebooks", "", 0)
    tasks = [Task(notebook, task.name, task.parameters) for task in sweeps.arm_tasks(names, batch_size=16)]
    memory, ended = [], threading.Event()

    def watch() -> None:
        me = psutil.Process()
        while not ended.wait(5):
            processes = [me, *me.children(recursive=True)]
            memory.append(
                (run_size(), [one.memory_info().rss / 2**20 for one in processes if one.is_running()])
            )

    def run_size() -> int:
        return sum(1 for _ in (run.folder / "pictures").glob("*"))

    with ThreadPoolExecutor(1) as pool, Processes(1) as workers:
        watching = pool.submit(watch)
        began = time.perf_counter()
        assert sweeps.draw_arms(run, tasks, workers) == []
        took = time.perf_counter() - began
        ended.set()
        watching.result()
    pictures = run.count_pictures()
    assert pictures == arms * scenes
    sampling = time_of_painting(run)
    print(setting(torch.device("cpu"), arms=arms, scenes=scenes))
    rows = [[at, f"{sum(sizes):.0f} MiB"] for at, sizes in memory[:: max(1, len(memory) // 8)]]
    print(table(["arms in the folder", "memory of sweep, worker and kernel"], rows))
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**10
    each = 1000 * (took / pictures - sampling)
    print(f"{pictures} pictures in {took:.0f} s: {each:.2f} ms of bookkeeping a picture, PNG included, "
          f"beside {1000 * sampling:.2f} ms of the fake sampler; largest process {peak:.0f} MiB\n")  # fmt: skip


def time_of_painting(run: Run, count: int = 200) -> float:
    """Seconds that the fake sampler itself takes a picture."""
    wanted = [
        request(run.scenes[0], "a", Arm("suffix", "text", 2 + i), run.card["protocol"]) for i in range(count)
    ]
    began = time.perf_counter()
    for one in wanted:
        sampler.paint(one, run.card["protocol"]["size"])
    return (time.perf_counter() - began) / count


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
