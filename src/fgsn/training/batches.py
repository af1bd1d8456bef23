"""Crops and matches of single samples become tensors of a batch, on the device of the model."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from fgsn.config import PretrainSettings, TrainSettings
from fgsn.data.augment import generator
from fgsn.data.dataset import Dataset
from fgsn.data.pairs import PairSample, pair_sample
from fgsn.inference.model import Model
from fgsn.training.losses import Matches


def shuffled(samples: int, step: int, batch: int, seed: int, purpose: int) -> list[int]:
    """Which samples make up the batch of a step: every epoch goes through all of them in an order of its own.

    A pure function of its arguments, so that a run does not depend on who loads its samples.
    """
    chosen = []
    for place in range(step * batch, (step + 1) * batch):
        epoch, position = divmod(place, samples)
        chosen.append(int(generator(seed, purpose, epoch).permutation(samples)[position]))
    return chosen


def pair_samples(
    pairs: Sequence[tuple[Dataset, Path]],
    settings: PretrainSettings | TrainSettings,
    batch: int,
    step: int,
    purposes: tuple[int, int],
) -> list[PairSample]:
    """The pairs of crops of a step, a pure function of (seed, step).

    Args:
        pairs: correspondence files, each with its data set.
        settings: seed, crop, short side and colour jitter.
        batch: pairs per step.
        step: the step.
        purposes: streams of random numbers: for the order of the pairs, and for the crops.
    """
    samples = []
    for slot, position in enumerate(shuffled(len(pairs), step, batch, settings.seed, purposes[0])):
        data, path = pairs[position]
        rng = generator(settings.seed, purposes[1], step, slot)
        samples.append(pair_sample(path, data.images, settings.crop, settings.short_side, settings.colour_jitter, rng))
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
