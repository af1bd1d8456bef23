"""Whitening and L2 normalisation of features: by PCA, as in the authors' code, or by what tells scene points apart.

Centred first and in float64: faiss computes the scatter matrix uncentred in float32, which loses three digits.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from fgsn.errors import FgsnError

SMALLEST_VARIANCE = 1e-10
"""Directions with less variance than this share of the largest contain only rounding noise and are dropped."""

REGULARISATION = 1e-3
"""Share of the mean variance that is added to every direction before it is divided by."""


@dataclass(frozen=True)
class Whitening:
    """x → (x - mean) @ projection, then rows of length 1."""

    mean: Float[Tensor, " dim"]
    projection: Float[Tensor, "dim kept"]

    @classmethod
    def fit(cls, features: Float[Tensor, "samples dim"], keep: int) -> "Whitening":
        """Principal directions of the features, each scaled to equal variance.

        At most `keep` directions are used, fewer if the features vary in fewer. Raises FgsnError without features, or
        if values are not finite.
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

    @classmethod
    def fit_discriminative(
        cls,
        mean: Float[Tensor, " dim"],
        same: Float[Tensor, "same dim"],
        different: Float[Tensor, "different dim"],
        keep: int,
    ) -> "Whitening":
        """Directions in which different scene points differ most, relative to how much one point varies (LDA).

        The generalised eigenvectors of both scatters (Fisher, 1936), at most `keep`, scaled so that a point varies
        equally in all. Raises FgsnError if values are not finite.

        Args:
            mean: of the features.
            same: differences of the features of one scene point in two images.
            different: differences of the features of two scene points at the same position in two images.
        """
        if not (torch.isfinite(same).all() and torch.isfinite(different).all()):
            raise FgsnError("the features contain NaN or infinite values; the network is broken")
        within, between = (rows.double().T @ rows.double() / max(1, len(rows)) for rows in (same, different))
        ridge = REGULARISATION * within.diagonal().mean().clamp(min=1e-30)
        factor = torch.linalg.cholesky(
            within + ridge * torch.eye(len(within), dtype=within.dtype, device=within.device)
        )
        half = torch.linalg.solve_triangular(factor, between, upper=False)
        directions = torch.linalg.eigh(torch.linalg.solve_triangular(factor, half.T, upper=False))[1]
        directions = torch.linalg.solve_triangular(factor.T, directions.flip(1)[:, :keep], upper=True)
        return cls(mean.float(), directions.float())

    def __call__(self, features: Float[Tensor, "samples dim"]) -> Float[Tensor, "samples kept"]:
        """Whiten and normalise; a feature equal to the mean becomes a row of zeros, not NaN."""
        return torch.nn.functional.normalize((features.float() - self.mean) @ self.projection, dim=1, eps=1e-20)
