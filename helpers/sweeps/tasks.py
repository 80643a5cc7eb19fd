"""One run of a notebook as a task that any thread or machine can carry out, and when it need not be run."""

import ast
import hashlib
import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from helpers.files import holder, last_holder, stamp
from helpers.parameters import ParameterError
from helpers.runs.protocol import ROOT, at
from helpers.runs.run import Run
from helpers.sweeps.notebooks import NotebookError, execute, keep, read_facts, stops

NOTEBOOKS = ROOT / "notebooks"
ATTEMPTS = 3  # of a notebook whose kernel dies: what it made is there, so the next one goes on
DONE, BEFORE, ELSEWHERE, FAILED = "done", "done before", "another sweep is at it", "failed"
RESULTS = ("captions/*", "prompts/*", "choices/*", "pictures/*/*.png", "scores/*", "boxes/*")
READS = {  # files of the run folder after whose change a notebook runs again, beside its arms' pictures
    "00_overview": (),
    "01_captioning": ("captions/*", "choices/captioner.json", "scores/captioner-*"),
    "02_template_comparison": ("captions/*", "prompts/*", "choices/*"),
    "03_gligen_grounding": ("prompts/*", "choices/template.json"),
    "06_visual_comparison": (*RESULTS, "training.json"),
    "08_methods": ("prompts/*", "choices/template.json"),
    "07_edits": ("edits/*", "prompts/caption.jsonl"),
    "10_training": ("choices/template.json", "boxes/*", "training.json"),
    "09_cost": ("prompts/*", "choices/template.json", "09_cost/*/scores/*", "09_cost/*/cost.json"),
}  # of all others: RESULTS


@dataclass(frozen=True, eq=False)
class Task:
    """A run of a notebook.

    notebook: its name, or its absolute path without suffix; name: of the executed copy, by default the
    notebook's; parameters: beside the run folder; arms: whose pictures it makes.
    """

    notebook: str
    name: str = ""
    parameters: Mapping[str, object] = field(default_factory=dict)
    arms: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """Its name among the tasks of a run."""
        return self.name or Path(self.notebook).name

    @property
    def path(self) -> Path:
        """The notebook's file."""
        return NOTEBOOKS / f"{self.notebook}.ipynb"

    def output(self, run: Run) -> Path:
        """Where the executed copy lies or will lie."""
        return run.folder / "notebooks" / f"{self.title}.ipynb"


@dataclass(frozen=True)
class Outcome:
    """The end of a task: DONE, BEFORE (nothing had to be run), ELSEWHERE (nothing was run) or FAILED.

    pictures: how many were made; seconds: for all of it; reason: of a failure; executed: the path of the
    executed copy, or why there is none.
    """

    what: str
    pictures: int = 0
    seconds: float = 0.0
    reason: str = ""
    executed: str = ""

    def __str__(self) -> str:
        made = f", {self.pictures} picture{'s' * (self.pictures > 1)}" if self.pictures else ""
        return f"{self.seconds:6.1f} s{made}" if self.what == DONE else self.what


def perform(
    folder: Path, task: Task, wait: bool = True, environment: Mapping[str, str] | None = None
) -> Outcome:
    """Run the task's notebook on a run folder unless it is done; a notebook that fails is an outcome.

    wait: for arms that another sweep is drawing; else the outcome is ELSEWHERE at once. environment: more
    variables for the kernel.
    """
    run, began = Run(folder), time.monotonic()
    if is_done(run, task):
        return Outcome(BEFORE)
    if not wait and any(holder(run.claim(arm)) is not None for arm in task.arms):
        return Outcome(ELSEWHERE)
    before = _stamps(run.folder, _pictures(task))
    try:
        _execute(run, task, environment or {})
    except NotebookError as error:
        return Outcome(FAILED, reason=error.reason, executed=error.executed)
    except (ParameterError, OSError) as error:
        return Outcome(FAILED, reason=f"{type(error).__name__}: {error}", executed="not begun or not written")
    made = _stamps(run.folder, _pictures(task)) - before
    return Outcome(DONE, len(made), time.monotonic() - began, executed=str(task.output(run)))


