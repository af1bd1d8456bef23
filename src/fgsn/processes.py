"""Run a function in several processes or threads."""

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

Result = TypeVar("Result")


@contextmanager
def processes(workers: int | None, threads: bool = False) -> Iterator[Callable[..., Iterator[Any]]]:
    """Yield `run(function, list of argument tuples)`, which yields the results in order.

    `workers` is the number of processes, or of threads; None: one per core; 0: this process alone does the work.
    """
    if workers is None:
        cores = os.cpu_count() or 1
        workers = cores if cores > 1 else 0
    if workers == 0:
        yield lambda function, jobs: (function(*job) for job in jobs)
        return
    # Spawned, not forked: the threads of the caller (torch) do not survive a fork.
    spawn = multiprocessing.get_context("spawn")
    pool: Executor = ThreadPoolExecutor(workers) if threads else ProcessPoolExecutor(workers, spawn, _follow_parent)

    def run(function: Callable[..., Result], jobs: Sequence[tuple[Any, ...]]) -> Iterator[Result]:
        futures: list[Future[Result]] = [pool.submit(function, *job) for job in jobs]
        for future in futures:
            yield future.result()

    try:
        yield run
    finally:
        pool.shutdown(cancel_futures=True)


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
