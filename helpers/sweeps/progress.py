"""What a sweep has done and has yet to do: the state of each arm, and what the rest takes."""

import shutil
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from helpers.claims import holder
from helpers.runs.arms import Arm
from helpers.runs.run import Run
from helpers.sweeps.notebooks import drawn, failures
from helpers.sweeps.tasks import BEFORE, DONE, ELSEWHERE, FAILED, Outcome

STATES = ("done", "running", "failed", "missing")
SAMPLE = 200  # pictures whose size is looked at


@dataclass(frozen=True)
class State:
    """One arm: one of STATES, how many pictures it has, and who is at it or why it failed."""

    arm: str
    what: str
    pictures: int
    told: str = ""


def states(run: Run, arms: Iterable[str]) -> list[State]:
    """Judged by what lies in the run folder alone. Done: a picture of every scene, and no failure since."""
    failed = failures(run.folder)
    return [_state(run, arm, failed.get(arm)) for arm in arms]


def _state(run: Run, arm: str, failed: tuple[str, Path] | None) -> State:
    count, at = run.count_pictures(arm), holder(run.claim(arm))
    if at is not None:
        return State(arm, "running", count, ", ".join(f"{key} {value}" for key, value in at.items()))
    if failed is not None:
        reason, path = failed
        return State(arm, "failed", count, f"{first_line(reason)}; {path}")
    return State(arm, "done" if count >= len(run.scenes) else "missing", count)


def table(states: Sequence[State], scenes: int) -> list[str]:
    """Lines for a terminal: a summary, then every arm that is not done."""
    counts = {what: sum(one.what == what for one in states) for what in STATES}
    lines = [f"{len(states)} arms: {', '.join(f'{count} {what}' for what, count in counts.items())}"]
    for one in sorted(states, key=lambda one: STATES.index(one.what)):
        if one.what != "done":
            told = f"  {one.told}" if one.told else ""
            lines.append(f"  {one.arm:<32} {one.what:<8} {one.pictures:>5} of {scenes} pictures{told}")
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
        return f"{self.pictures} pictures to make, {long}, {large} of {size(free)} free{short}"


class Costs:
    """What pictures take, from what a run measured so far: seconds by grounding, with and without guidance,
    and the mean size of a file."""

    def __init__(self, run: Run) -> None:
        self._run, self._rates = run, _rates(drawn(run.folder))
        files = islice(run.folder.glob("pictures/*/*.png"), SAMPLE)
        sizes = [path.stat().st_size for path in files]
        self._size = sum(sizes) / len(sizes) if sizes else None

    def need(self, arms: Iterable[str], workers: int = 1) -> Need:
        """What is missing of those arms, shared by so many workers."""
        counts = {arm: max(0, len(self._run.scenes) - self._run.count_pictures(arm)) for arm in arms}
        missing = {arm: count for arm, count in counts.items() if count}
        each = [next((self._rates[key] for key in _keys(arm) if key in self._rates), None) for arm in missing]
        known, total = None not in each, sum(missing.values())
        seconds = sum(n * x for n, x in zip(missing.values(), each, strict=True)) / workers if known else None
        return Need(total, seconds, None if self._size is None else round(total * self._size))

    def plan(self, arms: Sequence[str], workers: int) -> list[str]:
        """Lines for a terminal: what each arm takes, then all together."""
        lines = []
        for arm in arms:
            one = self.need([arm])
            long = f"about {duration(one.seconds)}" if one.pictures and one.seconds is not None else ""
            lines.append(f"  {arm:<32} {one.pictures:>6} pictures  {long}".rstrip())
        return [*lines, self.need(arms, workers).sentence(self._run)]


def _keys(arm: str) -> list[tuple]:
    """What may tell how long a picture of this arm takes, the nearest first."""
    parsed = Arm.parse(arm)
    return [(parsed.grounding, parsed.guidance_scale > 1), (parsed.grounding,), ()]


def _rates(measured: dict[str, list]) -> dict[tuple, float]:
    """Seconds a picture, by each of `_keys`."""
    totals: dict[tuple, list[float]] = {}
    for arm, (pictures, seconds) in measured.items():
        for key in _keys(arm):
            total = totals.setdefault(key, [0, 0.0])
            total[0], total[1] = total[0] + pictures, total[1] + seconds
    return {key: seconds / pictures for key, (pictures, seconds) in totals.items() if pictures}


class Lines:
    """One line a task as it ends: what came of it, how fast, and how long the rest will take."""

    def __init__(self, count: int, pictures: int) -> None:
        self._count, self._pictures = count, pictures
        self._ended = self._made = 0
        self._began = time.monotonic()

    def line(self, title: str, outcome: Outcome) -> str:
        """What to print of a task that ended now."""
        self._ended += 1
        self._made += outcome.pictures
        return f"  {title:<38} {told(outcome):<42} {self._ended} of {self._count}{self._left()}"

    def _left(self) -> str:
        elapsed, left = time.monotonic() - self._began, self._pictures - self._made
        if not self._made or left <= 0:
            return ""
        return f", {self._made / elapsed:.2g} a second, about {duration(left * elapsed / self._made)} left"


def told(outcome: Outcome) -> str:
    """An outcome in a few words."""
    if outcome.what == FAILED:
        return f"failed: {first_line(outcome.reason)}"
    if outcome.what != DONE:
        return {BEFORE: "done before", ELSEWHERE: "someone else is at it"}[outcome.what]
    made = f", {outcome.pictures} pictures" if outcome.pictures else ""
    return f"{outcome.seconds:6.1f} s{made}"


def failure(title: str, outcome: Outcome) -> str:
    """A failure in a line: what, why, and where the executed notebook lies."""
    return f"{title}: {first_line(outcome.reason)} ({outcome.executed})"


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
