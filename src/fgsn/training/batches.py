"""Crops and matches of single samples become tensors of a batch, on the device of the model."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Generic, Literal, NamedTuple, TypeVar

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from fgsn.config import PretrainSettings, TrainSettings
from fgsn.data.augment import generator
from fgsn.data.dataset import Dataset
from fgsn.data.pairs import PairSample, pair_sample
from fgsn.errors import FgsnError
from fgsn.inference.model import Model
from fgsn.training.losses import Matches

Item = TypeVar("Item")
Made = TypeVar("Made")
MOST_REPLACED = 20
"""Samples in a row that may be unreadable; more are a folder that is not there."""


def shuffled(samples: int, step: int, batch: int, seed: int, purpose: int) -> list[int]:
    """Which samples make up the batch of a step: every epoch goes through all of them in an order of its own.

    A pure function of its arguments, so that a run does not depend on who loads its samples.
    """
    chosen = []
    for place in range(step * batch, (step + 1) * batch):
        epoch, position = divmod(place, samples)
        chosen.append(int(generator(seed, purpose, epoch).permutation(samples)[position]))
    return chosen


class Found(NamedTuple, Generic[Item, Made]):
    """What `first_readable` has found."""

    item: Item
    made: Made
    problems: list[str]
    """What is wrong with the items before it, a line each."""


def first_readable(
    items: Sequence[Item], position: int, make: Callable[[Item], Made], on_bad_image: Literal["skip", "stop"]
) -> Found[Item, Made]:
    """What `make` gives for the item at `position`, or for the next one whose files can be read.

    So a sample depends on nothing but its number and what is in the files.

    Raises:
        FgsnError: the item cannot be read, and on_bad_image says stop, or too many in a row cannot.
    """
    problems: list[str] = []
    for shift in range(len(items)):
        item = items[(position + shift) % len(items)]
        try:
            return Found(item, make(item), problems)
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
    """The pairs of crops of a step, each a pure function of (seed, step, slot) and of what is in the files.

    In the place of a pair that cannot be read comes the next one, unless the settings want to stop there.

    Args:
        pairs: correspondence files, each with its data set.
        settings: seed, crop, short side and colour jitter.
        batch: pairs per step.
        step: the step.
        purposes: streams of random numbers: for the order of the pairs, and for the crops.
        slots: which of the batch's pairs are wanted; None for all.
    """
    samples = []
    chosen = shuffled(len(pairs), step, batch, settings.seed, purposes[0])
    for slot in range(batch) if slots is None else slots:

        def crops(pair: tuple[Dataset, Path], slot: int = slot) -> PairSample:
            rng = generator(settings.seed, purposes[1], step, slot)
            sizes = settings.crop, settings.short_side
            return pair_sample(pair[1], pair[0].images, *sizes, settings.colour_jitter, rng)

        found = first_readable(pairs, chosen[slot], crops, settings.on_bad_image)
        sample = found.made
        samples.append(replace(sample, instead_of=tuple(found.problems)) if found.problems else sample)
    return samples


def stacked(model: Model, crops: Sequence[UInt8[np.ndarray, "side side 3"]]) -> Float[Tensor, "batch 3 side side"]:
    """Crops as one normalised batch on the model's device."""
    batch = torch.from_numpy(np.stack(crops)).to(model.device).permute(0, 3, 1, 2).float()
    return model.normalisation.apply(batch).contiguous(memory_format=torch.channels_last)


def matches_of(samples: Sequence[PairSample], device: torch.device) -> Matches:
    """The matches of a batch of pairs."""

    def joined(parts: Iterable[np.ndarray], kind: torch.dtype) -> Tensor:
        return torch.from_numpy(np.concatenate(list(parts))).to(device, kind)

    return Matches(
        pair=joined((np.full(len(sample.weights), n) for n, sample in enumerate(samples)), torch.int64),
        reference=joined((sample.cells_ref for sample in samples), torch.int64),
        target=joined((sample.cells_tgt for sample in samples), torch.int64),
        weight=joined((sample.weights for sample in samples), torch.float32),
    )
