"""The losses of the self-supervised stage (Larsson et al., ICCV 2019, section 3; METHOD section 2)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional

POSITIVE_MARGIN = 0.8
NEGATIVE_MARGIN = 0.2
NEGATIVE_DISTANCE = 200.0
"""Pixels that a match's negative partner is away from the match, at least."""


@dataclass(frozen=True)
class Matches:
    """Matched feature cells of a batch of pairs, all pairs in one list."""

    pair: Int64[Tensor, " matches"]
    """Index of the pair in the batch."""
    reference: Int64[Tensor, "matches 2"]
    """Column and row of the cell in the reference crop."""
    target: Int64[Tensor, "matches 2"]

    def __len__(self) -> int:
        return len(self.pair)

    def among(self, chosen: Sequence[int]) -> Bool[Tensor, " matches"]:
        """Which matches belong to the chosen pairs."""
        return torch.isin(self.pair, torch.as_tensor(chosen, device=self.pair.device))

    def of(self, chosen: Sequence[int]) -> "Matches":
        """The matches of the chosen pairs (ascending), which are numbered anew from 0."""
        keep = self.among(chosen)
        pair = torch.searchsorted(torch.as_tensor(chosen, device=self.pair.device), self.pair[keep])
        return Matches(pair, self.reference[keep], self.target[keep])

    def shares(self, pairs: int) -> Float[Tensor, " matches"]:
        """Weight of each match, so that every pair with matches counts the same and all of them sum to 1."""
        counts = torch.bincount(self.pair, minlength=pairs)
        return 1.0 / (counts[self.pair] * (counts > 0).sum())


def at_cells(
    values: Float[Tensor, "batch channels height width"] | Int64[Tensor, "batch height width"],
    pair: Int64[Tensor, " matches"],
    cells: Int64[Tensor, "matches 2"],
) -> Tensor:
    """Rows of a map at (column, row) cells: (matches, channels), or (matches,) of a label map."""
    if values.ndim == 3:
        return values[pair, cells[:, 1], cells[:, 0]]
    return values[pair, :, cells[:, 1], cells[:, 0]]


def cluster_loss(
    logits: Float[Tensor, "batch clusters height width"],
    labels: Int64[Tensor, "batch height width"],
    inside: Bool[Tensor, "batch height width"],
) -> Float[Tensor, ""]:
    """L_class: cross-entropy against the dense cluster map of the reference, on cells inside the image.

    A mask, not a reserved label, marks what is left out, so that every cluster index can be learnt.
    """
    each = functional.cross_entropy(logits.float(), labels, reduction="none")
    return (each * inside).sum() / inside.sum().clamp(min=1)


def correspondence_loss(
    logits: Float[Tensor, "batch clusters height width"],
    cells: Int64[Tensor, "matches 2"],
    matches: Matches,
    labels: Int64[Tensor, " matches"],
) -> Float[Tensor, ""]:
    """L_corr: cross-entropy at matched cells against the cluster of the reference; 0 without matches, never NaN."""
    if len(matches) == 0:
        return logits.sum() * 0.0
    each = functional.cross_entropy(at_cells(logits, matches.pair, cells).float(), labels, reduction="none")
    return (each * matches.shares(len(logits))).sum()


def hinge_feature_loss(
    reference: Float[Tensor, "batch dim height width"],
    target: Float[Tensor, "batch dim height width"],
    matches: Matches,
    stride: int,
    generator: torch.Generator,
) -> Float[Tensor, ""]:
    """Hinge loss on features of length 1: matches closer than 0.8, others (≥ 200 px away) farther than 0.2.

    Each match gets one negative, drawn from the matches of its own pair that lie far enough in the target; a match
    without such a partner has none.
    """
    if len(matches) == 0:
        return (reference.sum() + target.sum()) * 0.0
    one = functional.normalize(at_cells(reference, matches.pair, matches.reference).float(), dim=1, eps=1e-6)
    other = functional.normalize(at_cells(target, matches.pair, matches.target).float(), dim=1, eps=1e-6)
    positive = (POSITIVE_MARGIN - (one * other).sum(dim=1)).clamp(min=0)
    negative, has = _negatives(matches, stride, generator)
    apart = ((one * other[negative]).sum(dim=1) - NEGATIVE_MARGIN).clamp(min=0) * has
    return ((positive + apart) * matches.shares(len(reference))).sum()


def _negatives(matches: Matches, stride: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """For each match, another match of the same pair whose target cell is far away; and whether there is one."""
    distance = torch.cdist(matches.target.float() * stride, matches.target.float() * stride)
    allowed = (matches.pair[:, None] == matches.pair[None, :]) & (distance >= NEGATIVE_DISTANCE)
    lots = torch.rand(allowed.shape, generator=generator).to(allowed.device)
    return torch.where(allowed, lots, -1.0).argmax(dim=1), allowed.any(dim=1)
