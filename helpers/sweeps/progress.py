"""How far a run is: the state of its notebooks and arms, and what the rest takes."""

import re
import shutil
from collections.abc import Iterable, Sequence
from itertools import islice
from statistics import fmean
from typing import NamedTuple

from helpers.files import holder
from helpers.generation.draw import series
from helpers.runs.arms import Arm
from helpers.runs.run import Run
from helpers.scenes import images
from helpers.sweeps.tasks import failures

STATES = ("done", "running", "failed", "part", "missing")
SAMPLE = 5  # pictures per arm whose size and seconds are read


class State(NamedTuple):
    """One arm: one of STATES, how many pictures it has, and who is at it or why it failed."""

    arm: str
    what: str
    pictures: int
    reason: str = ""


def states(run: Run, arms: Iterable[str]) -> list[State]:
    """Judged by what lies in the run folder alone. Done: a picture of every scene, and no failure since."""
    failed = {arm: reason for reason, names in failures(run).values() for arm in names}
    found = []
    for arm in arms:
        what, reason, count = "missing", "", run.count_pictures(arm)
        if (facts := holder(run.claim(arm))) is not None:
            what, reason = "running", ", ".join(f"{key} {value}" for key, value in facts.items())
        elif count >= len(run.scenes):
            what = "done"
        elif arm in failed:
            what, reason = "failed", failed[arm]
        elif count:
            what = "part"
        found.append(State(arm, what, count, reason))
    return found


def table(run: Run, arms: Iterable[str]) -> list[str]:
    """Lines for a terminal: a summary, then every arm that is not done or has no scores yet."""
    found, scored = states(run, arms), {path.stem for path in run.folder.glob("scores/*")}
    counts = {what: sum(one.what == what for one in found) for what in STATES}
    summary = ", ".join(f"{count} {what}" for what, count in counts.items() if count) or "none yet"
    scores = sum(one.arm in scored for one in found)
    lines = [f"{number(len(found), 'arm')}: {summary}; {scores} with scores"]
    for one in sorted(found, key=lambda one: (one.what == "done", STATES.index(one.what))):
        if one.what != "done" or one.arm not in scored:
            without = "" if one.arm in scored else ", no scores"
            count = f"{one.pictures:>5} of {len(run.scenes)} pictures{without}"
            lines.append(f"  {one.arm:<32} {one.what:<8} {count}  {one.reason}".rstrip())
    return lines


def notebooks(run: Run, titles: Sequence[str]) -> list[str]:
    """Lines for a terminal: which notebooks have run to their end, why others have not, and the page."""
    found = {title: "done" for title in titles if run.has(f"notebooks/{title}.ipynb")}
    found |= {title: f"failed: {reason}" for title, (reason, _) in failures(run).items()}
    page = run.folder / "report.html"
    found |= {page.name: page.as_uri()} if page.is_file() else {}
    return [f"  {title:<32} {found.get(title, 'not yet')}" for title in (*titles, page.name)]


class Need(NamedTuple):
    """What arms take: pictures to make, seconds (None where nothing was measured yet) and bytes."""

    pictures: int
    seconds: float | None
    disk: int | None

    def sentence(self, run: Run) -> str:
        """For a terminal."""
        free = shutil.disk_usage(run.folder).free
        long = "an unknown time" if self.seconds is None else f"about {duration(self.seconds)}"
        large = "an unknown size" if self.disk is None else f"about {size(self.disk)}"
        short = ": NOT ENOUGH" * ((self.disk or 0) >= free)
        return f"{number(self.pictures, 'picture')} to make, {long}, {large} of {size(free)} free{short}"


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
        pictures, seconds = 0, 0.0
        for arm in arms:
            if (count := len(self._run.scenes) - self._run.count_pictures(arm)) > 0:
                known = next((self._seconds[key] for key in _keys(arm) if key in self._seconds), None)
                seconds = None if None in (seconds, known) else seconds + count * fmean(known) / workers
                pictures += count
        return Need(pictures, seconds, None if self._size is None else round(pictures * self._size))

    def plan(self, arms: Sequence[str], workers: int) -> list[str]:
        """Lines for a terminal: what all arms take together, then each series that lacks pictures."""
        lines = [self.need(arms, workers).sentence(self._run)]
        for some in series([arm for arm in arms if self.need([arm]).pictures]):
            one = self.need(some)
            long = "" if one.seconds is None else f"  about {duration(one.seconds)}"
            lines.append(f"  {_span(some):<48} {number(one.pictures, 'picture'):>14}{long}")
        return lines


def _span(names: Sequence[str]) -> str:
    """Arms that differ by guidance_scale alone in a word, such as `suffix-text-g1,3,5-s1`."""
    scales = sorted((scale for name in names for scale in re.findall(r"(?<=-g)[\d.]+", name)), key=float)
    return re.sub(r"(?<=-g)[\d.]+", ",".join(scales), names[0])


def _keys(arm: str) -> list[tuple]:
    """What may tell how long a picture of this arm takes, the nearest first."""
    parsed = Arm.parse(arm)
    return [(parsed.grounding, parsed.guidance_scale > 1), (parsed.grounding,), ()]


def duration(seconds: float) -> str:
    """Such as "40 s", "12 min" or "3.5 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def size(count: int) -> str:
    """Such as "12 MB"."""
    return f"{count / 1e6:,.1f} MB" if count < 1e9 else f"{count / 1e9:,.1f} GB"


def number(count: int, word: str) -> str:
    """Such as "1 picture" or "3 pictures"."""
    return f"{count} {word}{'' if count == 1 else 's'}"
