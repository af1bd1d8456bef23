"""Losses that make features similar at matches and different at non-matches.

Larsson et al., CVPR 2019, section 4 (there on class scores, hingeC, or on features, hingeF) and ICCV 2019, section 3.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from fgsn.training.losses import MatchedCells, at_cells

NEGATIVE_DISTANCE = 200.0
"""Smallest distance in pixels between a match and its negative."""
Rows = Float[Tensor, "rows dim"]
Terms = Float[Tensor, " rows"]


@dataclass(frozen=True)
class Measure:
    """One way to turn pairs of feature rows into losses."""

    prepared: Callable[[Rows], Rows]
    """Applied to every feature first."""
    together: Callable[[Rows, Rows], Terms]
    """Loss of features that should be similar."""
    apart: Callable[[Rows, Rows], Terms]
    """Loss of features that should differ."""
    by_distance: bool = True
    """Whether negatives are weighted by their distance, in image diagonals."""
    use_pair_means: bool = False
    """Whether all rows of a pair share the mean of their weights."""


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
        use_pair_means=True,
    ),
}
"""The feature losses by name; the margins are those of the papers' experiments."""


@dataclass(frozen=True)
class Negatives:
    """Negatives: pairs of matches whose features should differ."""

    match: Int64[Tensor, " draws"]
    """Row of the match that gives the reference feature."""
    other: Int64[Tensor, " draws"]
    """Row of the match that gives the target feature, the negative."""
    distance: Float[Tensor, " draws"]
    """Distance of the two in the target image, in image diagonals."""
    count: int
    """Negatives per match, for matches that have any."""


def feature_loss(
    kind: str,
    reference: Float[Tensor, "batch dim height width"],
    target: Float[Tensor, "batch dim height width"],
    matches: MatchedCells,
    negatives: Negatives | None = None,
    among: int | None = None,
) -> Float[Tensor, ""]:
    """Loss on the features of both images at matches, every pair weighted equally; 0 without matches, never NaN.

    Args:
        kind: a key of `MEASURES`.
        reference: feature maps, or class scores, of the reference images; `target`: those of the target images.
        matches: matched cells, weighted by their weights.
        negatives: pairs whose features should differ; None for none.
        among: for a micro-batch, the number of pairs with matches in the whole batch.
    """
    if len(matches) == 0:
        return (reference.sum() + target.sum()) * 0.0
    measure, pairs = MEASURES[kind], len(reference)
    one = measure.prepared(at_cells(reference, matches.pair, matches.reference).float())
    other = measure.prepared(at_cells(target, matches.pair, matches.target).float())
    weight = _pair_means(matches.weight, matches.pair, pairs) if measure.use_pair_means else matches.weight
    share = matches.shares(pairs, among)
    loss = (share * weight * measure.together(one, other)).sum()
    if negatives is None:
        return loss
    apart = measure.apart(one[negatives.match], other[negatives.other])
    by = negatives.distance if measure.by_distance else torch.full_like(apart, 1.0 / negatives.count)
    if measure.use_pair_means:
        by = _pair_means(by, matches.pair[negatives.match], pairs)
    return (loss + (share[negatives.match] * by * apart).sum()) / (1 + negatives.count)


def draw_negatives(
    matches: MatchedCells,
    count: int,
    stride: int,
    size: tuple[int, int] | torch.Size,
    generators: Sequence[torch.Generator],
) -> Negatives | None:
    """Draw negatives: other matches of the same pair at least 200 pixels away in the target image.

    Unlike in the published code, distances are Euclidean and no match is its own negative.

    Args:
        count: negatives per match, drawn with replacement; a match without a candidate has none. 0 gives None.
        stride: pixels between cells.
        size: rows and columns of the feature maps.
        generators: one random generator per pair.
    """
    if count == 0:
        return None
    rows, others = [matches.pair[:0]], [matches.pair[:0]]
    for pair in matches.pair.unique():  # pair by pair: a table of all matches against all would not fit into memory
        mine = (matches.pair == pair).nonzero()[:, 0]
        cells = matches.target[mine].float() * stride
        allowed = torch.cdist(cells, cells) >= NEGATIVE_DISTANCE
        some = allowed.any(dim=1).nonzero()[:, 0]
        if len(some):
            drawn = torch.multinomial(allowed[some].float().cpu(), count, replacement=True, generator=generators[pair])
            rows.append(mine[some].repeat_interleave(count))
            others.append(mine[drawn.flatten().to(mine.device)])
    match, other = torch.cat(rows), torch.cat(others)
    apart = (matches.target[match] - matches.target[other]).float().norm(dim=1)
    return Negatives(match, other, apart / (size[0] ** 2 + size[1] ** 2) ** 0.5, count)


def _pair_means(values: Terms, pair: Int64[Tensor, " rows"], pairs: int) -> Terms:
    """Replace every value by the mean over its pair."""
    total = values.new_zeros(pairs).index_add(0, pair, values)
    return (total / torch.bincount(pair, minlength=pairs).clamp(min=1))[pair]
