"""k-means in torch: k-means++ start on a sample, Lloyd's iterations, no cluster left empty.

The same code runs on CPU and GPU. faiss and scikit-learn are its oracles in the tests.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from fgsn.errors import FgsnError

CHUNK_VALUES = 1 << 24
"""Distances held at once."""
SEEDING_SAMPLES = 64
"""Samples per cluster that the k-means++ start looks at."""


@dataclass(frozen=True)
class Clustering:
    """Result of k-means."""

    centroids: Float[Tensor, "clusters dim"]
    objective: tuple[float, ...]
    """Sum of squared distances, seen at each iteration (before its update) and at the end."""
    counts: Int64[Tensor, " clusters"]
    """Samples of each cluster."""


def kmeans(
    samples: Float[Tensor, "samples dim"], clusters: int, iterations: int, generator: torch.Generator
) -> Clustering:
    """Cluster the samples.

    Raises:
        FgsnError: fewer samples than clusters.
    """
    count = samples.shape[0]
    if count < clusters:
        raise FgsnError(
            f"{clusters} clusters want at least as many features, but there are {count}: "
            "take fewer clusters, more images, or more features per image"
        )
    centroids = _plusplus(samples, clusters, generator)
    objective: list[float] = []
    for _ in range(iterations):
        ids, distances = nearest(samples, centroids)
        objective.append(distances.sum(dtype=torch.float64).item())
        if len(objective) > 1 and objective[-1] == objective[-2]:
            break
        centroids = _means(samples, ids, distances, centroids)
    ids, distances = nearest(samples, centroids)
    objective.append(distances.sum(dtype=torch.float64).item())
    return Clustering(centroids, tuple(objective), torch.bincount(ids, minlength=clusters))


def nearest(
    samples: Float[Tensor, "samples dim"], centroids: Float[Tensor, "clusters dim"]
) -> tuple[Int64[Tensor, " samples"], Float[Tensor, " samples"]]:
    """Nearest centroid of each sample (the first of equals), and the squared distance to it."""
    norms = centroids.square().sum(dim=1)
    ids, distances = [], []
    for chunk in samples.split(max(1, CHUNK_VALUES // centroids.shape[0])):
        partial, best = torch.addmm(norms, chunk, centroids.T, alpha=-2.0).min(dim=1)
        ids.append(best)
        distances.append((partial + chunk.square().sum(dim=1)).clamp(min=0))
    return torch.cat(ids), torch.cat(distances)


def _plusplus(samples: Tensor, clusters: int, generator: torch.Generator) -> Tensor:
    """Start: each further centre is the best of a few candidates drawn with probability ~ squared distance.

    Arthur and Vassilvitskii, SODA 2007, with the greedy choice that scikit-learn uses.
    """
    if samples.shape[0] > SEEDING_SAMPLES * clusters:
        chosen = torch.randperm(samples.shape[0], generator=generator)[: SEEDING_SAMPLES * clusters]
        samples = samples[chosen.to(samples.device)]
    candidates = 2 + int(torch.tensor(float(clusters)).log().item())
    first = int(torch.randint(samples.shape[0], (1,), generator=generator))
    centres = samples.new_empty(clusters, samples.shape[1])
    centres[0] = samples[first]
    squares = samples.square().sum(dim=1)
    closest = (squares - 2 * samples @ centres[0] + squares[first]).clamp(min=0)
    for index in range(1, clusters):
        cumulative = closest.double().cumsum(0)
        # Fewer distinct samples than clusters: all distances are 0, any sample will do.
        draws = torch.rand(candidates, generator=generator, dtype=torch.float64).to(samples.device) * cumulative[-1]
        drawn = torch.searchsorted(cumulative, draws, right=True).clamp(max=samples.shape[0] - 1)
        distances = (squares[:, None] - 2 * samples @ samples[drawn].T + squares[drawn]).clamp(min=0)
        distances = torch.minimum(closest[:, None], distances)
        best = distances.sum(dim=0).argmin()
        closest, centres[index] = distances[:, best], samples[drawn[best]]
    return centres


def _means(samples: Tensor, ids: Tensor, distances: Tensor, centroids: Tensor) -> Tensor:
    """Means of the clusters; an empty one moves to the sample that is farthest from its own centroid."""
    counts = torch.bincount(ids, minlength=centroids.shape[0])
    sums = torch.zeros(centroids.shape, dtype=torch.float64, device=samples.device)
    sums.index_add_(0, ids, samples.double())
    means = (sums / counts.clamp(min=1)[:, None]).float()
    empty = (counts == 0).nonzero()[:, 0]
    if len(empty):
        farthest = distances.topk(min(len(empty), len(distances))).indices
        means[empty] = centroids[empty]
        means[empty[: len(farthest)]] = samples[farthest]
    return means
