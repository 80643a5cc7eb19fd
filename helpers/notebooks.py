"""A notebook as a function: checked parameters in, files in the run folder out, nothing done twice."""

import ast
import hashlib
from collections.abc import Mapping
from pathlib import Path

import nbformat
import papermill
from nbclient.exceptions import DeadKernelError
from papermill.exceptions import PapermillExecutionError
from traitlets.config import Config

from helpers.protocols import ROOT
from helpers.runs import FINISHED, Run
from helpers.settings import ParameterError, nearest

ENCRYPTED = Config({"KernelManager": {"transport_encryption": "required"}})  # else a warning at every start


class NotebookError(RuntimeError):
    """A notebook that did not reach its end: notebook, cell, error, and where the executed copy lies."""


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


def run_notebook(path: Path, output: Path, parameters: Mapping[str, object]) -> None:
    """Execute a notebook in a fresh kernel; `output` appears only when every cell has run to its end.

    Raises ParameterError before a kernel starts, and NotebookError when a cell fails or the kernel dies; what
    was executed until then lies beside `output` as NAME.partial.ipynb.
    """
    check_parameters(path, parameters)
    output.parent.mkdir(parents=True, exist_ok=True)
    partial = output.with_name(f"{output.stem}.partial.ipynb")
    options = {"kernel_name": "python3", "progress_bar": False, "config": ENCRYPTED, "start_timeout": 300}
    try:
        book = papermill.execute_notebook(str(path), str(partial), dict(parameters), **options)
    except PapermillExecutionError as error:
        reason = f"cell {error.exec_count}: {error.ename}: {error.evalue}"
        raise NotebookError(f"{path.stem}, {reason}\n  executed notebook: {partial}") from error
    except DeadKernelError as error:
        reason = "the kernel died; was memory short?"
        raise NotebookError(f"{path.stem}: {reason}\n  executed notebook: {partial}") from error
    book.metadata["grounded"] = {"key": key(path, parameters), "uses": _uses(book, path)}
    nbformat.write(book, partial)
    partial.replace(output)


def is_done(run: Run, path: Path, output: Path, parameters: Mapping[str, object]) -> bool:
    """Whether the executed copy exists and nothing that it depends on has changed since.

    That is the notebook, the package, the parameters, and every file of run and dataset that it used.
    """
    if not output.is_file():
        return False
    past = nbformat.read(output, as_version=4).metadata.get("grounded", {"key": ""})
    return past["key"] == key(path, parameters) and all(
        run.stamp(folder, pattern) == stamp for folder, pattern, stamp in past["uses"]
    )


def key(path: Path, parameters: Mapping[str, object]) -> str:
    """Changes with the notebook's source, the package's source and the parameters."""
    total = hashlib.sha256(repr(sorted(parameters.items())).encode())
    for source in (path, *sorted((ROOT / "helpers").glob("*.py"))):
        total.update(source.read_bytes())
    return total.hexdigest()[:16]


def _uses(book: nbformat.NotebookNode, path: Path) -> list:
    outputs = [output.get("data", {}) for cell in book.cells for output in cell.get("outputs", [])]
    found = [data[FINISHED]["uses"] for data in outputs if FINISHED in data]
    if not found:
        raise NotebookError(f"{path.stem}: its last cell does not show run.finish()")
    return found[-1]
