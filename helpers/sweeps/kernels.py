"""Notebooks in a kernel of their own, or one after the other in one that keeps its imports and models."""

import logging
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from subprocess import Popen
from typing import Self

from jupyter_core.utils import run_sync
from traitlets.config import Config

from helpers.sweeps.jupyter import (
    AsyncKernelManager,
    DeadKernelError,
    Engine,
    NotebookExecutionManager,
    PapermillNotebookClient,
    nbformat,
    papermill,
    papermill_engines,
)

ENCRYPTED = Config({"KernelManager": {"transport_encryption": "required"}})  # else a warning at every start
FORGET = "get_ipython().reset(new_session=False); get_ipython().execution_count = 1"
START = 300  # seconds that a kernel may take to start on a busy machine
ALIVE = 1  # seconds between looks at whether it still lives


class Kernel:
    """A Python process that runs notebooks, started with the first of them.

    A notebook finds no variable of the one before it, only modules that are imported and what those keep.
    """

    def __init__(self) -> None:
        self._manager = AsyncKernelManager(kernel_name="python3", config=ENCRYPTED)

    def run(self, path: Path, output: Path, parameters: Mapping[str, object]) -> nbformat.NotebookNode:
        """Execute a notebook. Raises PapermillExecutionError for a cell, DeadKernelError for the process."""
        options = {"engine_name": "kernel", "kernel_name": "python3", "progress_bar": False}
        return papermill.execute_notebook(
            str(path), str(output), dict(parameters), km=self._manager, **options
        )

    def end(self) -> str:
        """How the process ended by itself, for people; another one starts with the next notebook."""
        status = self._process.poll() if self._process else None
        self.close()
        self._manager = AsyncKernelManager(kernel_name="python3", config=ENCRYPTED)
        killed = f"was killed ({signal.Signals(-status).name})" if status and status < 0 else "died"
        return f"{killed}; was memory short?" if status in (None, -signal.SIGKILL) else killed

    def close(self) -> None:
        """End the process, at once, and let go of what connects to it."""
        self.kill()
        self._manager.context.destroy(linger=0)

    def kill(self) -> None:
        """End the process, at once, from any thread."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._manager.cleanup_connection_file()

    @property
    def _process(self) -> Popen | None:
        return getattr(self._manager.provisioner, "process", None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Client(PapermillNotebookClient):
    """Leaves the kernel to run another notebook, and Ctrl-C to whoever started us."""

    @contextmanager
    def setup_kernel(self, **options: object) -> Iterator[None]:
        if not self.km.has_kernel:
            self.start_new_kernel(**options)
        self.kc = self.km.client()
        self.kc.start_channels()
        try:
            run_sync(self._wait_until_ready)()
            yield
        finally:
            self.kc.stop_channels()

    async def _wait_until_ready(self) -> None:
        try:
            await self.kc.wait_for_ready(timeout=self.startup_timeout)
        except RuntimeError as error:  # which it raises for a kernel that died, or is too slow
            raise DeadKernelError(str(error)) from error
        self.kc.allow_stdin = False

    def papermill_execute_cells(self) -> None:
        self.wait_for_reply(self.kc.execute(FORGET, store_history=False))
        super().papermill_execute_cells()


class _Engine(Engine):
    @classmethod
    def execute_managed_notebook(
        cls, nb_man: NotebookExecutionManager, kernel_name: str, km: AsyncKernelManager, **_: object
    ) -> None:
        times = {"startup_timeout": START, "shell_timeout_interval": ALIVE}
        _Client(nb_man, km=km, kernel_name=kernel_name, **times).execute()


papermill_engines.register("kernel", _Engine)
logging.getLogger("papermill").setLevel(logging.CRITICAL)  # what it would print is in our errors

__all__ = ["DeadKernelError", "Kernel"]
