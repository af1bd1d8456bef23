"""The losses of the self-supervised stage (Larsson et al., ICCV 2019, section 3)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Matches:
    """Matched feature cells of a batch of pairs, all pairs in one list."""

    pair: Int64[Tensor, " matches"]
    """Index of the pair in the batch."""
    reference: Int64[Tensor, "matches 2"]
    """Column and row of the cell in the reference crop."""
    target: Int64[Tensor, "matches 2"]
    weight: Float[Tensor, " matches"]
    """How much the match counts where features are compared: exp(-distance from the image's centre)."""

    def __len__(self) -> int:
        return len(self.pair)

    def among(self, chosen: Sequence[int]) -> Bool[Tensor, " matches"]:
        """Which matches belong to the chosen pairs."""
        return torch.isin(self.pair, torch.as_tensor(chosen, device=self.pair.device))

    def of(self, chosen: Sequence[int]) -> "Matches":
        """The matches of the chosen pairs (ascending), which are numbered anew from 0."""
        keep = self.among(chosen)
        pair = torch.searchsorted(torch.as_tensor(chosen, device=self.pair.device), self.pair[keep])
        return replace(self.where(keep), pair=pair)

    def where(self, keep: Bool[Tensor, " matches"]) -> "Matches":
        """The matches that are to be kept."""
        return Matches(self.pair[keep], self.reference[keep], self.target[keep], self.weight[keep])

    def shares(self, pairs: int, among: int | None = None) -> Float[Tensor, " matches"]:
        """Weight of each match, so that every pair with matches counts the same and all of them sum to 1.

        Args:
            pairs: pairs in this batch.
            among: pairs with matches, where this batch is a part of a larger one; all of the larger one sums to 1.
        """
        counts = torch.bincount(self.pair, minlength=pairs)
        return 1.0 / (counts[self.pair] * ((counts > 0).sum() if among is None else among))


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
    among: int | None = None,
) -> Float[Tensor, ""]:
    """L_class: cross-entropy against the dense cluster map of the reference, on cells inside the image.

    A mask, not a reserved label, marks what is left out, so that every cluster index can be learnt. Where this batch
    is a part of a larger one, `among` is the number of cells inside in all of it.
    """
    each = functional.cross_entropy(logits.float(), labels, reduction="none")
    return (each * inside).sum() / (inside.sum().clamp(min=1) if among is None else max(among, 1))


def correspondence_loss(
    logits: Float[Tensor, "batch clusters height width"],
    cells: Int64[Tensor, "matches 2"],
    matches: Matches,
    labels: Int64[Tensor, " matches"],
    among: int | None = None,
) -> Float[Tensor, ""]:
    """L_corr: cross-entropy at matched cells against the cluster of the reference; 0 without matches, never NaN.

    Where this batch is a part of a larger one, `among` is the number of pairs with matches in all of it.
    """
    if len(matches) == 0:
        return logits.sum() * 0.0
    each = functional.cross_entropy(at_cells(logits, matches.pair, cells).float(), labels, reduction="none")
    return (each * matches.shares(len(logits), among)).sum()


def class_correspondence_loss(
    reference: Float[Tensor, "batch classes height width"],
    target: Float[Tensor, "batch classes height width"],
    matches: Matches,
    ignored: Sequence[int] = (),
) -> Float[Tensor, ""]:
    """Cross-entropy in the target image against the class that the network sees in the reference (CVPR 2019, "class").

    Args:
        reference: class scores of the reference images; they get no gradient.
        target: class scores of the target images.
        matches: matched cells. A target cell with several matches learns from the first.
        ignored: classes of things that move: where the reference shows one, there is nothing to learn.
    """
    seen = at_cells(reference.argmax(dim=1), matches.pair, matches.reference)
    keep = ~torch.isin(seen, torch.as_tensor(ignored, device=seen.device, dtype=seen.dtype))
    keep &= _first_of_target_cell(matches)
    some = matches.where(keep)
    return correspondence_loss(target, some.target, some, seen[keep])


def _first_of_target_cell(matches: Matches) -> Bool[Tensor, " matches"]:
    """Which matches are the first at their cell of the target image."""
    _, inverse = torch.cat([matches.pair[:, None], matches.target], dim=1).unique(dim=0, return_inverse=True)
    order = torch.arange(len(matches), device=inverse.device)
    first = torch.full_like(order, len(matches)).scatter_reduce(0, inverse, order, "amin")
    return first[inverse] == order
