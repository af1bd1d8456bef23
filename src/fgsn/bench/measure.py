"""Taking times: warm-up, turns, medians; and what the machine can do at best."""

import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from statistics import median
from typing import Any

import torch

TRIES = 5
REST = 0.2
"""Seconds between turns: NumPy's threads, out of work, keep the processors busy for a while, and so do torch's."""


def alternating(methods: Mapping[str, Callable[[], Any]], rounds: int, device: torch.device) -> dict[str, float]:
    """Seconds of each method: the median over the rounds, in each of which every method has its turn after a warm-up.

    Others on the machine then disturb all methods alike, and their ratios least.
    """
    seconds: dict[str, list[float]] = {name: [] for name in methods}
    for method in methods.values():
        _timed(method, device)
    for _ in range(rounds):
        for name, method in methods.items():
            time.sleep(REST)
            seconds[name].append(_timed(method, device))
    return {name: median(values) for name, values in seconds.items()}


def metrics(
    seconds: Mapping[str, float], shapes: str, device: torch.device, operations: float, moved: float, dtype: torch.dtype
) -> dict[str, Any]:
    """The row of a subject.

    Args:
        seconds: of `ours`, `plain` and whatever else was measured.
        shapes: what was worked on, in words.
        device: where.
        operations: floating-point operations that the work needs at least (a multiply-add is two).
        moved: bytes that must be read and written at least.
        dtype: what ours computes in.
    """
    floor = max(operations / matmul_rate(device, dtype), moved / copy_rate(device))
    return {
        "shapes": shapes,
        **{f"{name}_s": value for name, value in seconds.items()},
        "ratio": seconds["plain"] / seconds["ours"],
        "floor_s": floor,
        "over_floor": seconds["ours"] / floor,
    }


@lru_cache
def matmul_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Floating-point operations per second of a large square matrix product."""
    side = 8192 if device.type == "cuda" else 1536
    one, other = (torch.ones(side, side, device=device, dtype=dtype) for _ in range(2))
    return 2 * side**3 / min(_timed(lambda: one @ other, device) for _ in range(TRIES))


@lru_cache
def copy_rate(device: torch.device) -> float:
    """Bytes per second, read and written, of copying an array larger than the caches."""
    source = torch.ones((1 << 30 if device.type == "cuda" else 1 << 28) // 4, device=device)
    target = torch.empty_like(source)
    return 2 * source.nbytes / min(_timed(lambda: target.copy_(source), device) for _ in range(TRIES))


def _timed(method: Callable[[], Any], device: torch.device) -> float:
    began = time.perf_counter()
    method()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began
