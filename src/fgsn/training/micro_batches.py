"""How the batch of a step is dealt out: to ranks, and on each rank to parts that are computed one after another."""

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
    """The parts of this rank, each a range of pairs of the batch.

    Raises:
        UsageError: the batch cannot be dealt out evenly.
    """
    dealt = ranks.world() * settings.accumulate
    size, left = divmod(settings.batch, dealt)
    if left:
        raise UsageError(
            f"--batch {settings.batch} cannot be dealt out evenly to {ranks.world()} processes with "
            f"{settings.accumulate} parts each: take a multiple of {dealt}"
        )
    first = ranks.rank() * settings.accumulate
    return [range(part * size, (part + 1) * size) for part in range(first, first + settings.accumulate)]


@dataclass
class Batch:
    """Which images of a whole batch are learnt from, and what its losses are divided by."""

    reference: list[int]
    """Slots whose reference image is learnt from."""
    target: list[int]
    """Slots whose target image is learnt from."""
    cells_inside: int = 0
    """Cells of these reference crops that lie on their image."""
    matched_in_reference: int = 0
    """Pairs with matches among `reference`."""
    matched_in_target: int = 0
    """Pairs with matches among `target`."""

    @classmethod
    def drawn(cls, settings: TrainSettings, step: int) -> "Batch":
        """By a coin for each pair or both; a pure function of (seed, step, slot)."""
        slots = range(settings.batch)
        if settings.gradient == "both" or settings.feature_weight > 0:
            return cls(list(slots), list(slots))
        coins = [generator(settings.seed, 4, step, slot).random() < 0.5 for slot in slots]
        return cls([slot for slot in slots if coins[slot]], [slot for slot in slots if not coins[slot]])

    @property
    def crops(self) -> int:
        """Images that are learnt from."""
        return len(self.reference) + len(self.target)

    def of_reference(self, slots: range) -> list[int]:
        """Those of some slots whose reference image is learnt from."""
        return [slot for slot in slots if slot in self.reference]

    def of_target(self, slots: range) -> list[int]:
        """Those of some slots whose target image is learnt from."""
        return [slot for slot in slots if slot in self.target]

    def rows(self, reference: Sequence[int], target: Sequence[int]) -> list[int]:
        """Where images stand in the whole batch: reference images first, then target images."""
        rows = [self.reference.index(slot) for slot in reference]
        return rows + [len(self.reference) + self.target.index(slot) for slot in target]

    def count(self, samples: Sequence[PairSample], slots: Sequence[int], device: torch.device) -> None:
        """Count cells and pairs with matches, those of the other ranks as well; `slots` are those of the samples."""
        found = torch.zeros(3, dtype=torch.int64)
        for slot, sample in zip(slots, samples, strict=True):
            matched = len(sample.weights) > 0
            if slot in self.reference:
                found += torch.tensor([sample.inside[0] * sample.inside[1], matched, 0])
            if slot in self.target:
                found += torch.tensor([0, 0, matched])
        found = found.to(device)
        ranks.add(found)
        self.cells_inside, self.matched_in_reference, self.matched_in_target = found.tolist()


def wrap_for_training(network: PSPNet, settings: TrainSettings) -> nn.Module:
    """The network as it is called in training: compiled if that is wanted, its gradients averaged over the ranks."""
    learner: nn.Module = torch.compile(network) if settings.compile else network  # type: ignore[assignment]
    if ranks.world() == 1:
        return learner
    # Batch norms are frozen, so there is nothing to keep alike; the option has a new name since torch 2.13.
    new = "forward_sync_buffers" in inspect.signature(DistributedDataParallel).parameters
    option: dict[str, Any] = {"forward_sync_buffers" if new else "broadcast_buffers": False}
    learner = DistributedDataParallel(learner, **option)
    # After its first step it sorts the gradients anew, and a resumed run would add them in another order than one that
    # was never stopped; so that happens before any step counts.
    network.train()
    output = learner(torch.zeros(1, 3, 65, 65, device=network.classifier.weight.device))
    (output.logits.sum() + output.aux_logits.sum()).backward()
    network.zero_grad()
    return learner


def no_sync(learner: nn.Module, stay: bool) -> AbstractContextManager[None]:
    """While gradients are added up over parts, they need not travel between ranks yet."""
    return learner.no_sync() if stay and isinstance(learner, DistributedDataParallel) else nullcontext()


def negatives_generator(seed: int, step: int, slot: int) -> torch.Generator:
    """The generator that draws wrong partners for a pair."""
    return torch.Generator().manual_seed(int(generator(seed, 7, step, slot).integers(2**62)))
