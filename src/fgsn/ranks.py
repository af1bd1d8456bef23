"""Several processes that share one job, started by torchrun; for one process alone everything here does nothing.

Every rank sees the same folders. Work is dealt out by `share`, tensors are brought together by `add`, and only the
first rank writes what is the job's as a whole.
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
    """How many processes torchrun started for this job."""
    return int(os.environ["WORLD_SIZE"]) if {"RANK", "WORLD_SIZE"} <= os.environ.keys() else 1


def first() -> bool:
    """Whether this process is the one that talks to the user."""
    return started() == 1 or os.environ["RANK"] == "0"


def world() -> int:
    """How many processes share the job; inside `joined`, else this one has its job to itself."""
    return started() if _inside else 1


def rank() -> int:
    """Which of them this one is, from 0 on."""
    return int(os.environ["RANK"]) if world() > 1 else 0


@contextmanager
def joined(device: str) -> Iterator[None]:
    """Connect this process with the others of its job, each with a GPU of its own where there are GPUs.

    Args:
        device: the setting --device.

    Raises:
        UsageError: fewer GPUs than processes on this machine.
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
    # Imported later, by the first optimiser, it would keep the group's threads alive until Python ends, and abort then.
    import torch._dynamo

    distributed.init_process_group("nccl" if on_gpu else "gloo")
    _inside = True
    try:
        yield
    finally:
        _inside = False
        distributed.destroy_process_group()


def share(items: Sequence[Item]) -> Sequence[Item]:
    """This rank's share of the items."""
    return items[rank() :: world()]


def add(*tensors: "Tensor") -> None:
    """Replace each tensor by its sum over the ranks.

    The ranks add in no particular order. Where each element is 0 on all ranks but one, or float64 holds the sums
    without rounding, the result is the same for any number of ranks.
    """
    if world() > 1:
        from torch import distributed

        for tensor in tensors:
            distributed.all_reduce(tensor)


def same(*tensors: "Tensor") -> None:
    """Give every rank the tensors of the first."""
    if world() > 1:
        from torch import distributed

        for tensor in tensors:
            distributed.broadcast(tensor, 0)


def gathered(item: Item) -> list[Item]:
    """What every rank has, in their order; for small things."""
    if world() == 1:
        return [item]
    from torch import distributed

    found: list[Any] = [None] * world()
    distributed.all_gather_object(found, item)
    return found
