"""k-means, and assignment of features to clusters; the baselines are written in NumPy."""

from typing import Any

import numpy as np
import torch

from fgsn.bench.measure import alternating, metrics
from fgsn.clustering.codebook import Codebook
from fgsn.clustering.kmeans import kmeans
from fgsn.config import BenchSettings
from fgsn.inference.model import prepare_device

DIM, KEPT, ITERATIONS = 512, 256, 20
SIDE = 90
"""Feature cells along the side of a 713 window."""


def clustering(settings: BenchSettings) -> dict[str, Any]:
    """k-means; ours starts from k-means++, the baseline from random samples."""
    samples, clusters = (200_000, 1000) if settings.full else (20_000, 100)
    device = prepare_device(settings.device)
    features = blobs(settings.seed, samples, KEPT, clusters).to(device)
    arrays = features.cpu().numpy()

    def ours() -> float:
        return kmeans(features, clusters, ITERATIONS, torch.Generator().manual_seed(settings.seed)).objective[-1]

    def baseline() -> float:
        start = np.random.default_rng(settings.seed).choice(samples, clusters, replace=False)
        return baseline_kmeans(arrays, arrays[start].copy(), ITERATIONS)

    timed = alternating({"ours": ours, "baseline": baseline}, settings.rounds, device)
    steps = ITERATIONS + 1
    operations, moved = 2.0 * steps * samples * clusters * KEPT, 4.0 * steps * samples * KEPT
    shapes = f"{samples} samples of {KEPT}, {clusters} clusters, {ITERATIONS} iterations"
    row = metrics(timed, shapes, device, torch.float32, operations, moved)
    return row | {"objective_over_baseline": timed["ours"].result / timed["baseline"].result}


def assignment(settings: BenchSettings) -> dict[str, Any]:
    """Assign the cells of feature maps to their nearest centroids."""
    maps, clusters = (16, 1000) if settings.full else (4, 100)
    device = prepare_device(settings.device)
    codebook = Codebook.fit(blobs(settings.seed, 4 * clusters + 2000, DIM, clusters), clusters, settings.seed, KEPT, 2)
    codebook = codebook.to(device)
    features = blobs(settings.seed + 1, maps * SIDE**2, DIM, clusters).view(maps, SIDE, SIDE, DIM).permute(0, 3, 1, 2)
    features = features.contiguous().to(device)
    methods = {
        "ours": lambda: codebook.assign_map(features).cpu().numpy(),
        "baseline": lambda: np.stack([baseline_assignment(codebook, crop.cpu().numpy()) for crop in features]),
    }
    timed = alternating(methods, settings.rounds, device)
    rows = maps * SIDE**2
    operations, moved = 2.0 * rows * KEPT * (DIM + clusters), 4.0 * rows * DIM
    shapes = f"{maps} maps of {DIM} x {SIDE} x {SIDE}, {clusters} clusters"
    row = metrics(timed, shapes, device, torch.float32, operations, moved)
    return row | {"equal": float(np.mean(timed["ours"].result == timed["baseline"].result))}


def blobs(seed: int, count: int, dim: int, centres: int) -> torch.Tensor:
    """Unit-length samples (count, dim) around `centres` random centres."""
    generator = torch.Generator().manual_seed(seed)
    middle = torch.randn(centres, dim, generator=generator)
    chosen = torch.randint(centres, (count,), generator=generator)
    return torch.nn.functional.normalize(middle[chosen] + 1.5 * torch.randn(count, dim, generator=generator), dim=1)


def baseline_kmeans(samples: np.ndarray, centroids: np.ndarray, iterations: int) -> float:
    """Lloyd's algorithm in NumPy, one mean at a time; returns the sum of squared distances."""
    for _ in range(iterations):
        ids = squared_distances(samples, centroids).argmin(axis=1)
        for index in range(len(centroids)):
            if (ids == index).any():
                centroids[index] = samples[ids == index].mean(axis=0)
    return float(np.maximum(squared_distances(samples, centroids).min(axis=1), 0).sum(dtype=np.float64))


def squared_distances(samples: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """Squared distances (N, K) of samples (N, D) to centroids (K, D)."""
    return (samples**2).sum(1)[:, None] - 2 * samples @ centroids.T + (centroids**2).sum(1)


def baseline_assignment(codebook: Codebook, features: np.ndarray) -> np.ndarray:
    """Cluster indices (H, W) of a feature map (D, H, W) in NumPy."""
    mean, projection = codebook.whitening.mean.cpu().numpy(), codebook.whitening.projection.cpu().numpy()
    rows = (features.reshape(len(features), -1).T - mean) @ projection
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return squared_distances(rows, codebook.centroids.cpu().numpy()).argmin(axis=1).reshape(features.shape[1:])
