"""One run of a notebook as a task that any process or machine can carry out, and what became of it."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from helpers.claims import holder, left_by
from helpers.parameters import ParameterError
from helpers.runs.protocol import ROOT
from helpers.runs.run import Run
from helpers.sweeps.kernels import Kernel
from helpers.sweeps.notebooks import KernelDied, NotebookError, is_done, run_notebook

NOTEBOOKS = ROOT / "notebooks"
ATTEMPTS = 3  # of a notebook whose kernel dies: what it made is there, so the next one goes on
DONE, BEFORE, ELSEWHERE, FAILED = "done", "done before", "elsewhere", "failed"
_kept: list[Kernel] = []  # at most one: this process's, for tasks that keep their models


@dataclass(frozen=True, eq=False)
class Task:
    """A notebook's name (or its absolute path, without suffix), the name of the executed copy (default: the
    notebook's), and its parameters beside the run folder."""

    notebook: str
    name: str = ""
    parameters: Mapping[str, object] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """What it is called among the others."""
        return self.name or Path(self.notebook).name

    @property
    def arms(self) -> list[str]:
        """The arms that it was told to draw."""
        return list(self.parameters.get("arms", ()))


@dataclass(frozen=True)
class Outcome:
    """What became of a task: DONE, BEFORE (nothing had to be run), ELSEWHERE (someone is at it) or FAILED.

    pictures: how many were made; seconds: for all of it; reason: of a failure; executed: where the executed
    notebook lies.
    """

    what: str
    pictures: int = 0
    seconds: float = 0.0
    reason: str = ""
    executed: str = ""


def perform(folder: Path, task: Task, wait: bool = True) -> Outcome:
    """Run the task's notebook on a run folder unless it is done; a notebook that fails is an outcome.

    wait: for arms that someone else is drawing; else the outcome is ELSEWHERE at once.
    """
    run, began = Run(folder), time.monotonic()
    path = NOTEBOOKS / f"{task.notebook}.ipynb"
    output = run.folder / "notebooks" / f"{task.title}.ipynb"
    parameters = {"run_folder": str(run.folder), **task.parameters}
    if is_done(run, path, output, parameters):
        return Outcome(BEFORE)
    if not wait and any(holder(run.claim(arm)) is not None for arm in task.arms):
        return Outcome(ELSEWHERE)
    try:
        drawn = _run(run, path, output, parameters, task)
    except NotebookError as error:
        return Outcome(FAILED, reason=error.reason, executed=error.executed)
    except (ParameterError, OSError) as error:
        return Outcome(FAILED, reason=f"{type(error).__name__}: {error}", executed="not begun or not written")
    pictures = sum(count for count, _ in drawn.values())
    return Outcome(DONE, pictures, time.monotonic() - began, executed=str(output))


def _run(run: Run, path: Path, output: Path, parameters: Mapping[str, object], task: Task) -> dict:
    """Run the notebook, again where its kernel dies; in this process's own kernel if it keeps its models."""
    keep = task.parameters.get("keep_models", False)
    if not keep:
        close_kernel()
    for _ in range(ATTEMPTS):
        kernel = _kernel() if keep else None
        try:
            return run_notebook(path, output, parameters, kernel)
        except KernelDied as error:
            died = error
            if keep and kernel not in _kept:
                raise  # it was ended because the sweep was
    raise KernelDied(died.notebook, _of_death(run, task, died.reason), died.executed)


def _of_death(run: Run, task: Task, reason: str) -> str:
    sizes = {left_by(run.claim(arm)).get("batch_size") for arm in task.arms} - {None}
    told = f" at batch_size {max(sizes)}; give a smaller BATCH_SIZE, or free memory" if sizes else ""
    return f"{reason} {ATTEMPTS} times{told}"


def _kernel() -> Kernel:
    if not _kept:
        _kept.append(Kernel())
    return _kept[0]


def close_kernel() -> None:
    """End the kernel that this process keeps for the next task, and free what its models hold."""
    while _kept:
        _kept.pop().close()


def kill_kernel() -> None:
    """The same from another thread, while the kernel may be at work: its task then fails."""
    while _kept:
        _kept.pop().kill()
