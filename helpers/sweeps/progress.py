"""How far a run is: the state of its notebooks and arms, what the rest takes, and lines on the terminal."""

import re
import shutil
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from statistics import fmean

from tqdm import tqdm

from helpers.files import holder
from helpers.generation.draw import series
from helpers.runs.arms import Arm
from helpers.runs.run import Run
from helpers.scenes import images
from helpers.sweeps.tasks import BEFORE, DONE, ELSEWHERE, FAILED, Outcome, Task, failures

STATES = ("running", "failed", "part", "missing", "done")
SAMPLE = 5  # pictures per arm whose size and seconds are read
BAR = "{n_fmt} of {total_fmt} pictures, {rate_fmt}, {remaining} left"


@dataclass(frozen=True)
class State:
    """One arm: one of STATES, how many pictures it has, and who is at it or why it failed."""

    arm: str
    what: str
    pictures: int
    reason: str = ""


def states(run: Run, arms: Iterable[str]) -> list[State]:
    """Judged by what lies in the run folder alone. Done: a picture of every scene, and no failure since."""
    failed = {arm: (reason, path) for reason, path, names in failures(run).values() for arm in names}
    return [_state(run, arm, failed.get(arm)) for arm in arms]


def _state(run: Run, arm: str, failed: tuple | None) -> State:
    count, at = run.count_pictures(arm), holder(run.claim(arm))
    if at is not None:
        return State(arm, "running", count, ", ".join(f"{key} {value}" for key, value in at.items()))
    if count >= len(run.scenes):
        return State(arm, "done", count)
    if failed is not None:
        return State(arm, "failed", count, f"{first_line(failed[0])}; {failed[1]}")
    return State(arm, "part" if count else "missing", count)


def table(run: Run, states: Sequence[State]) -> list[str]:
    """Lines for a terminal: a summary, then every arm that is not done or has no scores yet."""
    scored = {path.stem for path in (run.folder / "scores").glob("*")}
    counts = {what: sum(one.what == what for one in states) for what in STATES}
    summary = [f"{counts[what]} {what}" for what in ("done", *STATES[:-1]) if counts[what]]
    scores = sum(one.arm in scored for one in states)
    lines = [f"{_number(len(states), 'arm')}: {', '.join(summary) or 'none yet'}; {scores} with scores"]
    for one in sorted(states, key=lambda one: STATES.index(one.what)):
        if one.what != "done" or one.arm not in scored:
            reason = f"  {one.reason}" if one.reason else ""
            without = "" if one.arm in scored else ", no scores"
            count = f"{one.pictures:>5} of {len(run.scenes)} pictures{without}"
            lines.append(f"  {one.arm:<32} {one.what:<8} {count}{reason}")
    return lines


def notebooks(run: Run, titles: Iterable[str]) -> list[str]:
    """Lines for a terminal: which notebooks have run to their end, and why others have not."""
    failed, lines = failures(run), []
    for title in titles:
        state = "done" if (run.folder / "notebooks" / f"{title}.ipynb").is_file() else "not yet"
        if title in failed:
            reason, path, _ = failed[title]
            state = f"failed: {first_line(reason)}; {path}"
        lines.append(f"  {title:<32} {state}")
    return lines


@dataclass(frozen=True)
class Need:
    """What arms take: pictures to make, seconds (None where nothing was measured yet) and bytes."""

    pictures: int
    seconds: float | None
    disk: int | None

    def sentence(self, run: Run) -> str:
        """For a terminal."""
        free = shutil.disk_usage(run.folder).free
        long = "an unknown time" if self.seconds is None else f"about {duration(self.seconds)}"
        large = "an unknown size" if self.disk is None else f"about {size(self.disk)}"
        short = "" if self.disk is None or self.disk < free else ": NOT ENOUGH"
        return f"{_number(self.pictures, 'picture')} to make, {long}, {large} of {size(free)} free{short}"


class Costs:
    """What pictures take, as those of a run say themselves: seconds by grounding, with and without guidance,
    and the mean size of a file."""

    def __init__(self, run: Run) -> None:
        self._run, self._seconds, sizes = run, {}, []
        for arm in run.arms():
            for path in islice((run.folder / "pictures" / arm).glob("*.png"), SAMPLE):
                sizes.append(path.stat().st_size)
                seconds = images.read_text(path).get("seconds")
                for key in _keys(arm) if seconds else ():  # those from outside have no seconds
                    self._seconds.setdefault(key, []).append(float(seconds))
        self._size = fmean(sizes) if sizes else None

    def need(self, arms: Iterable[str], workers: int = 1) -> Need:
        """What is missing of those arms, shared by so many workers."""
        counts = {arm: max(0, len(self._run.scenes) - self._run.count_pictures(arm)) for arm in arms}
        missing = {arm: count for arm, count in counts.items() if count}
        lists = [
            next((self._seconds[key] for key in _keys(arm) if key in self._seconds), []) for arm in missing
        ]
        each = [fmean(some) if some else None for some in lists]
        known, total = None not in each, sum(missing.values())
        seconds = sum(n * x for n, x in zip(missing.values(), each, strict=True)) / workers if known else None
        return Need(total, seconds, None if self._size is None else round(total * self._size))

    def plan(self, arms: Sequence[str], workers: int) -> list[str]:
        """Lines for a terminal: what all arms take together, then each series that lacks pictures."""
        lines = [self.need(arms, workers).sentence(self._run)]
        for some in series([arm for arm in arms if self.need([arm]).pictures]):
            one = self.need(some)
            long = "" if one.seconds is None else f"  about {duration(one.seconds)}"
            lines.append(f"  {_span(some):<48} {_number(one.pictures, 'picture'):>14}{long}")
        return lines


