"""The correspondence loss of supervised training (Larsson et al., CVPR 2019, section 4)."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from fgsn.config import PretrainSettings
from fgsn.data.dataset import Dataset
from fgsn.data.labelled import MOVING_CLASSES
from fgsn.data.pairs import PairSample
from fgsn.errors import FgsnError, UsageError, nearest
from fgsn.models.layers import STRIDE
from fgsn.models.pspnet import Output
from fgsn.training.batches import matches_of, pair_samples
from fgsn.training.feature_loss import draw_negatives, feature_loss
from fgsn.training.losses import class_correspondence_loss

AUX_WEIGHT = 0.4
WEIGHTS = {"class": 1.0, "hingeC": 1.0, "hingeF": 0.1}
"""Weights of the terms in the paper."""


@dataclass(frozen=True)
class CorrespondenceTerm:
    """Pairs of images from two seasons, and the loss that makes the network treat both the same."""

    settings: PretrainSettings
    pairs: list[tuple[Dataset, Path]]
    ignored: list[int]
    """Dynamic classes, which the loss `class` ignores."""

    @classmethod
    def of(cls, settings: PretrainSettings, classes: tuple[str, ...]) -> "CorrespondenceTerm | None":
        """The term for the settings; None without --corr-data.

        Raises:
            FgsnError: a data set is not prepared or has no training pairs.
            UsageError: a class of --corr-ignore is unknown.
        """
        if not settings.corr_data:
            return None
        sets = [Dataset.open(path) for path in settings.corr_data]
        pairs = [(data, path) for data in sets for path in data.pairs("train")]
        if not pairs:
            raise FgsnError("the data sets of --corr-data have no training pairs; run fgsn prepare on them")
        ignored = settings.corr_ignore
        if ignored is None:
            ignored = [name for name in classes if name.lower() in MOVING_CLASSES]
        for name in ignored:
            if name not in classes:
                raise UsageError(f"--corr-ignore: there is no class '{name}'; {nearest(name, classes)}")
        return cls(settings, pairs, [classes.index(name) for name in ignored])

    @property
    def weight(self) -> float:
        """Weight of the term relative to the supervised loss."""
        chosen = self.settings.corr_weight
        return WEIGHTS[self.settings.corr_loss] if chosen is None else chosen

    def samples(self, step: int) -> list[PairSample]:
        """The pairs of a step, a pure function of (seed, step)."""
        return pair_samples(self.pairs, self.settings, self.settings.corr_batch, step, purposes=(5, 6))

    def loss(self, output: Output, samples: list[PairSample], first: int, step: int) -> Tensor:
        """The loss on the pairs; from row `first` on, the output contains their references and then their targets."""
        matches = matches_of(samples, output.logits.device)
        assert output.aux_logits is not None
        heads = [(output.logits, 1.0), (output.aux_logits, AUX_WEIGHT)]
        if self.settings.corr_loss == "hingeF":
            heads = [(output.features, 1.0)]
        generator = torch.Generator().manual_seed((self.settings.seed << 32) + step)
        negatives = draw_negatives(matches, 1, STRIDE, output.logits.shape[2:], [generator] * len(samples))
        loss = output.logits.new_zeros((), dtype=torch.float32)
        for maps, weight in heads:
            reference, target = maps[first:].chunk(2)
            if self.settings.corr_loss == "class":
                loss = loss + weight * class_correspondence_loss(reference, target, matches, self.ignored)
            else:
                loss = loss + weight * feature_loss("hinge", reference, target, matches, negatives)
        return loss
