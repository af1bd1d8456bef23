"""Timing (warm-up, alternating rounds, medians) and the peak rates of the machine."""

import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from statistics import median
from typing import Any, NamedTuple

import torch

TRIES = 5
REST = 0.2
"""Seconds between calls: idle threads of NumPy and torch keep spinning for a while and would slow the next method."""


class Timed(NamedTuple):
    """Seconds of one method, one entry per round, and what its last call returned."""

    wall: list[float]
    processor: list[float]
    """CPU time of all threads; other programs on the machine disturb it less than wall time."""
    result: Any


def alternating(methods: Mapping[str, Callable[[], Any]], rounds: int, device: torch.device) -> dict[str, Timed]:
    """Time each method once per round, after one warm-up call of each.

    The methods alternate, so that a busy machine slows all of them equally and their ratios stay meaningful.
    """
    for method in methods.values():
        _timed(method, device)
    turns: dict[str, list[tuple[float, float, Any]]] = {name: [] for name in methods}
    for _ in range(rounds):
        for name, method in methods.items():
            time.sleep(REST)
            turns[name].append(_timed(method, device))
    return {
        name: Timed([wall for wall, _, _ in rows], [processor for _, processor, _ in rows], rows[-1][2])
        for name, rows in turns.items()
    }


def metrics(
    timed: Mapping[str, Timed],
    shapes: str,
    device: torch.device,
    dtype: torch.dtype,
    operations: float,
    moved: float = 0.0,
    units: int = 1,
) -> dict[str, Any]:
    """The row of a subject: median seconds, the ratio of baseline to ours, and the roofline.

    Args:
        timed: the times of `ours`, of `baseline` if it was measured, and of other methods.
        operations: floating-point operations that one unit needs at least (a multiply-add counts as two).
        moved: bytes that one unit must read and write at least; 0 if that is negligible.
        units: work items per call; all seconds are per unit.

    Returns:
        `shapes`, `<method>_s` for each method, `ratio` (if there is a baseline), `roofline_s` and `over_roofline`.
    """
    seconds = {name: median(times.wall) / units for name, times in timed.items()}
    roofline = operations / matmul_rate(device, dtype)
    if moved:
        roofline = max(roofline, moved / copy_rate(device))
    row: dict[str, Any] = {"shapes": shapes, **{f"{name}_s": value for name, value in seconds.items()}}
    if "baseline" in seconds:
        row["ratio"] = seconds["baseline"] / seconds["ours"]
    return row | {"roofline_s": roofline, "over_roofline": seconds["ours"] / roofline}


@lru_cache
def matmul_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Floating-point operations per second of a large square matrix product."""
    side = 8192 if device.type == "cuda" else 1536
    one, other = (torch.ones(side, side, device=device, dtype=dtype) for _ in range(2))
    return 2 * side**3 / min(_timed(lambda: one @ other, device)[0] for _ in range(TRIES))


@lru_cache
def copy_rate(device: torch.device) -> float:
    """Bytes per second, read plus written, when copying an array larger than the caches."""
    source = torch.ones((1 << 30 if device.type == "cuda" else 1 << 28) // 4, device=device)
    target = torch.empty_like(source)
    return 2 * source.nbytes / min(_timed(lambda: target.copy_(source), device)[0] for _ in range(TRIES))


def _timed(method: Callable[[], Any], device: torch.device) -> tuple[float, float, Any]:
    """Wall time and processor time of one call in seconds, and its result."""
    wall, processor = time.perf_counter(), time.process_time()
    result = method()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - wall, time.process_time() - processor, result
