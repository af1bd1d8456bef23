"""The codebook: whitening and centroids, which map features to cluster indices."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from fgsn import ranks
from fgsn.clustering.kmeans import kmeans, nearest, rows_at_once
from fgsn.clustering.whitening import Whitening
from fgsn.errors import FgsnError, whole_number


@dataclass(frozen=True)
class Codebook:
    """Whitening and centroids."""

    whitening: Whitening
    centroids: Float[Tensor, "clusters kept"]
    objective: tuple[float, ...] = ()
    """Sum of squared distances at each iteration of k-means."""

    def __repr__(self) -> str:
        """One line, without the numbers."""
        return f"Codebook({self.clusters} centroids of {self.centroids.shape[1]} dimensions)"

    @classmethod
    def fit(
        cls,
        features: Float[Tensor, "samples dim"] | Float[np.ndarray, "samples dim"],
        clusters: int,
        seed: int = 0,
        pca_dim: int = 256,
        iterations: int = 20,
        whitening: Whitening | None = None,
    ) -> "Codebook":
        """Whiten and cluster features; several ranks share the work and get the same codebook.

        Args:
            features: one finite row per sample; all samples on every rank.
            clusters: number of clusters K, 2 to the number of samples.
            seed: the same seed gives the same codebook.
            pca_dim: maximum number of dimensions after whitening.
            iterations: iterations of k-means.
            whitening: to use instead of a PCA whitening of these features.

        Raises:
            FgsnError: fewer samples than clusters, or features that are no table of finite numbers.
        """
        features = _table(features, whitening and len(whitening.mean))
        clusters, iterations = whole_number("clusters", clusters, 1), whole_number("iterations", iterations, 0)
        seed = whole_number("seed", seed, 0)
        whitening = whitening or Whitening.fit(features, whole_number("pca_dim", pca_dim, 1))
        ranks.same(whitening.mean, whitening.projection)
        generator = torch.Generator().manual_seed(seed)
        found = kmeans(whitening(features), clusters, iterations, generator)
        return cls(whitening, found.centroids, found.objective)

    @property
    def clusters(self) -> int:
        """Number of clusters K."""
        return self.centroids.shape[0]

    def assign(
        self, features: Float[Tensor, "samples dim"] | Float[np.ndarray, "samples dim"]
    ) -> Int64[np.ndarray, " samples"]:
        """Cluster index of each feature, 0 to K - 1.

        Raises:
            FgsnError: the features have another number of dimensions than the codebook, or values that are not finite.
        """
        return self.assign_tensor(_table(features, len(self.whitening.mean))).cpu().numpy()

    def assign_tensor(self, features: Float[Tensor, "samples dim"]) -> Int64[Tensor, " samples"]:
        """Cluster index of each feature, on the features' device.

        Raises:
            FgsnError: as `assign`.
        """
        features = _table(features, len(self.whitening.mean))
        if not len(features):
            return torch.zeros(0, dtype=torch.int64, device=features.device)
        parts = features.split(2 * rows_at_once(features))
        return torch.cat([nearest(self.whitening(part), self.centroids)[0] for part in parts])

    def assign_map(self, features: Float[Tensor, "batch dim height width"]) -> Int64[Tensor, "batch height width"]:
        """Cluster index of each cell of feature maps.

        Raises:
            FgsnError: as `assign`, or the features are no maps.
        """
        if features.ndim != 4 or not len(features):
            raise FgsnError(f"feature maps should be (batch, dim, height, width), not {tuple(features.shape)}")
        return torch.stack([self.assign_tensor(one.flatten(1).T).view(one.shape[1:]) for one in features])

    def to(self, device: torch.device | str) -> "Codebook":
        """The same codebook on another device; FgsnError if there is no such device."""
        try:
            device = torch.device(device)
        except RuntimeError:
            raise FgsnError(f"there is no device '{device}'; take cpu or cuda") from None
        whitening = Whitening(self.whitening.mean.to(device), self.whitening.projection.to(device))
        return Codebook(whitening, self.centroids.to(device), self.objective)

    def tensors(self) -> dict[str, Tensor]:
        """The tensors to store in a file."""
        return {
            "mean": self.whitening.mean,
            "projection": self.whitening.projection,
            "centroids": self.centroids,
            "objective": torch.tensor(self.objective, dtype=torch.float64),
        }

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor]) -> "Codebook":
        """Inverse of `tensors`; FgsnError if one is missing."""
        if missing := {"mean", "projection", "centroids", "objective"} - tensors.keys():
            raise FgsnError(f"a codebook needs the tensors {', '.join(sorted(missing))}, too")
        whitening = Whitening(tensors["mean"], tensors["projection"])
        return cls(whitening, tensors["centroids"], tuple(tensors["objective"].tolist()))


def _table(features: Tensor | np.ndarray, dim: int | None = None) -> Tensor:
    """Features as a tensor (N, dim); FgsnError if they are not finite real numbers, or have another shape."""
    expected = f"features should be (N, {dim or 'dimensions'}) finite numbers"
    if not isinstance(features, Tensor):
        try:
            features = torch.from_numpy(np.ascontiguousarray(features))
        except (ValueError, TypeError):
            raise FgsnError(f"{expected}, not {type(features).__name__}") from None
    if features.ndim != 2 or features.shape[1] != (dim or features.shape[1]) or not features.shape[1]:
        raise FgsnError(f"{expected}, not of shape {tuple(features.shape)}")
    # The sum, in one pass, is finite where all are; where it is not, the values may only be large.
    if features.is_complex() or not (features.float().sum().isfinite() or features.float().isfinite().all()):
        raise FgsnError(f"{expected}, but contain complex, NaN or infinite ones")
    return features
