"""A notebook as a function: checked parameters in, a kernel of its own, an executed copy out."""

import ast
import json
import logging
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from subprocess import Popen
from typing import TYPE_CHECKING

from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from jupyter_core.utils import ensure_event_loop
from traitlets import default
from traitlets.config import Config

from helpers.files import beside
from helpers.parameters import ParameterError, nearest

if TYPE_CHECKING:
    from nbformat import NotebookNode

ALONE = {"OPENBLAS_NUM_THREADS": "1"}  # of numpy: its threads wait for each other at full load
START = 300  # seconds that a kernel may take to start on a busy machine
ENCRYPTED = Config({"KernelManager": {"transport_encryption": "required"}})  # else a warning at every start
ENTRY = "grounded"  # of an executed notebook's metadata: what this project notes there

_here = threading.local()  # of this thread's last kernel: environment, process
_running: set[Popen] = set()
_stops = [0]  # how often `stop` was called


class NotebookError(RuntimeError):
    """A notebook that did not reach its end: its reason, the executed copy, and whether its kernel died."""

    def __init__(self, reason: str, executed: str, died: bool = False) -> None:
        super().__init__(reason, executed, died)  # all of them, else it could not be unpickled
        self.reason, self.executed, self.died = reason, executed, died

    def __str__(self) -> str:
        return f"{self.reason} ({self.executed})"


class Kernel(AsyncKernelManager):
    """A kernel of the very Python that runs this, whatever kernels Jupyter finds; `stop` ends it."""

    @default("kernel_spec_manager")
    def _only_native(self) -> KernelSpecManager:
        return KernelSpecManager(kernel_dirs=[])

    async def start_kernel(self, **options: object) -> None:
        """Start it in the environment of this thread."""
        await super().start_kernel(env=ALONE | os.environ | _here.environment, **options)
        _here.process = self.provisioner.process
        _running.add(_here.process)
        if _here.stops != stops():  # meanwhile, when it could not be found among those that run
            _here.process.kill()


def stop() -> None:
    """End every notebook that runs in this process, at once, from any thread."""
    _stops[0] += 1
    for process in list(_running):
        process.kill()


def stops() -> int:
    """How often `stop` was called in this process."""
    return _stops[0]


def execute(
    path: Path,
    output: Path,
    parameters: Mapping[str, object],
    arms: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> "NotebookNode":
    """The notebook, executed to its end in a fresh kernel. output: where `keep` will put it.

    environment: more variables for the kernel. Raises ParameterError before the kernel starts, NotebookError
    when a cell fails or the kernel dies; the copy that was executed until then lies beside `output` as
    NAME.failed.ipynb, and names the arms that it was to draw.
    """
    sys.modules.setdefault("rfc3987_syntax", None)  # jsonschema takes a second for it, no notebook needs it
    import papermill  # here, for it takes seconds, and who finds everything done needs none of it
    from papermill.exceptions import PapermillExecutionError

    logging.getLogger("papermill").setLevel(logging.CRITICAL)  # what it would print is in our errors
    check_parameters(path, parameters)
    options = {"kernel_name": "python3", "progress_bar": False, "start_timeout": START, "config": ENCRYPTED}
    options |= {"kernel_manager_class": Kernel, "shell_timeout_interval": 1, "shutdown_kernel": "immediate"}
    _here.environment, _here.stops, _here.process = dict(environment or {}), stops(), None
    with tempfile.TemporaryDirectory(prefix="grounded-") as folder:
        executed = Path(folder) / output.name
        try:
            with closing(ensure_event_loop()):  # of this thread, which nobody else would close
                return papermill.execute_notebook(str(path), str(executed), dict(parameters), **options)
        except (PapermillExecutionError, RuntimeError) as error:  # the latter where a kernel died
            reason, died = f"the kernel {_death(_here.process)}", True
            if isinstance(error, PapermillExecutionError):
                reason, died = f"cell {error.exec_count}: {error.ename}: {error.evalue}", False
            raise NotebookError(reason, _keep_failed(executed, output, reason, arms), died) from error
        finally:
            _running.discard(_here.process)


def keep(book: "NotebookNode", output: Path, **facts: object) -> None:
    """Write an executed notebook, trusted by JupyterLab, with facts for `read_facts`; the failed one goes."""
    import nbformat
    from nbformat.sign import NotebookNotary

    book.metadata[ENTRY] = facts
    NotebookNotary().sign(book)  # else JupyterLab strips its charts
    with beside(output) as partial:
        nbformat.write(book, partial)
    failed_copy(output).unlink(missing_ok=True)


def read_facts(output: Path) -> dict:
    """The facts in an executed notebook; empty where there is no such notebook."""
    book = json.loads(output.read_text(encoding="utf-8")) if output.is_file() else {"metadata": {}}
    return book["metadata"].get(ENTRY, {})


def failed_copy(output: Path) -> Path:
    """Where the copy of a notebook lies that failed."""
    return output.with_name(f"{output.stem}.failed.ipynb")


def check_parameters(path: Path, parameters: Mapping[str, object]) -> None:
    """Compare parameters with the notebook's cell tagged `parameters`; papermill itself only warns.

    Raises ParameterError naming every parameter that is not there or has another type, with the nearest name.
    """
    import papermill

    known, problems = papermill.inspect_notebook(str(path)), []
    for name, value in parameters.items():
        kind = type(ast.literal_eval(known[name]["default"])) if name in known else None
        if kind is None:
            problems.append(f"{name} = {value!r}: {path.name} has no such parameter; {nearest(name, known)}")
        elif type(value) is not kind and (kind, type(value)) != (float, int):
            problems.append(f"{name} = {value!r}: {path.name} wants a value of type {kind.__name__}")
    if problems:
        raise ParameterError("\n".join(problems))


def _death(process: Popen | None) -> str:
    status = process and process.poll()
    killed = f"was killed ({signal.Signals(-status).name})" if status and status < 0 else "died"
    return f"{killed}; was memory short?" if status in (None, -signal.SIGKILL) else killed


def _keep_failed(executed: Path, output: Path, reason: str, arms: Sequence[str]) -> str:
    """Put the copy where it can be found, and the reason into it; where it lies, or why it does not."""
    import nbformat

    try:
        keep(nbformat.read(executed, as_version=4), failed_copy(output), failed=reason, arms=list(arms))
    except OSError as error:  # such as a full disk, which is why the notebook failed in the first place
        return f"could not be kept ({error})"
    return str(failed_copy(output))
