"""Run a function in several processes or threads."""

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Self, TypeVar

from fgsn.errors import FgsnError

Result = TypeVar("Result")


class Workers:
    """Processes or threads that share work; they start with the first of it, stay, and end with the `with` block."""

    def __init__(self, count: int | None) -> None:
        """`count` is their number; None: one per core; 0: none, and this process does the work."""
        cores = os.cpu_count() or 1
        self.count = (cores if cores > 1 else 0) if count is None else count
        self._pools: dict[bool, Executor] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """End them, as each takes memory while it waits; the next work starts others."""
        for pool in self._pools.values():
            pool.shutdown(cancel_futures=True)
        self._pools.clear()

    def share(self, jobs: Sequence[Any]) -> bool:
        """Whether these jobs are shared: nothing is started for a single one."""
        return self.count > 0 and len(jobs) > 1

    def run(
        self, function: Callable[..., Result], jobs: Sequence[tuple[Any, ...]], threads: bool = False
    ) -> Iterator[Result]:
        """Call a function with each tuple of arguments, in processes or in threads; yields the results in order."""
        if not self.share(jobs):
            yield from (function(*job) for job in jobs)
            return
        if threads not in self._pools:
            # Spawned, not forked: the threads of the caller (torch) do not survive a fork.
            spawn = multiprocessing.get_context("spawn")
            self._pools[threads] = (
                ThreadPoolExecutor(self.count) if threads else ProcessPoolExecutor(self.count, spawn, _follow_parent)
            )
        futures: list[Future[Result]] = [self._pools[threads].submit(function, *job) for job in jobs]
        try:
            for future in futures:
                yield future.result()
        except BrokenProcessPool:
            self.end()
            raise FgsnError(
                "a worker process was killed, perhaps for want of memory: take fewer of them (--workers)"
            ) from None


def _follow_parent() -> None:
    """Compute in one thread, leave signals to the parent, and end when it ends: a killed one cannot stop a process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # the processes fill the cores; read when torch and NumPy load
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    multiprocessing.connection.wait([sentinel])
    os._exit(1)
