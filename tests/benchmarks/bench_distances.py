"""Distances against pytorch-fid, jackknife, and all scores of an arm: `python -m
tests.benchmarks.bench_distances`."""

import argparse
import contextlib
import io
import os
import subprocess
import sys
import tempfile
import tracemalloc
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from pytorch_fid import fid_score

from helpers.models.checkpoints import INCEPTION
from helpers.models.sets import data_folder, model_set
from helpers.runs.run import Run
from helpers.scenes import images
from helpers.scoring import distances, intervals, scores
from tests.benchmarks.timing import interleaved, ratio, setting, spread, table
from tests.fakes.inception import write_inception

FASTER, JACKKNIFE, ARM = 50, 10.0, 10.0  # times pytorch-fid's function; seconds; seconds


def sets(n: int, d: int, count: int) -> list[np.ndarray]:
    """Features as networks give them: float32, positive, with a falling spectrum."""
    rng = np.random.default_rng(n)
    scale = np.linspace(2, 0.1, d) ** 2
    return [np.abs(rng.normal(size=(n, d)) * scale + 0.1 * i).astype(np.float32) for i in range(count)]


def theirs(a: np.ndarray, b: np.ndarray) -> float:
    """pytorch-fid from features on: moments, matrix square root, distance."""
    moments = [part for x in (a, b) for part in (x.mean(0), np.cov(x, rowvar=False))]
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        return fid_score.calculate_frechet_distance(*moments)


def command(a: np.ndarray, b: np.ndarray, folder: Path) -> Callable[[], object]:
    """pytorch-fid's command on two files of moments. It loads its network first, whose weights it finds in a
    cache of their own: random ones, which change no time."""
    cache = folder / "hub" / "checkpoints"
    cache.mkdir(parents=True)
    write_inception(cache / Path(INCEPTION.source).name)
    files = [str(folder / f"{name}.npz") for name in "ab"]
    for file, x in zip(files, (a, b), strict=True):
        np.savez(file, mu=x.mean(0), sigma=np.cov(x, rowvar=False))
    words = [sys.executable, "-m", "pytorch_fid", "--device", "cpu", *files]
    told = os.environ | {"TORCH_HOME": str(folder)}
    return lambda: subprocess.run(words, check=True, capture_output=True, env=told)


def distance_rows(n: int, d: int, repeats: int) -> list[list[object]]:
    """Ours, pytorch-fid's function and its command on the same features; agreement is checked first."""
    a, b = sets(n, d, 2)
    apart = abs(distances.frechet_distance(a, b) / theirs(a, b) - 1)
    if apart > 1e-6:
        raise AssertionError(f"n = {n}: the distances differ by {apart:.1e}, relative")
    runs = {"ours": lambda: distances.frechet_distance(a, b), "pytorch-fid, function": lambda: theirs(a, b)}
    with tempfile.TemporaryDirectory() as folder:
        if d == 2048:
            runs["pytorch-fid, command on moments"] = command(a, b, Path(folder))
        seconds = interleaved(runs, repeats, warm=False)
    bars = {"pytorch-fid, function": f"at least {FASTER}"}
    return [
        [f"n = {n}, {name}", spread(times), f"{ratio(times, seconds['ours']):.1f}", bars.get(name, "")]
        for name, times in seconds.items()
    ]


def jackknife_rows(n: int, d: int, repeats: int) -> list[list[object]]:
    """The paired difference of two arms with its standard error, from features."""
    photos, a, b = sets(n, d, 3)

    def compare() -> intervals.Estimate:
        return intervals.paired(*distances.paired_frechet(a, photos), *distances.paired_frechet(b, photos))

    times = interleaved({"": compare}, repeats)[""]
    tracemalloc.start()
    compare()
    peak = tracemalloc.get_traced_memory()[1] / 2**20
    tracemalloc.stop()
    size = f"{peak:.0f} MiB ({peak * 2**20 / (n * d * 8):.0f} n d)"
    return [[f"difference of two arms, n = {n}", spread(times), size, f"{JACKKNIFE:g} s at n = 200"]]


def arm_rows(repeats: int) -> list[list[object]]:
    """Every score of an arm of the demo photos' scenes, pictures on disk, judges loaded, nothing cached."""
    judges = scores.Judges(model_set("demo"))
    with tempfile.TemporaryDirectory() as folder:
        dataset = data_folder() / "demo"
        run = Run.open(folder, dataset=str(dataset), models="demo", size=128, fit="squash")
        prompts = [{"scene": one.name, "prompt": one.caption, "truncated": False} for one in run.scenes]
        run.write_jsonl("prompts/caption.jsonl", prompts)
        rng, found = np.random.default_rng(0), len(run.scenes)
        first, *arms = [f"caption-text-g{turn + 1}" for turn in range(repeats + 1)]
        for arm in (first, *arms):
            for scene in run.scenes:
                noise = Image.fromarray(rng.integers(0, 256, (128, 128, 3), dtype=np.uint8))
                images.save(Image.blend(scene.photo(), noise, 0.2), run.picture(arm, scene))
        scores.score(run, run.scenes, [first], judges)  # the photos are judged with the first arm
        rest = iter(arms)
        new = interleaved(
            {"": lambda: scores.score(run, run.scenes, [next(rest)], judges)}, repeats, warm=False
        )
        old = interleaved({"": lambda: scores.score(run, run.scenes, [first], judges)}, repeats, warm=False)
    return [
        [f"all scores of an arm of {found} pictures", spread(new[""]), "", f"{ARM:g} s"],
        ["the same, nothing new", spread(old[""]), "", ""],
    ]


def main() -> None:
    """Prints two markdown tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 1000])
    parser.add_argument("--dimensions", type=int, default=2048)
    options = parser.parse_args()
    print(setting(torch.device("cpu"), **vars(options)))
    rows = [row for n in options.sizes for row in distance_rows(n, options.dimensions, options.repeats)]
    print(table(["Fréchet distance", "time", "times ours", "bar"], rows))
    rows = [row for n in (200, 1000) for row in jackknife_rows(n, options.dimensions, options.repeats)]
    if (data_folder() / "models" / "clip").is_dir():
        rows += arm_rows(options.repeats)
    print(table(["what", "time", "peak memory", "bar"], rows))


if __name__ == "__main__":
    main()
