"""k-means, and features to cluster indices: ours beside NumPy."""

from typing import Any

import numpy as np
import torch

from fgsn.bench.measure import alternating, metrics
from fgsn.clustering.codebook import Codebook
from fgsn.clustering.kmeans import kmeans
from fgsn.config import BenchSettings
from fgsn.inference.model import choose_device

DIM, KEPT, ITERATIONS = 512, 256, 20
SIDE = 90
"""Feature cells along the side of a 713 window."""


def clustering(settings: BenchSettings) -> dict[str, Any]:
    """k-means of samples; the plain version starts at random samples, where ours looks for a good start (k-means++)."""
    samples, clusters = (200_000, 1000) if settings.full else (20_000, 100)
    device = choose_device(settings.device)
    features = blobs(settings.seed, samples, KEPT, clusters).to(device)
    arrays = features.cpu().numpy()
    found: dict[str, float] = {}

    def ours() -> None:
        result = kmeans(features, clusters, ITERATIONS, torch.Generator().manual_seed(settings.seed))
        found["ours"] = result.objective[-1]

    def plain() -> None:
        start = np.random.default_rng(settings.seed).choice(samples, clusters, replace=False)
        found["plain"] = plain_kmeans(arrays, arrays[start].copy(), ITERATIONS)

    seconds = alternating({"ours": ours, "plain": plain}, settings.rounds, device)
    steps = ITERATIONS + 1
    operations, moved = 2.0 * steps * samples * clusters * KEPT, 4.0 * steps * samples * KEPT
    shapes = f"{samples} samples of {KEPT}, {clusters} clusters, {ITERATIONS} iterations"
    row = metrics(seconds, shapes, device, operations, moved, torch.float32)
    return row | {"objective_over_plain": found["ours"] / found["plain"]}


def assignment(settings: BenchSettings) -> dict[str, Any]:
    """Cells of feature maps to their nearest centroids."""
    maps, clusters = (16, 1000) if settings.full else (4, 100)
    device = choose_device(settings.device)
    codebook = Codebook.fit(blobs(settings.seed, 4 * clusters + 2000, DIM, clusters), clusters, settings.seed, KEPT, 2)
    codebook = codebook.to(device)
    features = blobs(settings.seed + 1, maps * SIDE**2, DIM, clusters).view(maps, SIDE, SIDE, DIM).permute(0, 3, 1, 2)
    features = features.contiguous().to(device)
    found: dict[str, np.ndarray] = {}

    def ours() -> None:
        found["ours"] = codebook.assign_map(features).cpu().numpy()

    def plain() -> None:
        found["plain"] = np.stack([plain_assignment(codebook, crop.cpu().numpy()) for crop in features])

    seconds = alternating({"ours": ours, "plain": plain}, settings.rounds, device)
    rows = maps * SIDE**2
    operations, moved = 2.0 * rows * KEPT * (DIM + clusters), 4.0 * rows * DIM
    shapes = f"{maps} maps of {DIM} x {SIDE} x {SIDE}, {clusters} clusters"
    row = metrics(seconds, shapes, device, operations, moved, torch.float32)
    return row | {"equal": float(np.mean(found["ours"] == found["plain"]))}


def blobs(seed: int, count: int, dim: int, centres: int) -> torch.Tensor:
    """Samples (count, dim) of unit length, around random centres."""
    generator = torch.Generator().manual_seed(seed)
    middle = torch.randn(centres, dim, generator=generator)
    chosen = torch.randint(centres, (count,), generator=generator)
    return torch.nn.functional.normalize(middle[chosen] + 1.5 * torch.randn(count, dim, generator=generator), dim=1)


def plain_kmeans(samples: np.ndarray, centroids: np.ndarray, iterations: int) -> float:
    """Lloyd's iterations in NumPy, one mean after the other; returns the sum of squared distances."""
    for _ in range(iterations):
        ids = squared_distances(samples, centroids).argmin(axis=1)
        for index in range(len(centroids)):
            if (ids == index).any():
                centroids[index] = samples[ids == index].mean(axis=0)
    return float(np.maximum(squared_distances(samples, centroids).min(axis=1), 0).sum(dtype=np.float64))


def squared_distances(samples: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """Of all samples to all centroids: (N, K)."""
    return (samples**2).sum(1)[:, None] - 2 * samples @ centroids.T + (centroids**2).sum(1)


def plain_assignment(codebook: Codebook, features: np.ndarray) -> np.ndarray:
    """Cluster indices (H, W) of a feature map (D, H, W) in NumPy."""
    mean, projection = codebook.whitening.mean.cpu().numpy(), codebook.whitening.projection.cpu().numpy()
    rows = (features.reshape(len(features), -1).T - mean) @ projection
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return squared_distances(rows, codebook.centroids.cpu().numpy()).argmin(axis=1).reshape(features.shape[1:])
