"""Work shared out to processes."""

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

Result = TypeVar("Result")


@contextmanager
def processes(workers: int) -> Iterator[Callable[..., Iterator[Any]]]:
    """Yield `run(function, list of argument tuples)`, which gives the results in order, from several processes.

    Args:
        workers: how many processes; 0 takes one per core, 1 works in this one.
    """
    workers = workers or os.cpu_count() or 1
    if workers == 1:
        yield lambda function, jobs: (function(*job) for job in jobs)
        return
    # Not forked: the caller may have threads running (torch), which do not survive a fork.
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_follow_parent)

    def run(function: Callable[..., Result], jobs: Sequence[tuple[Any, ...]]) -> Iterator[Result]:
        futures: list[Future[Result]] = [pool.submit(function, *job) for job in jobs]
        for future in futures:
            yield future.result()

    try:
        yield run
    finally:
        pool.shutdown(cancel_futures=True)


def _follow_parent() -> None:
    """Leave signals to the parent, and end with it however it ends: killed, it cannot tell its processes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    multiprocessing.connection.wait([sentinel])
    os._exit(1)
