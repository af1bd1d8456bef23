"""k-means in torch: k-means++ initialisation on a sample, Lloyd's iterations, no empty clusters.

The same code runs on CPU, GPU and several ranks, and its results are bit-identical for any number of ranks: the chunks
of the matrix product do not depend on the rank, and sums are taken of values on a grid, so that they are exact in
float64 in any order. faiss and scikit-learn are the oracles in the tests.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from fgsn import ranks
from fgsn.errors import FgsnError

CHUNK, GPU_CHUNK = 2048, 1 << 16
"""Samples processed at once: on a processor, so that intermediate results stay in its cache."""
CHUNK_VALUES = 1 << 24
"""Maximum number of distances in memory at once."""
SEEDING_SAMPLES = (16, 16384)
"""Samples used by the k-means++ initialisation: number per cluster, and minimum."""


@dataclass(frozen=True)
class Clustering:
    """Result of k-means."""

    centroids: Float[Tensor, "clusters dim"]
    objective: tuple[float, ...]
    """Sum of squared distances at each iteration (before its update) and at the end."""
    counts: Int64[Tensor, " clusters"]
    """Number of samples of each cluster."""


def require_features(count: int, clusters: int) -> None:
    """Raise FgsnError if there are fewer features than clusters."""
    if count < clusters:
        raise FgsnError(
            f"{clusters} clusters require at least as many features, but there are {count}: "
            "use fewer --clusters, more images, or more --features-per-image"
        )


def kmeans(
    samples: Float[Tensor, "samples dim"], clusters: int, iterations: int, generator: torch.Generator
) -> Clustering:
    """Cluster the samples; FgsnError if there are fewer than clusters."""
    count = samples.shape[0]
    require_features(count, clusters)
    centroids = _plusplus(samples, clusters, generator)
    ranks.same(centroids)
    samples = _on_grid(samples)
    squares = samples.square().sum(dim=1)
    objective: list[float] = []
    while True:
        counts, sums, distances = _assigned(samples, squares, centroids)
        objective.append(distances.sum(dtype=torch.float64).item())
        if len(objective) > iterations or objective[-1:] == objective[-2:-1]:
            return Clustering(centroids, tuple(objective), counts)
        centroids = _means(samples, counts, sums, distances, centroids)


def nearest(
    samples: Float[Tensor, "samples dim"], centroids: Float[Tensor, "clusters dim"]
) -> tuple[Int64[Tensor, " samples"], Float[Tensor, " samples"]]:
    """Nearest centroid of each sample (the first if several are equally near), and the squared distance to it."""
    product = _Product(centroids)
    found = [product.smallest(chunk) for chunk in product.chunks(samples)]
    ids, partial = (torch.cat(parts) for parts in zip(*found, strict=True))
    return ids, (partial + samples.square().sum(dim=1)).clamp(min=0)


def rows_at_once(samples: Tensor) -> int:
    """How many samples are processed at once on their device."""
    return GPU_CHUNK if samples.is_cuda else CHUNK


class _Product:
    """|c|² - 2 x·c for chunks of samples: orders centroids c by their distance to a sample x."""

    def __init__(self, centroids: Tensor) -> None:
        self.offsets, self.weights = centroids.square().sum(dim=1), -2.0 * centroids

    def chunks(self, rows: Tensor) -> Sequence[Tensor]:
        """The rows in chunks; their size depends on the number of centroids and on the device."""
        return rows.split(max(1, min(rows_at_once(rows), CHUNK_VALUES // len(self.weights))))

    def smallest(self, chunk: Tensor) -> tuple[Tensor, Tensor]:
        """Index of the centroid with the smallest value for each sample, and that value."""
        values, ids = _affine(chunk, self.weights, self.offsets).min(dim=1)
        return ids, values


def _affine(chunk: Tensor, weights: Tensor, offsets: Tensor) -> Tensor:
    """offsets + chunk @ weights.T; on a CPU as a convolution, which torch computes faster there."""
    if chunk.device.type != "cpu":
        return torch.addmm(offsets, chunk, weights.T)
    rows, dim = chunk.shape
    # A batch of 16 images of 1 x n pixels; smaller batches use a slower product.
    pixels = functional.pad(chunk, (0, 0, 0, -rows % 16)).view(16, -1, 1, dim).permute(0, 3, 1, 2)
    filters = weights[:, :, None, None].contiguous(memory_format=torch.channels_last)
    return functional.conv2d(pixels, filters, offsets).permute(0, 2, 3, 1).reshape(-1, len(weights))[:rows]


def _on_grid(samples: Tensor) -> Tensor:
    """The samples rounded to multiples of a step so large that every sum of them is exact in float64.

    For 200,000 samples of length 1 the step is 2^-34, which does not change values above 2^-10.
    """
    largest = math.frexp(max(samples.abs().max().item(), 1e-30))[1]
    big = math.ldexp(1.5, largest + math.frexp(len(samples))[1] - 1)  # float64 values near it are multiples of the step
    rounded = torch.empty_like(samples)
    for chunk, place in zip(*(rows.split(rows_at_once(samples)) for rows in (samples, rounded)), strict=True):
        place[:] = chunk.double().add_(big).sub_(big)
    return rounded


def _assigned(samples: Tensor, squares: Tensor, centroids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Number and sum of the samples of each cluster, and the squared distance of every sample to its centroid."""
    product = _Product(centroids)
    counts = torch.zeros(len(centroids), dtype=torch.int64, device=samples.device)
    sums = torch.zeros(centroids.shape, dtype=torch.float64, device=samples.device)
    distances = torch.zeros_like(squares)
    exact = sums.new_empty(min(rows_at_once(samples), len(samples)), samples.shape[1])
    parts = list(zip(*(product.chunks(rows) for rows in (samples, squares, distances)), strict=True))
    for chunk, square, distance in ranks.share(parts):
        ids, values = product.smallest(chunk)
        distance[:] = (values + square).clamp(min=0)
        counts += torch.bincount(ids, minlength=len(centroids))
        sums.index_add_(0, ids, exact[: len(ids)].copy_(chunk))
    ranks.add(counts, sums, distances)
    return counts, sums, distances


