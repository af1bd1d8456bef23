"""How many threads a command computes in: as many as its machine has free cores.

torch's threads wait for each other after every small operation. If other processes occupy the cores, a thread often
waits for one that is not running, and two threads are many times slower than one; docs/speed.md has measurements.
"""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fgsn.progress import say

CHOSEN_BY_USER = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "OMP_THREAD_LIMIT", "GOMP_SPINCOUNT", "MKL_NUM_THREADS")
"""Variables with which a user decides; then all is left as it is."""
LEAST_SECONDS = 0.2
"""A shorter time says nothing about the load."""


@contextmanager
def fitting_threads() -> Iterator[None]:
    """Measure the load by other processes during the body, the imports of a command; then choose torch's threads.

    Nothing changes on an idle machine, if the body does not import torch, or if the user has decided.
    """
    before = None if "torch" in sys.modules or chosen_by_user() else _other_seconds()
    yield
    if before is None or "torch" not in sys.modules:
        return
    after = _other_seconds()
    if after is None or after[0] - before[0] < LEAST_SECONDS:
        return
    import torch

    cores = os.cpu_count() or 1
    busy = (after[1] - before[1]) / (after[0] - before[0])
    threads = max(1, round(cores - busy))
    if threads < torch.get_num_threads():
        torch.set_num_threads(threads)
        say(f"{busy:.1f} of {cores} cores are busy: using {threads} of {cores} threads (OMP_NUM_THREADS sets a number)")


def restore_threads(count: int) -> None:
    """Compute in as many threads as an interrupted run did, since rounding depends on it; a user's choice wins."""
    import torch

    if 1 <= count <= (os.cpu_count() or 1) and not chosen_by_user():
        torch.set_num_threads(count)


def chosen_by_user() -> bool:
    """Whether the environment says how threads are used."""
    return any(name in os.environ for name in CHOSEN_BY_USER)


def _other_seconds(statistics: Path = Path("/proc/stat")) -> tuple[float, float] | None:
    """The time, and the CPU seconds of all other processes since this machine was started; None if it does not tell."""
    try:
        user, nice, system, _, _, irq, softirq, steal = map(int, statistics.read_text().split()[1:9])
    except (OSError, ValueError):  # not Linux
        return None
    used = (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
    return time.monotonic(), used - time.process_time()
