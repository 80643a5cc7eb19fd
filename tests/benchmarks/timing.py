"""What benchmarks share: contestants timed in turns in one process, and a table that says where."""

import datetime
import platform
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version

import torch


def interleaved(contestants: dict[str, Callable[[], object]], repeats: int, warm: bool = True) -> dict:
    """Seconds of each contestant, repeats times, in turns, so that what slows the machine slows all of them.

    warm: one turn before that does not count. On a GPU the clock stops when its queue is empty.
    """
    seconds = {name: [] for name in contestants}
    for turn in range(-warm, repeats):
        for name, run in contestants.items():
            start = time.perf_counter()
            run()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if turn >= 0:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def spread(seconds: list[float]) -> str:
    return f"{statistics.median(seconds):.3g} s ({min(seconds):.3g} to {max(seconds):.3g})"


def ratio(slow: list[float], fast: list[float]) -> float:
    """How many times faster, by medians."""
    return statistics.median(slow) / statistics.median(fast)


def table(head: list[str], rows: list[list[object]]) -> str:
    """A markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines) + "\n"


def processor() -> str:
    with open("/proc/cpuinfo") as lines:
        names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def setting(device: torch.device, **more: object) -> str:
    """The line over a table: date, device, versions, and what else there is to know."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else processor()
    name += "" if device.type == "cuda" else f", {torch.get_num_threads()} threads"
    versions = ", ".join(
        f"{package} {version(package)}" for package in ("torch", "diffusers", "transformers")
    )
    said = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in more.items())
    return f"{datetime.date.today()}, {name}; {versions}; {said}.\n"
