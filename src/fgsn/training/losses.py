"""The losses of the self-supervised stage (Larsson et al., ICCV 2019, section 3)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class MatchedCells:
    """Matched feature cells of a batch of pairs, concatenated over the pairs."""

    pair: Int64[Tensor, " matches"]
    """Index of the pair in the batch."""
    reference: Int64[Tensor, "matches 2"]
    """Column and row of the cell in the reference crop."""
    target: Int64[Tensor, "matches 2"]
    weight: Float[Tensor, " matches"]
    """Weight of the match in feature losses: exp(-distance from the image centre)."""

    def __len__(self) -> int:
        return len(self.pair)

    def among(self, chosen: Sequence[int]) -> Bool[Tensor, " matches"]:
        """Mask of the matches that belong to the chosen pairs."""
        return torch.isin(self.pair, torch.as_tensor(chosen, device=self.pair.device))

    def of(self, chosen: Sequence[int]) -> "MatchedCells":
        """The matches of the chosen pairs (ascending), renumbered from 0."""
        keep = self.among(chosen)
        pair = torch.searchsorted(torch.as_tensor(chosen, device=self.pair.device), self.pair[keep])
        return replace(self.where(keep), pair=pair)

    def where(self, keep: Bool[Tensor, " matches"]) -> "MatchedCells":
        """The matches that the mask keeps."""
        return MatchedCells(self.pair[keep], self.reference[keep], self.target[keep], self.weight[keep])

    def shares(self, pairs: int, among: int | None = None) -> Float[Tensor, " matches"]:
        """Weight of each match such that every pair with matches counts equally and all weights sum to 1.

        Of a micro-batch of `pairs` pairs, the sum is over the whole batch with its `among` pairs with matches.
        """
        counts = torch.bincount(self.pair, minlength=pairs)
        return 1.0 / (counts[self.pair] * ((counts > 0).sum() if among is None else among))


def at_cells(
    values: Float[Tensor, "batch channels height width"] | Int64[Tensor, "batch height width"],
    pair: Int64[Tensor, " matches"],
    cells: Int64[Tensor, "matches 2"],
) -> Tensor:
    """Rows of a map at (column, row) cells: (matches, channels), or (matches,) of a label map.

    Its gradient is the same for any number of threads, unlike that of indexing, which adds up in random order.
    """
    if values.ndim == 3:
        return values[pair, cells[:, 1], cells[:, 0]]
    height, width = values.shape[2:]
    rows = values.permute(0, 2, 3, 1).reshape(-1, values.shape[1])
    return functional.embedding((pair * height + cells[:, 1]) * width + cells[:, 0], rows)


def cluster_loss(
    logits: Float[Tensor, "batch clusters height width"],
    labels: Int64[Tensor, "batch height width"],
    inside: Bool[Tensor, "batch height width"],
    among: int | None = None,
) -> Float[Tensor, ""]:
    """L_class: cross-entropy against the dense cluster map of the reference, on cells inside the image.

    A mask, not a reserved label, marks ignored cells, so every cluster index can be learnt. For a micro-batch, `among`
    is the number of inside cells in the whole batch.
    """
    each = functional.cross_entropy(logits.float(), labels, reduction="none")
    return (each * inside).sum() / (inside.sum().clamp(min=1) if among is None else max(among, 1))


def correspondence_loss(
    logits: Float[Tensor, "batch clusters height width"],
    cells: Int64[Tensor, "matches 2"],
    matches: MatchedCells,
    labels: Int64[Tensor, " matches"],
    among: int | None = None,
) -> Float[Tensor, ""]:
    """L_corr: cross-entropy at matched cells against the cluster of the reference; 0 without matches, never NaN.

    For a micro-batch, `among` is the number of pairs with matches in the whole batch.
    """
    if len(matches) == 0:
        return logits.sum() * 0.0
    each = functional.cross_entropy(at_cells(logits, matches.pair, cells).float(), labels, reduction="none")
    return (each * matches.shares(len(logits), among)).sum()


def class_correspondence_loss(
    reference: Float[Tensor, "batch classes height width"],
    target: Float[Tensor, "batch classes height width"],
    matches: MatchedCells,
    ignored: Sequence[int] = (),
) -> Float[Tensor, ""]:
    """Cross-entropy in the target image against the class predicted in the reference (CVPR 2019, "class").

    Scores of the reference get no gradient. A target cell with several matches learns from the first. Matches whose
    reference shows an `ignored` (dynamic) class are skipped.
    """
    seen = at_cells(reference.argmax(dim=1), matches.pair, matches.reference)
    keep = ~torch.isin(seen, torch.as_tensor(ignored, device=seen.device, dtype=seen.dtype))
    keep &= _first_of_target_cell(matches)
    some = matches.where(keep)
    return correspondence_loss(target, some.target, some, seen[keep])


def _first_of_target_cell(matches: MatchedCells) -> Bool[Tensor, " matches"]:
    """Mask of the matches that are the first at their target cell."""
    _, inverse = torch.cat([matches.pair[:, None], matches.target], dim=1).unique(dim=0, return_inverse=True)
    order = torch.arange(len(matches), device=inverse.device)
    first = torch.full_like(order, len(matches)).scatter_reduce(0, inverse, order, "amin")
    return first[inverse] == order
