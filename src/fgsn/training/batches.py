"""Collect the samples of a step and turn their crops and matches into batch tensors on the model's device."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Generic, Literal, NamedTuple, TypeVar

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy.typing import NDArray
from torch import Tensor

from fgsn.config import PretrainSettings, TrainSettings
from fgsn.data.augment import generator
from fgsn.data.dataset import Dataset
from fgsn.data.pairs import PairSample, pair_sample
from fgsn.errors import FgsnError
from fgsn.inference.model import Model, to_device
from fgsn.training.losses import MatchedCells

Item = TypeVar("Item")
Value = TypeVar("Value")
MOST_REPLACED = 20
"""Consecutive unreadable samples allowed; more means that the folder is missing."""


def shuffled(samples: int, step: int, batch: int, seed: int, purpose: int) -> list[int]:
    """Samples of the batch of a step; every epoch visits all samples in a new random order.

    A pure function of its arguments, so a run does not depend on which process loads its samples.
    """
    chosen = []
    for place in range(step * batch, (step + 1) * batch):
        epoch, position = divmod(place, samples)
        chosen.append(int(_order(samples, epoch, seed, purpose)[position]))
    return chosen


@lru_cache(maxsize=4)  # the streams of a run, and the two epochs of a batch between them
def _order(samples: int, epoch: int, seed: int, purpose: int) -> NDArray[np.int64]:
    return generator(seed, purpose, epoch).permutation(samples)


class Readable(NamedTuple, Generic[Item, Value]):
    """The result of `first_readable`."""

    item: Item
    value: Value
    problems: list[str]
    """One line per unreadable item that was skipped before it."""


def first_readable(
    items: Sequence[Item], position: int, make: Callable[[Item], Value], on_bad_image: Literal["skip", "stop"]
) -> Readable[Item, Value]:
    """Apply `make` to the item at `position`, or to the next item whose files can be read.

    A sample therefore depends only on its number and on the files. Raises FgsnError if the item cannot be read and
    `on_bad_image` is stop, or if too many items in a row cannot.
    """
    problems: list[str] = []
    for shift in range(len(items)):
        item = items[(position + shift) % len(items)]
        try:
            return Readable(item, make(item), problems)
        except FgsnError as error:
            problems.append(str(error))
            if on_bad_image == "stop":
                raise
        if len(problems) == MOST_REPLACED:
            break
    raise FgsnError(f"{len(problems)} samples in a row cannot be read, the last: {problems[-1]}")


def pair_samples(
    pairs: Sequence[tuple[Dataset, Path]],
    settings: PretrainSettings | TrainSettings,
    batch: int,
    step: int,
    purposes: tuple[int, int],
    slots: Sequence[int] | None = None,
) -> list[PairSample]:
    """Crop the pairs of a step, each a pure function of (seed, step, slot) and the files.

    The next pair replaces an unreadable one, unless the settings say stop.

    Args:
        pairs: correspondence files, each with its data set.
        batch: pairs per step, of which `slots` are cropped; None for all.
        purposes: random streams for the order of the pairs and for the crops.
    """
    samples = []
    chosen = shuffled(len(pairs), step, batch, settings.seed, purposes[0])
    for slot in range(batch) if slots is None else slots:

        def crops(pair: tuple[Dataset, Path], slot: int = slot) -> PairSample:
            rng = generator(settings.seed, purposes[1], step, slot)
            sizes = settings.crop, settings.short_side
            moves = (settings.zoom, settings.shift) if isinstance(settings, TrainSettings) else ()
            return pair_sample(pair[1], pair[0].images, *sizes, settings.colour_jitter, rng, *moves)

        found = first_readable(pairs, chosen[slot], crops, settings.on_bad_image)
        sample = found.value
        samples.append(replace(sample, instead_of=tuple(found.problems)) if found.problems else sample)
    return samples


def stacked(model: Model, crops: Sequence[UInt8[np.ndarray, "side side 3"]]) -> Float[Tensor, "batch 3 side side"]:
    """Stack crops into one normalised batch on the model's device."""
    batch = to_device(torch.from_numpy(np.stack(crops)), model.device).permute(0, 3, 1, 2).float()
    return model.normalisation.apply(batch).contiguous(memory_format=torch.channels_last)


def matches_of(samples: Sequence[PairSample], device: torch.device) -> MatchedCells:
    """The matches of a batch of pairs."""

    def joined(parts: Iterable[np.ndarray], kind: torch.dtype) -> Tensor:
        return to_device(torch.from_numpy(np.concatenate(list(parts))).to(kind), device)

    return MatchedCells(
        pair=joined((np.full(len(sample.weights), n) for n, sample in enumerate(samples)), torch.int64),
        reference=joined((sample.cells_ref for sample in samples), torch.int64),
        target=joined((sample.cells_tgt for sample in samples), torch.int64),
        weight=joined((sample.weights for sample in samples), torch.float32),
    )
