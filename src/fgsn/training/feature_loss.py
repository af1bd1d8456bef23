"""Losses on features at matches: alike where both images show the same thing, apart elsewhere.

Larsson et al., CVPR 2019, section 4 (there on class scores, hingeC, or on features, hingeF) and ICCV 2019, section 3.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from fgsn.training.losses import Matches, at_cells

NEGATIVE_DISTANCE = 200.0
"""Pixels that a match's wrong partner is away from the match, at least."""
Rows = Float[Tensor, "rows dim"]
Terms = Float[Tensor, " rows"]


@dataclass(frozen=True)
class Measure:
    """How alike two features are: one way to turn rows of both images into losses."""

    prepared: Callable[[Rows], Rows]
    """What is done to every feature first."""
    together: Callable[[Rows, Rows], Terms]
    """Loss of features that should be alike."""
    apart: Callable[[Rows, Rows], Terms]
    """Loss of features that should differ."""
    by_distance: bool = True
    """Whether wrong partners count by how far they are away, in diagonals of the image."""
    evened: bool = False
    """Whether all rows of a pair count by the mean of their weights instead of each by its own."""


def absolute_distance(one: Rows, other: Rows) -> Terms:
    """Sum of absolute differences of every row."""
    return (one - other).abs().sum(dim=1)


def squared_distance(one: Rows, other: Rows) -> Terms:
    """Sum of squared differences of every row."""
    return (one - other).square().sum(dim=1)


def divergence(one: Rows, other: Rows) -> Terms:
    """Kullback-Leibler divergence of the distributions `other` from `one`, divided by the number of classes."""
    return (one * (one.log() - other.log())).mean(dim=1)


def _cosine(one: Rows, other: Rows) -> Terms:
    return (one * other).sum(dim=1)


MEASURES: dict[str, Measure] = {
    "hinge": Measure(
        lambda rows: functional.normalize(rows, dim=1, eps=1e-6),
        lambda one, other: (0.8 - _cosine(one, other)).clamp(min=0),
        lambda one, other: (_cosine(one, other) - 0.2).clamp(min=0),
        by_distance=False,
    ),
    # Distances have no gradient below (matches) or above (wrong partners) a margin that grows with the dimension.
    "l1": Measure(
        lambda rows: rows,
        lambda one, other: absolute_distance(one, other).clamp(min=0.8 * one.shape[1]),
        lambda one, other: -absolute_distance(one, other).clamp(max=0.9 * one.shape[1]),
    ),
    "l2": Measure(
        lambda rows: rows,
        lambda one, other: squared_distance(one, other).clamp(min=0.8**2 * one.shape[1]),
        lambda one, other: -squared_distance(one, other).clamp(max=1.2**2 * one.shape[1]),
    ),
    "kl": Measure(
        lambda rows: rows.softmax(dim=1),
        divergence,
        lambda one, other: -divergence(one, other),
        evened=True,
    ),
}
"""The feature losses by name; the margins are those of the papers' experiments."""


@dataclass(frozen=True)
class Negatives:
    """Wrong partners of matches."""

    match: Int64[Tensor, " draws"]
    """Row of the match, whose feature in the reference image is meant."""
    other: Int64[Tensor, " draws"]
    """Row of the match whose feature in the target image is the wrong partner."""
    distance: Float[Tensor, " draws"]
    """Distance of the two in the target image, in diagonals of the image."""
    count: int
    """Wrong partners of each match that has any."""


def feature_loss(
    kind: str,
    reference: Float[Tensor, "batch dim height width"],
    target: Float[Tensor, "batch dim height width"],
    matches: Matches,
    negatives: Negatives | None = None,
    among: int | None = None,
) -> Float[Tensor, ""]:
    """Loss on the features of both images at matches, every pair counting the same; 0 without matches, never NaN.

    Args:
        kind: a key of `MEASURES`.
        reference: feature maps, or class scores, of the reference images.
        target: those of the target images.
        matches: matched cells; they count by their weights.
        negatives: wrong partners, whose features should differ; None for none.
        among: pairs with matches in the whole batch, where these are a part of it.
    """
    if len(matches) == 0:
        return (reference.sum() + target.sum()) * 0.0
    measure, pairs = MEASURES[kind], len(reference)
    one = measure.prepared(at_cells(reference, matches.pair, matches.reference).float())
    other = measure.prepared(at_cells(target, matches.pair, matches.target).float())
    weight = _evened(matches.weight, matches.pair, pairs) if measure.evened else matches.weight
    share = matches.shares(pairs, among)
    loss = (share * weight * measure.together(one, other)).sum()
    if negatives is None:
        return loss
    apart = measure.apart(one[negatives.match], other[negatives.other])
    by = negatives.distance if measure.by_distance else torch.full_like(apart, 1.0 / negatives.count)
    if measure.evened:
        by = _evened(by, matches.pair[negatives.match], pairs)
    return (loss + (share[negatives.match] * by * apart).sum()) / (1 + negatives.count)


def draw_negatives(
    matches: Matches, count: int, stride: int, size: tuple[int, int] | torch.Size, lots: Sequence[torch.Generator]
) -> Negatives | None:
    """Draw wrong partners: other matches of the same pair that lie at least 200 pixels away in the target image.

    Distances are Euclidean and no match is its own wrong partner, unlike in the published code.

    Args:
        matches: the matches.
        count: partners per match, drawn with replacement; a match without a candidate has none. 0 gives None.
        stride: pixels between cells.
        size: rows and columns of the feature maps.
        lots: decide, one for each pair.
    """
    if count == 0:
        return None
    rows, others = [matches.pair[:0]], [matches.pair[:0]]
    for pair in matches.pair.unique():  # pair by pair: one table of all matches would not fit into memory
        mine = (matches.pair == pair).nonzero()[:, 0]
        cells = matches.target[mine].float() * stride
        allowed = torch.cdist(cells, cells) >= NEGATIVE_DISTANCE
        some = allowed.any(dim=1).nonzero()[:, 0]
        if len(some):
            drawn = torch.multinomial(allowed[some].float().cpu(), count, replacement=True, generator=lots[pair])
            rows.append(mine[some].repeat_interleave(count))
            others.append(mine[drawn.flatten().to(mine.device)])
    match, other = torch.cat(rows), torch.cat(others)
    apart = (matches.target[match] - matches.target[other]).float().norm(dim=1)
    return Negatives(match, other, apart / (size[0] ** 2 + size[1] ** 2) ** 0.5, count)


def _evened(values: Terms, pair: Int64[Tensor, " rows"], pairs: int) -> Terms:
    """Every value replaced by the mean over its pair."""
    total = values.new_zeros(pairs).index_add(0, pair, values)
    return (total / torch.bincount(pair, minlength=pairs).clamp(min=1))[pair]
