"""PCA whitening and L2 normalisation of features, as in the authors' code.

Centred first and in float64: faiss computes the scatter matrix uncentred in float32, which loses three digits.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from fgsn.errors import FgsnError

SMALLEST_VARIANCE = 1e-10
"""Directions with less variance than this share of the largest contain only rounding noise and are dropped."""


@dataclass(frozen=True)
class Whitening:
    """x → (x - mean) @ projection, then rows of length 1."""

    mean: Float[Tensor, " dim"]
    projection: Float[Tensor, "dim kept"]

    @classmethod
    def fit(cls, features: Float[Tensor, "samples dim"], keep: int) -> "Whitening":
        """Principal directions of the features, each scaled to equal variance.

        At most `keep` directions are used, fewer if the features vary in fewer.

        Raises:
            FgsnError: no features, or values that are not finite.
        """
        if features.shape[0] == 0:
            raise FgsnError("there are no features to cluster")
        if not torch.isfinite(features).all():
            raise FgsnError("the features contain NaN or infinite values; the network is broken")
        mean = features.mean(dim=0, dtype=torch.float64)
        scatter = torch.zeros(features.shape[1], features.shape[1], dtype=torch.float64, device=features.device)
        for chunk in features.split(65536):
            centred = chunk.double() - mean
            scatter += centred.T @ centred
        variance, directions = torch.linalg.eigh(scatter)
        variance, directions = variance.flip(0)[:keep], directions.flip(1)[:, :keep]
        # If all features are equal there is no variance, and any direction will do.
        kept = variance > SMALLEST_VARIANCE * variance[0].clamp(min=1e-30)
        kept[0] = True
        scale = variance[kept].clamp(min=1e-30).rsqrt()
        return cls(mean.float(), (directions[:, kept] * scale).float())

    def __call__(self, features: Float[Tensor, "samples dim"]) -> Float[Tensor, "samples kept"]:
        """Whiten and normalise; a feature equal to the mean becomes a row of zeros, not NaN."""
        return torch.nn.functional.normalize((features.float() - self.mean) @ self.projection, dim=1, eps=1e-20)