def _execute(run: Run, task: Task, environment: Mapping[str, str]) -> None:
    """Execute the notebook, again where its kernel dies, and keep the executed copy."""
    output, parameters, begun = task.output(run), {"run_folder": str(run.folder), **task.parameters}, stops()
    for attempt in range(1, ATTEMPTS + 1):
        try:
            book = execute(task.path, output, parameters, task.arms, environment)
            return keep(book, output, fingerprint=fingerprint(run, task))
        except NotebookError as error:
            if not error.died or begun != stops():
                raise
            if attempt == ATTEMPTS:
                sizes = {last_holder(run.claim(arm)).get("batch_size", 0) for arm in task.arms}
                most = max(sizes, default=0)
                advice = f" at batch_size {most}; give a smaller BATCH_SIZE, or free memory"
                reason = f"{error.reason} {ATTEMPTS} times{advice * (most > 0)}"
                raise NotebookError(reason, error.executed, died=True) from error


def is_done(run: Run, task: Task) -> bool:
    """Whether the executed copy exists and nothing that it depends on has changed since."""
    return read_facts(task.output(run)) == {"fingerprint": fingerprint(run, task)}


def fingerprint(run: Run, task: Task) -> str:
    """Changes with the notebook and the modules that it imports, the parameters and the protocol, and when a
    file that the notebook reads or writes appears, goes or is rewritten."""
    stamps = _stamps(run.folder, [*READS.get(Path(task.notebook).name, RESULTS), *_pictures(task)])
    for folder in task.parameters.get("external", {}).values():
        stamps |= _stamps(at(folder), ["*"])
    values = task.parameters, run.card["protocol"]
    total = hashlib.sha256(repr([sorted(stamps), *(sorted(one.items()) for one in values)]).encode())
    for source in sources(task.path):
        total.update(source.read_bytes())
    return total.hexdigest()[:16]


def sources(notebook: Path) -> list[Path]:
    """The notebook, every module of this project that it imports, and what those import, in their functions,
    too; of a package that finds its modules by name all of them."""
    found, new = {notebook}, [notebook]
    while new:
        new += (more := _imported(path := new.pop(), path.stat().st_mtime_ns) - found)
        found |= more
    return sorted(found)


@lru_cache(maxsize=1024)
def _imported(path: Path, version: int) -> set[Path]:
    """version: time of change of the file."""
    text, names = path.read_text(encoding="utf-8"), set()
    if path.suffix == ".ipynb":
        cells = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
        text = "\n".join("".join(cell["source"]) for cell in cells)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    parts = [name.split(".") for name in names if name.startswith("helpers")]
    places = [ROOT.joinpath(*some[:end]) for some in parts for end in range(1, len(some) + 1)]
    files = [one for place in places for one in (place.with_suffix(".py"), place / "__init__.py")]
    if path.name == "__init__.py" and "import_module" in text:
        files += path.parent.glob("*.py")
    return {file for file in files if file.is_file()}


def failures(run: Run) -> dict[str, tuple[str, list[str]]]:
    """Title -> why that notebook failed last and where it lies, in a line, and its arms; nothing once it went
    well."""
    folder, found = run.folder / "notebooks", {}
    for path in sorted(folder.rglob("*.failed.ipynb")):
        facts = read_facts(path)
        title = path.relative_to(folder).as_posix().removesuffix(".failed.ipynb")
        found[title] = f"{facts['failed'].splitlines()[0]}; {path}", facts["arms"]
    return found


def _pictures(task: Task) -> list[str]:
    return [f"pictures/{arm}/*.png" for arm in task.arms]


def _stamps(folder: Path, patterns: Iterable[str]) -> set[tuple]:
    """Path, size and time of change of each file that fits."""
    paths = {path for pattern in patterns for path in folder.glob(pattern) if path.is_file()}
    return {(str(path), *stamp(path)) for path in paths}
