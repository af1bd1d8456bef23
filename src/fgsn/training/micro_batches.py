"""How the batch of a step is split: over ranks, and on each rank into micro-batches that run one after another."""

import inspect
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from fgsn import ranks
from fgsn.config import TrainSettings
from fgsn.data.augment import generator
from fgsn.data.pairs import PairSample
from fgsn.errors import UsageError
from fgsn.models.pspnet import PSPNet


def slots_of_rank(settings: TrainSettings) -> list[range]:
    """The micro-batches of this rank, each a range of pairs of the batch; UsageError if it does not divide evenly."""
    total = ranks.world() * settings.accumulate
    size, remainder = divmod(settings.batch, total)
    if remainder:
        raise UsageError(
            f"--batch {settings.batch} does not divide into {ranks.world()} processes of {settings.accumulate} "
            f"micro-batches each: choose a multiple of {total}"
        )
    first = ranks.rank() * settings.accumulate
    return [range(number * size, (number + 1) * size) for number in range(first, first + settings.accumulate)]


@dataclass
class BatchPlan:
    """Which images of a batch get a gradient, and what its losses are divided by."""

    reference: list[int]
    """Slots (positions in the batch) whose reference image gets a gradient."""
    target: list[int]
    """Slots whose target image gets a gradient."""
    cells_inside: int = 0
    """Cells of these reference crops that lie inside their image."""
    matched_in_reference: int = 0
    """Pairs with matches among `reference`."""
    matched_in_target: int = 0
    """Pairs with matches among `target`."""

    @classmethod
    def drawn(cls, settings: TrainSettings, step: int) -> "BatchPlan":
        """Draw the images by one coin per pair, or take both; a pure function of (seed, step, slot)."""
        slots = range(settings.batch)
        if settings.gradient == "both" or settings.feature_weight > 0:
            return cls(list(slots), list(slots))
        coins = [generator(settings.seed, 4, step, slot).random() < 0.5 for slot in slots]
        return cls([slot for slot in slots if coins[slot]], [slot for slot in slots if not coins[slot]])

    @property
    def crops(self) -> int:
        """Number of images with a gradient."""
        return len(self.reference) + len(self.target)

    def rows(self, reference: Sequence[int], target: Sequence[int]) -> list[int]:
        """Rows of images in the batch: reference images first, then target images."""
        rows = [self.reference.index(slot) for slot in reference]
        return rows + [len(self.reference) + self.target.index(slot) for slot in target]

    def count(self, samples: Sequence[PairSample], slots: Sequence[int], device: torch.device) -> None:
        """Count cells and pairs with matches over all ranks; `slots` are the slots of `samples`."""
        found = torch.zeros(3, dtype=torch.int64)
        for slot, sample in zip(slots, samples, strict=True):
            matched = len(sample.weights) > 0
            if slot in self.reference:
                found += torch.tensor([sample.inside[0] * sample.inside[1], matched, 0])
            if slot in self.target:
                found += torch.tensor([0, 0, matched])
        if ranks.world() > 1:
            found = found.to(device)
            ranks.add(found)
        self.cells_inside, self.matched_in_reference, self.matched_in_target = found.tolist()


def wrap_for_training(network: PSPNet, settings: TrainSettings) -> nn.Module:
    """Wrap the network for training: compiled if the settings say so, gradients averaged over the ranks."""
    learner: nn.Module = torch.compile(network) if settings.compile else network  # type: ignore[assignment]
    if ranks.world() == 1:
        return learner
    # Batch norms are frozen, so buffers need no synchronisation; torch 2.13 renamed the option.
    new = "forward_sync_buffers" in inspect.signature(DistributedDataParallel).parameters
    option: dict[str, Any] = {"forward_sync_buffers" if new else "broadcast_buffers": False}
    learner = DistributedDataParallel(learner, **option)
    # DDP reorders its gradient buckets after the first backward pass. Do that pass now, or a resumed run would add
    # gradients in another order than an uninterrupted one.
    network.train()
    output = learner(torch.zeros(1, 3, 65, 65, device=network.classifier.weight.device))
    (output.logits.sum() + output.aux_logits.sum()).backward()
    network.zero_grad()
    return learner


def no_sync(learner: nn.Module, stay: bool) -> AbstractContextManager[None]:
    """Skip the synchronisation of gradients between ranks (`stay`) until the last micro-batch of a step."""
    return learner.no_sync() if stay and isinstance(learner, DistributedDataParallel) else nullcontext()


def negatives_generator(seed: int, step: int, slot: int) -> torch.Generator:
    """The generator that draws a pair's negatives."""
    return torch.Generator().manual_seed(int(generator(seed, 7, step, slot).integers(2**62)))
