"""Photos decoded and known again, at 240 and 2,160: `python -m tests.benchmarks.bench_photos --help`.

Time and memory of the first reading of a data set grow with its photos, and no faster; a second reading
decodes none. Each reading is a process of its own, so that its memory is its own.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from helpers.scenes.scenes import read_scenes
from tests.benchmarks.timing import setting, table

SIZE = (640, 480)
LABELS = ("worker", "hard hat", "cone", "crane")
BAR = 1.5  # times what the proportion to the smaller data set gives: seconds per photo, MiB per photo


def make(folder: Path, count: int, boxes: int = 4) -> Path:
    """A data set of `count` JPEGs of noise, each with so many boxes."""
    draw, entries = np.random.default_rng(0), []
    folder.mkdir()
    for i in range(count):
        small = draw.integers(0, 256, (SIZE[1] // 8, SIZE[0] // 8, 3), dtype=np.uint8)
        Image.fromarray(small).resize(SIZE).save(folder / f"{i:06}.jpg")
        low, sides = draw.integers(0, 300, (boxes, 2)), draw.integers(20, 150, (boxes, 2))
        entry = {"image": f"{i:06}.jpg", "width": SIZE[0], "height": SIZE[1]}
        entry["labels"] = draw.choice(LABELS, boxes).tolist()
        entries.append(entry | {"bboxes": np.concatenate([low, low + sides], axis=1).tolist()})
    (folder / "annotations.json").write_text(json.dumps(entries))
    then = time.time() - 60  # photos that changed just now are not trusted to stay
    for path in folder.iterdir():
        os.utime(path, (then, then))
    return folder


def reading(folder: Path, cache: Path) -> dict[str, float]:
    """Seconds, processor seconds and MiB of one reading, in a process of its own."""
    command = [sys.executable, "-m", "tests.benchmarks.bench_photos", "--read", str(folder)]
    done = subprocess.run(
        command, env=os.environ | {"GROUNDED_CACHE": str(cache)}, check=True, capture_output=True, text=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def _read(folder: Path) -> dict[str, float]:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start, processor = time.perf_counter(), time.process_time()
    scenes = read_scenes(folder)
    assert scenes
    return {
        "seconds": time.perf_counter() - start,
        "processor": time.process_time() - processor,
        "memory": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**10,
    }


def main() -> None:
    """Prints a markdown table; ends with an error where the larger data set costs more than in proportion."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=int, nargs="+", default=[240, 2160], help="ascending")
    parser.add_argument("--read", type=Path, metavar="FOLDER", help="read one data set and print its costs")
    options = parser.parse_args()
    if options.read:
        print(json.dumps(_read(options.read)))
        return
    rows, first = [], {}
    with tempfile.TemporaryDirectory() as place:
        for count in options.photos:
            folder = make(Path(place, f"photos-{count}"), count)
            for how in ("decoded", "known"):
                first[count, how] = cost = reading(folder, Path(place, "cache"))
                per_photo = 1000 * cost["processor"] / count
                rows.append([f"{count:,}", how, *(f"{value:.3g}" for value in (*cost.values(), per_photo))])
    print(setting(torch.device("cpu"), picture_size=f"{SIZE[0]} x {SIZE[1]}"))
    print(table(["photos", "how", "seconds", "processor seconds", "more MiB", "ms per photo"], rows))
    small, large = first[options.photos[0], "decoded"], first[options.photos[-1], "decoded"]
    proportion = BAR * options.photos[-1] / options.photos[0]
    for what in ("processor", "memory"):
        if large[what] > proportion * max(small[what], 1):
            raise SystemExit(f"{what}: {small[what]:.3g} and {large[what]:.3g}, more than in proportion")


if __name__ == "__main__":
    main()
