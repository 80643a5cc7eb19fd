"""Where the tasks of a sweep are carried out: processes of this machine, or a Dask cluster."""

import multiprocessing
import os
import signal
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, Executor, Future
from concurrent.futures import ProcessPoolExecutor as Pool
from concurrent.futures import wait as wait_for
from multiprocessing.connection import Connection, wait
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Self

from helpers.parameters import ParameterError
from helpers.sweeps.tasks import FAILED, Outcome, Task, close_kernel, kill_kernel

DEATHS = 3  # of the process that carries out a task, after which the task has failed
DRIVERS = ("nvidia[0-9]*", "kfd", "dxg")  # in /dev, of NVIDIA, AMD, and Windows' Linux
SPAWN = multiprocessing.get_context("spawn")  # CUDA does not survive a fork


class Workers:
    """Carries out tasks on an executor. Use it as a context: it leaves nothing running.

    name: for people; count: how many tasks run at a time; at_once: how many the executor is given at a time.
    """

    name: str
    count: int
    at_once: int
    died: tuple[type[BaseException], ...]  # what a future raises when its process died

    def open(self) -> Executor:
        """A new executor, at the start and after processes died."""
        raise NotImplementedError

    def close(self) -> None:
        """End what runs, at once."""
        raise NotImplementedError

    def carry_out(
        self, function: Callable[[Task], Outcome], tasks: Iterable[Task]
    ) -> Iterator[tuple[Task, Outcome]]:
        """Tasks and what became of them, as they end. A task whose process dies is tried again."""
        waiting, running, deaths = deque(tasks), {}, Counter()
        while waiting or running:
            while waiting and len(running) < self.at_once:
                task = waiting.popleft()
                running[self._submit(function, task)] = task
            for future in wait_for(running, return_when=FIRST_COMPLETED).done:
                task = running.pop(future)
                try:
                    yield task, future.result()
                except self.died as error:
                    deaths[task] += 1
                    if deaths[task] < DEATHS:
                        waiting.appendleft(task)
                    else:
                        reason = f"its process died {DEATHS} times ({type(error).__name__}: {error})"
                        yield task, Outcome(FAILED, reason=reason, executed="not written")

    def _submit(self, function: Callable[[Task], Outcome], task: Task) -> Future:
        try:
            return self._executor.submit(function, task)
        except BrokenExecutor:
            self._executor = self.open()
            return self._executor.submit(function, task)

    def __enter__(self) -> Self:
        self._executor = self.open()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._executor.shutdown()
        self.close()


class Processes(Workers):
    """Processes of this machine, one a GPU or one in all, that end with it, however it ends.

    count: other than that; they share GPUs and cores evenly.
    """

    died = (BrokenExecutor,)

    def __init__(self, count: int | None = None) -> None:
        self._gpus = _gpus()
        self.count = self.at_once = count or max(1, len(self._gpus))
        each = f", one a GPU: {', '.join(self._gpus)}" if self._gpus else ""
        self.name = f"{self.at_once} process{'es' if self.at_once > 1 else ''}{each}"
        self._leash: Connection | None = None

    def open(self) -> Executor:
        self.close()
        theirs, self._leash = SPAWN.Pipe(duplex=False)
        gpus = SPAWN.SimpleQueue()
        for place in range(self.at_once):
            gpus.put(self._gpus[place % len(self._gpus)] if self._gpus else None)
        threads = max(1, (os.cpu_count() or 1) // self.at_once)
        return Pool(self.at_once, SPAWN, initializer=_begin, initargs=(theirs, gpus, threads))

    def close(self) -> None:
        if self._leash is not None:
            self._leash.close()
            self._leash = None


class Cluster(Workers):
    """The workers of a Dask scheduler: `tcp://host:port`, or the path of its scheduler file.

    Where workers have a resource GPU, a task takes one. Raises ParameterError where there is no such cluster.
    """

    at_once = 1_000_000  # the scheduler queues them

    def __init__(self, address: str) -> None:
        try:
            from distributed import Client, KilledWorker
            from distributed.comm import CommClosedError
        except ModuleNotFoundError as error:
            raise ParameterError(f"cluster = {address!r}: pip install 'grounded[cluster]' first") from error
        self.died = (KilledWorker, CancelledError, CommClosedError)
        where = {"scheduler_file": address} if address.endswith(".json") else {"address": address}
        try:
            self._client = Client(**where, timeout=30)
            self._client.wait_for_workers(1, timeout=60)
        except (OSError, ValueError) as error:
            raise ParameterError(f"cluster = {address!r}: no scheduler with workers ({error})") from error
        workers = self._client.scheduler_info(n_workers=-1)["workers"].values()
        self._resources = {"GPU": 1} if any("GPU" in worker["resources"] for worker in workers) else {}
        self.count = sum(worker["nthreads"] for worker in workers)
        self.name = f"{len(workers)} workers of {address}{', one GPU a task' if self._resources else ''}"

    def open(self) -> Executor:
        return self._client.get_executor(retries=DEATHS - 1, pure=False, resources=self._resources)

    def close(self) -> None:
        self._executor.shutdown(wait=False)
        self._client.run(kill_kernel)
        self._client.close()


def _gpus() -> list[str]:
    if not any(any(Path("/dev").glob(name)) for name in DRIVERS):
        return []
    import torch  # here, because it takes seconds

    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    every = visible.split(",") if visible else map(str, range(torch.cuda.device_count()))
    return [*every] if torch.cuda.is_available() else []


def _begin(leash: Connection, gpus: "multiprocessing.SimpleQueue[str | None]", threads: int) -> None:
    """Make a new process a worker: its GPU, its share of the cores, and an end when its sweep ends."""
    gpu = gpus.get()
    if gpu is None:
        os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    else:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the sweep, which then lets go of the leash
    threading.Thread(target=_end_with, args=(leash,), daemon=True).start()
    Finalize(None, close_kernel, exitpriority=10)


def _end_with(leash: Connection) -> None:
    wait([leash])
    kill_kernel()
    os._exit(1)
