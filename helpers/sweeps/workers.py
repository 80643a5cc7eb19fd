"""Where notebooks run: threads of this process that start kernels, or the workers of a Dask cluster."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Executor, Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from pathlib import Path
from queue import SimpleQueue
from typing import Self, TypeVar

from helpers.parameters import ParameterError
from helpers.sweeps.notebooks import stop
from helpers.sweeps.tasks import FAILED, Outcome, Task, perform

RETRIES = 2  # of a task whose process dies, on a cluster
DRIVERS = ("nvidia[0-9]*", "kfd", "dxg")  # in /dev, of NVIDIA, AMD, and Windows' Linux
PATIENCE = 60  # seconds that a scheduler may take to appear
T = TypeVar("T")


class Workers:
    """Notebooks on this machine, so many at a time, on a GPU each or an even share of the cores.

    name: for people; count: how many; by default one per GPU, or one. Use it as a context: it leaves nothing
    running.
    """

    died: tuple[type[BaseException], ...] = ()  # what a future raises when its process died

    def __init__(self, count: int | None = None) -> None:
        gpus = _gpus()
        self.count = count or max(1, len(gpus))
        each = f", one per GPU: {', '.join(gpus)}" if gpus else ""
        self.name = f"{self.count} notebook{'s' if self.count > 1 else ''} at a time{each}"
        threads = os.environ.get("OMP_NUM_THREADS") or str(max(1, (os.cpu_count() or 1) // self.count))
        self._environments: SimpleQueue[dict[str, str]] = SimpleQueue()
        for place in range(self.count):
            gpu = {"CUDA_VISIBLE_DEVICES": gpus[place % len(gpus)]} if gpus else {"OMP_NUM_THREADS": threads}
            self._environments.put(gpu)
        self._executor: Executor = ThreadPoolExecutor(self.count)

    def run(self, folder: Path, tasks: Sequence[Task], wait: bool, every: float) -> Iterator[tuple | None]:
        """Tasks with their outcomes as they end, and None whenever nothing ended for `every` seconds."""
        running = {self._executor.submit(self._perform, folder, task, wait): task for task in tasks}
        while running:
            ended = wait_for(running, timeout=every, return_when=FIRST_COMPLETED).done
            for future in ended:
                yield running.pop(future), self._outcome(future)
            if not ended:
                yield None

    def ask(self, function: Callable[..., T], *values: object) -> T:
        """What a function returns where the notebooks will run. Raises what it raises."""
        return self._executor.submit(function, *values).result()

    def _perform(self, *values: object) -> Outcome:
        environment = self._environments.get()
        try:
            return perform(*values, environment)
        finally:
            self._environments.put(environment)

    def _outcome(self, future: Future) -> Outcome:
        try:
            return future.result()
        except self.died as error:
            reason = f"its process died {RETRIES + 1} times ({type(error).__name__}: {error})"
            return Outcome(FAILED, reason=reason, executed="not written")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._executor.shutdown(wait=False, cancel_futures=True)
            stop()
        self._executor.shutdown()


class Cluster(Workers):
    """The workers of a Dask scheduler: `tcp://host:port`, or the path of its scheduler file.

    Where workers have a resource GPU, a task takes one. Raises ParameterError where there is no such cluster.
    """

    def __init__(self, address: str) -> None:
        try:
            from distributed import Client, KilledWorker
            from distributed.comm import CommClosedError
        except ModuleNotFoundError as error:
            raise ParameterError(f"cluster = {address!r}: pip install 'grounded[cluster]' first") from error
        self.died = (KilledWorker, CancelledError, CommClosedError)
        is_file = address.endswith(".json")
        where = {"scheduler_file": _appeared(address)} if is_file else {"address": address}
        try:
            self._client = Client(**where, timeout=30)
            self._client.wait_for_workers(1, timeout=PATIENCE)
        except (OSError, ValueError) as error:
            raise ParameterError(f"cluster = {address!r}: no scheduler with workers ({error})") from error
        workers = self._client.scheduler_info(n_workers=-1)["workers"].values()
        resources = {"GPU": 1} if any("GPU" in worker["resources"] for worker in workers) else {}
        self.count = sum(worker["nthreads"] for worker in workers)
        self.name = f"{len(workers)} workers of {address}{', one GPU per notebook' if resources else ''}"
        self._executor = self._client.get_executor(retries=RETRIES, pure=False, resources=resources)
        self._perform = perform

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._executor.shutdown(wait=False)
            self._client.run(stop)
        self._client.close()


def _appeared(file: str) -> str:
    """The scheduler's file, once a job has written it. Raises ParameterError where it does not appear."""
    until = time.monotonic() + PATIENCE
    if not Path(file).is_file():
        print(f"waiting up to {PATIENCE} s for {file}", flush=True)
    while not Path(file).is_file():
        if time.monotonic() > until:
            advice = "no such file; `dask scheduler --scheduler-file` writes it"
            raise ParameterError(f"cluster = {file!r}: {advice}")
        time.sleep(0.5)
    return file


def _gpus() -> list[str]:
    if not any(any(Path("/dev").glob(name)) for name in DRIVERS):
        return []
    import torch  # here, because it takes seconds

    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    every = visible.split(",") if visible else map(str, range(torch.cuda.device_count()))
    return [*every] if torch.cuda.is_available() else []
