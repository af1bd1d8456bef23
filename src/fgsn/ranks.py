"""Several processes that share one job, started by torchrun; in a single process, all of this does nothing.

All ranks see the same folders. `share` distributes the work, `add` sums tensors over the ranks, and only the first
rank writes the files of the whole job.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from fgsn.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

Item = TypeVar("Item")
_inside = False


def started() -> int:
    """Number of processes that torchrun started for this job."""
    return int(os.environ["WORLD_SIZE"]) if {"RANK", "WORLD_SIZE"} <= os.environ.keys() else 1


def first() -> bool:
    """Whether this is the process that prints messages and results."""
    return started() == 1 or os.environ["RANK"] == "0"


def world() -> int:
    """Number of processes that share the job: those of torchrun inside `joined`, otherwise 1."""
    return started() if _inside else 1


def rank() -> int:
    """Index of this process among them, from 0."""
    return int(os.environ["RANK"]) if world() > 1 else 0


@contextmanager
def joined(device: str) -> Iterator[None]:
    """Connect this process to the others of its job; with GPUs (setting --device), each process uses one of its own.

    Raises UsageError if this machine has fewer GPUs than processes.
    """
    import torch
    from torch import distributed

    global _inside
    if started() == 1 or _inside:
        yield
        return
    on_gpu = device != "cpu" and torch.cuda.is_available()
    if on_gpu:
        local = int(os.environ.get("LOCAL_RANK", 0))
        if local >= torch.cuda.device_count():
            raise UsageError(
                f"torchrun started more processes than this machine has GPUs ({torch.cuda.device_count()}): "
                "lower --nproc-per-node, or give --device cpu"
            )
        torch.cuda.set_device(local)
    # Imported later, by the first optimiser, it would keep the threads of the group alive and abort when Python exits.
    import torch._dynamo

    distributed.init_process_group("nccl" if on_gpu else "gloo")
    _inside = True
    try:
        yield
    finally:
        _inside = False
        distributed.destroy_process_group()


def share(items: Sequence[Item]) -> Sequence[Item]:
    """The items that this rank processes."""
    return items[rank() :: world()]


def add(*tensors: "Tensor") -> None:
    """Replace each tensor by its sum over the ranks.

    The order of summation is not defined. If each element is 0 on all ranks but one, or float64 represents the sums
    exactly, the result does not depend on the number of ranks.
    """
    if world() > 1:
        from torch import distributed

        for tensor in tensors:
            distributed.all_reduce(tensor)


def same(*tensors: "Tensor") -> None:
    """Overwrite the tensors of every rank with those of the first (a broadcast)."""
    if world() > 1:
        from torch import distributed

        for tensor in tensors:
            distributed.broadcast(tensor, 0)


def gathered(item: Item) -> list[Item]:
    """The items of all ranks, in rank order; for small objects."""
    if world() == 1:
        return [item]
    from torch import distributed

    found: list[Any] = [None] * world()
    distributed.all_gather_object(found, item)
    return found
