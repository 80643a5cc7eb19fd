"""A notebook as a function: checked parameters in, files in the run folder out, nothing done twice."""

import ast
import hashlib
import tempfile
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path

from helpers.files import beside
from helpers.parameters import ParameterError, nearest
from helpers.runs.protocol import ROOT
from helpers.runs.run import FINISHED, Run
from helpers.sweeps.jupyter import PapermillExecutionError, nbformat, papermill
from helpers.sweeps.kernels import DeadKernelError, Kernel


class NotebookError(RuntimeError):
    """A notebook that did not reach its end.

    notebook: its name; reason: why, the first line the shortest way to say it; executed: the path of the copy
    that was executed until then, or why there is none.
    """

    def __init__(self, notebook: str, reason: str, executed: str) -> None:
        super().__init__(notebook, reason, executed)
        self.notebook, self.reason, self.executed = notebook, reason, executed

    def __str__(self) -> str:
        return f"{self.notebook}, {self.reason}\n  executed notebook: {self.executed}"


class KernelDied(NotebookError):
    """The process that ran the notebook ended before the notebook did."""


def check_parameters(path: Path, parameters: Mapping[str, object]) -> None:
    """Compare parameters with the notebook's cell tagged `parameters`; papermill itself only warns.

    Raises ParameterError naming every parameter that is not there or has another type, with the nearest name.
    """
    known = papermill.inspect_notebook(str(path))
    problems = []
    for name, value in parameters.items():
        if name not in known:
            problems.append(f"{name} = {value!r}: {path.name} has no such parameter; {nearest(name, known)}")
            continue
        wanted = type(ast.literal_eval(known[name]["default"]))
        if type(value) is not wanted and not (wanted is float and type(value) is int):
            problems.append(f"{name} = {value!r}: {path.name} wants a value of type {wanted.__name__}")
    if problems:
        raise ParameterError("\n".join(problems))


def run_notebook(
    path: Path, output: Path, parameters: Mapping[str, object], kernel: Kernel | None = None
) -> dict[str, list]:
    """Execute a notebook; `output` appears only when every cell has run to its end.

    kernel: one that other notebooks use, too; None for a fresh one. Returns what was drawn: arm -> pictures,
    seconds. Raises ParameterError before a kernel starts, NotebookError when a cell fails, and KernelDied;
    what was executed until then lies beside `output` as NAME.failed.ipynb.
    """
    check_parameters(path, parameters)
    failed = output.with_name(f"{output.stem}.failed.ipynb")
    with tempfile.TemporaryDirectory(prefix="grounded-") as folder, _open(kernel) as kernel:
        executed = Path(folder) / output.name
        try:
            book = kernel.run(path, executed, parameters)
            ended = _ended(book, path)
        except PapermillExecutionError as error:
            reason = f"cell {error.exec_count}: {error.ename}: {error.evalue}"
            raise NotebookError(path.stem, reason, _keep(executed, failed, reason, parameters)) from error
        except DeadKernelError as error:
            reason = f"the kernel {kernel.end()}"
            raise KernelDied(path.stem, reason, _keep(executed, failed, reason, parameters)) from error
    drawn = _past(output).get("drawn", {}) | ended["drawn"]
    book.metadata["grounded"] = {"key": key(path, parameters), "uses": ended["uses"], "drawn": drawn}
    with beside(output) as partial:
        nbformat.write(book, partial)
    failed.unlink(missing_ok=True)
    return ended["drawn"]


def drawn(folder: Path) -> dict[str, list]:
    """Arm -> pictures and seconds, as the executed notebooks of a run folder measured them."""
    return {
        arm: measured
        for path in sorted((folder / "notebooks").rglob("*.ipynb"))
        for arm, measured in _past(path).get("drawn", {}).items()
    }


def is_done(run: Run, path: Path, output: Path, parameters: Mapping[str, object]) -> bool:
    """Whether the executed copy exists and nothing that it depends on has changed since.

    That is the notebook, the package, the parameters, and every file of run and dataset that it used.
    """
    past = _past(output)
    return past.get("key") == key(path, parameters) and all(
        run.stamp(folder, pattern) == stamp for folder, pattern, stamp in past["uses"]
    )


def key(path: Path, parameters: Mapping[str, object]) -> str:
    """Changes with the notebook's source, the package's source and the parameters."""
    total = hashlib.sha256(repr(sorted(parameters.items())).encode())
    for source in (path, *sorted((ROOT / "helpers").rglob("*.py"))):
        total.update(source.read_bytes())
    return total.hexdigest()[:16]


def failures(folder: Path) -> dict[str, tuple[str, Path]]:
    """Arm -> why its notebook failed last, and where that lies; nothing once it went well."""
    found = {}
    for path in sorted((folder / "notebooks").rglob("*.failed.ipynb")):
        told = _past(path)
        found |= dict.fromkeys(told["arms"], (told["failed"], path))
    return found


def _open(kernel: Kernel | None) -> nullcontext[Kernel] | Kernel:
    return Kernel() if kernel is None else nullcontext(kernel)


def _past(output: Path) -> dict:
    """What an executed notebook says of itself; nothing where there is none."""
    return nbformat.read(output, as_version=4).metadata.get("grounded", {}) if output.is_file() else {}


def _ended(book: nbformat.NotebookNode, path: Path) -> dict:
    outputs = [output.get("data", {}) for cell in book.cells for output in cell.get("outputs", [])]
    found = [data[FINISHED] for data in outputs if FINISHED in data]
    if not found:
        raise NotebookError(path.stem, "its last cell does not show run.finish()", "not kept")
    return found[-1]


def _keep(executed: Path, failed: Path, reason: str, parameters: Mapping[str, object]) -> str:
    """Put the copy where it can be found, and the reason into it; where it lies, or why it does not."""
    book = nbformat.read(executed, as_version=4)
    book.metadata["grounded"] = {"failed": reason, "arms": list(parameters.get("arms", ()))}
    try:
        with beside(failed) as partial:
            nbformat.write(book, partial)
    except OSError as error:  # such as a full disk, which is why the notebook failed in the first place
        return f"could not be kept ({error})"
    return str(failed)