def _plusplus(samples: Tensor, clusters: int, generator: torch.Generator) -> Tensor:
    """Initial centroids: each is the best of a few candidates drawn with probability ~ squared distance.

    Arthur and Vassilvitskii, SODA 2007, with scikit-learn's greedy choice.
    """
    limit = max(SEEDING_SAMPLES[0] * clusters, SEEDING_SAMPLES[1])
    if samples.shape[0] > limit:
        chosen = torch.randperm(samples.shape[0], generator=generator)[:limit]
        samples = samples[chosen.to(samples.device)]
    candidates = 2 + int(torch.tensor(float(clusters)).log().item())
    first = int(torch.randint(samples.shape[0], (1,), generator=generator))
    centres = samples.new_empty(clusters, samples.shape[1])
    centres[0] = samples[first]
    squares = samples.square().sum(dim=1)
    closest = (squares - 2 * (samples @ centres[0]) + squares[first]).clamp(min=0)
    for index in range(1, clusters):
        cumulative = closest.double().cumsum(0)
        # With fewer distinct samples than clusters all distances become 0, and any sample may be chosen.
        draws = torch.rand(candidates, generator=generator, dtype=torch.float64).to(samples.device) * cumulative[-1]
        drawn = torch.searchsorted(cumulative, draws, right=True).clamp(max=samples.shape[0] - 1)
        distances = torch.addmm(squares[:, None], samples, samples[drawn].T, alpha=-2.0)
        distances = torch.minimum(closest[:, None], (distances + squares[drawn]).clamp(min=0))
        best = distances.sum(dim=0).argmin()
        closest, centres[index] = distances[:, best], samples[drawn[best]]
    return centres


def _means(samples: Tensor, counts: Tensor, sums: Tensor, distances: Tensor, centroids: Tensor) -> Tensor:
    """Means of the clusters; an empty cluster moves to the sample farthest from its own centroid."""
    means = (sums / counts.clamp(min=1)[:, None]).float()
    empty = (counts == 0).nonzero()[:, 0]
    if len(empty):
        farthest = distances.topk(min(len(empty), len(distances))).indices
        means[empty] = centroids[empty]
        means[empty[: len(farthest)]] = samples[farthest]
    return means