def _span(names: Sequence[str]) -> str:
    """Arms that differ by guidance_scale alone in a word, such as `suffix-text-g1,3,5-s1`."""
    scales = sorted((scale for name in names for scale in re.findall(r"(?<=-g)[\d.]+", name)), key=float)
    return re.sub(r"(?<=-g)[\d.]+", ",".join(scales), names[0])


def _keys(arm: str) -> list[tuple]:
    """What may tell how long a picture of this arm takes, the nearest first."""
    parsed = Arm.parse(arm)
    return [(parsed.grounding, parsed.guidance_scale > 1), (parsed.grounding,), ()]


class Watch:
    """Lines on the terminal: one per task as it ends, and below it what runs now.

    The line of what runs is rewritten in a terminal, and is printed once a minute elsewhere: pictures that
    arms have in the run folder, how fast they come, and how long the rest will take.
    """

    def __init__(self, run: Run, tasks: Sequence[Task]) -> None:
        self._run, self._began, self._live = run, time.monotonic(), sys.stdout.isatty()
        self._arms = dict.fromkeys(arm for task in tasks for arm in task.arms)
        self._waiting, self._count = [task.title for task in tasks], len(tasks)
        self._first: tuple[int, float | None] = (self._made(), None)  # pictures from when on, for the rate
        self.every = 1.0 if self._live else 60.0  # seconds between two lines

    def ended(self, task: Task, outcome: Outcome) -> None:
        """Print what came of a task."""
        self._waiting.remove(task.title)
        place = f"{self._count - len(self._waiting)} of {self._count}" if self._count > 1 else ""
        self._clear()
        print(f"  {task.title:<32} {told(outcome):<32} {place}".rstrip(), flush=True)

    def show(self) -> None:
        """Print what runs now."""
        now, made, total = time.monotonic(), self._made(), len(self._arms) * len(self._run.scenes)
        title = self._waiting[0] + (f" +{len(self._waiting) - 1}" if len(self._waiting) > 1 else "")
        text = f"{made} of {total} pictures, " * (total > 0) + duration(now - self._began)
        if made > self._first[0] and self._first[1] is None:  # the first batch: models are loaded before it
            self._first = made, now
        elif made > self._first[0]:
            facts = {"n": made, "initial": self._first[0], "total": total, "elapsed": now - self._first[1]}
            text = tqdm.format_meter(**facts, unit="picture", bar_format=BAR)
        self._clear()
        print(f"  {title:<32} {text}", end="" if self._live else "\n", flush=True)

    def _clear(self) -> None:
        if self._live:
            print("\r\x1b[K", end="")

    def _made(self) -> int:
        return sum(self._run.count_pictures(arm) for arm in self._arms)


def told(outcome: Outcome) -> str:
    """An outcome in a few words."""
    if outcome.what != DONE:
        return {BEFORE: "done before", ELSEWHERE: "another sweep is at it", FAILED: "failed"}[outcome.what]
    made = f", {_number(outcome.pictures, 'picture')}" if outcome.pictures else ""
    return f"{outcome.seconds:6.1f} s{made}"


def failure(title: str, outcome: Outcome) -> str:
    """A failure with all that is said of it: which notebook, why, and where its executed copy lies."""
    first, *rest = [line for line in outcome.reason.splitlines() if line.strip()] or ["no reason given"]
    return "\n    ".join([f"{title}: {first.strip()}", *rest, f"executed notebook: {outcome.executed}"])


def first_line(text: str) -> str:
    """The first line of a text that has letters."""
    return next((line.strip() for line in text.splitlines() if line.strip()), "no reason given")


def duration(seconds: float) -> str:
    """Such as "40 s", "12 min" or "3.5 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def size(count: int) -> str:
    """Such as "12 MB"."""
    return f"{count / 1e6:,.1f} MB" if count < 1e9 else f"{count / 1e9:,.1f} GB"


def _number(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"
