"""The study on the published models without their weights: stand-ins of true names, layout and size that hold
random numbers, read by the project's own loaders, and the whole report on a few demo photos.

    python -m tests.benchmarks.rehearsal [--to FOLDER] [--scale small] [--yes]

What it shows is that everything runs and what it takes, nothing about pictures. `--scale small` keeps one
layer of each stack and draws 128 pixels. pytorch-fid's file is checked by its SHA-256, which random weights
cannot have: the study runs in a copy of helpers/ and notebooks/ that expects the digest of the stand-in.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import psutil

from helpers.models.checkpoints import INCEPTION, INCEPTION_FILE
from helpers.models.sets import model_set
from helpers.runs.protocol import FEWEST, ROOT
from tests.fakes.full_size_hub import write_hub
from tests.fakes.inception import write_inception

GB = 10**9
NEEDS = {  # (disk, memory) in bytes. full: computed, and measured on a CPU in float32; small: measured
    "full": (46 * GB, 15 * GB),
    "small": (5 * GB, 4 * GB),
}
CARRIED = ("helpers", "notebooks", "data/demo", "pyproject.toml")


def short(disk: int, memory: int, folder: Path) -> list[str]:
    """What this machine lacks of that much disk and memory."""
    place = next(path for path in (folder, *folder.resolve().parents) if path.is_dir())
    have = {"disk": shutil.disk_usage(place).free, "memory": psutil.virtual_memory().available}
    need = {"disk": disk, "memory": memory}
    return [
        f"{name}: {need[name] / GB:.0f} GB are needed, {have[name] / GB:.1f} GB are free"
        for name in need
        if have[name] < need[name]
    ]


def write(folder: Path, scale: str) -> dict[str, str]:
    """Write the stand-ins, and the copy that reads them; returns its environment."""
    write_hub(folder / "hub", model_set("published"), filled=True, layers=1 if scale == "small" else None)
    file = folder / "torch" / "hub" / "checkpoints" / INCEPTION_FILE
    file.parent.mkdir(parents=True, exist_ok=True)
    write_inception(file)
    for name in CARRIED:
        source, to = ROOT / name, folder / "copy" / name
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, to) if source.is_dir() else shutil.copy(source, to)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()[:8]
    changes = {"checkpoints.py": (f'"{INCEPTION.revision}"', f'"{digest}"')}
    changes |= {"sets.py": ("size=512", "size=128")} if scale == "small" else {}
    for name, change in changes.items():
        module = folder / "copy" / "helpers" / "models" / name
        text = module.read_text(encoding="utf-8")
        assert change[0] in text, f"{change[0]} is not in {module}"
        module.write_text(text.replace(*change), encoding="utf-8")
    own = {"HF_HUB_CACHE": folder / "hub", "HF_HUB_OFFLINE": 1, "TORCH_HOME": folder / "torch"}
    return (
        os.environ | {name: str(value) for name, value in own.items()} | {"PYTHONPATH": str(folder / "copy")}
    )


def main() -> int:
    """Exit status 2 where there is no room, else that of the study."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--to", type=Path, default=Path("runs/rehearsal"), help="stand-ins and run")
    parser.add_argument("--scale", choices=NEEDS, default="full")
    parser.add_argument("--yes", action="store_true", help="begin although disk or memory are short")
    options = parser.parse_args()
    folder, (disk, memory) = options.to.resolve(), NEEDS[options.scale]
    print(f"{disk / GB:.0f} GB of disk in {folder}, {memory / GB:.0f} GB of memory; hours without a GPU")
    if (lacking := short(disk, memory, folder)) and not options.yes:
        print(*lacking, "to try all the same: --yes; without depth: --scale small", sep="\n", file=sys.stderr)
        return 2
    if folder.exists():
        print(f"{folder}: is there already; remove it, or name another (--to)", file=sys.stderr)
        return 2
    began = time.monotonic()
    with ProcessPoolExecutor(1) as writer:  # which gives its memory back
        environment = writer.submit(write, folder, options.scale).result()
    print(f"stand-ins written in {time.monotonic() - began:.0f} s", flush=True)
    command = [sys.executable, "-m", "helpers", "report", "--models", "published", "--limit", str(FEWEST)]
    command += ["--steps", "1", "--beams", "1", "--yes", "--run", str(folder / "run")]
    done = subprocess.run(command, cwd=folder / "copy", env=environment)
    print(f"exit status {done.returncode} after {time.monotonic() - began:.0f} s")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
