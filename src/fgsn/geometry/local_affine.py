"""A robust local affine fit: how the points around each of many places move, despite outliers among them."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

Weights = Float[np.ndarray, "points neighbours"]
_ROUNDS = 4


def fit_affine(
    design: Float[np.ndarray, "points neighbours 3"],
    values: Float[np.ndarray, "points neighbours 2"],
    damping: Float[np.ndarray, "3 3"],
    weights_of: Callable[[Weights], Weights],
) -> tuple[Float[np.ndarray, "points 3 2"], Weights]:
    """Fit one affine map per point to its neighbours, by iteratively reweighted least squares.

    Args:
        design: for every neighbour its offset from the point, and a 1; the order of columns is the caller's.
        values: where every neighbour moves.
        damping: added to the normal equations.
        weights_of: weights of the neighbours, given their residuals; all residuals are 0 in the first round.

    Returns:
        The coefficients, and the residual of every neighbour in the units of `values`.
    """
    fit, residuals = np.zeros((len(design), 3, 2)), np.zeros(design.shape[:2])
    for _ in range(_ROUNDS):
        weighted = design * weights_of(residuals)[:, :, None]
        normal = np.einsum("nki,nkj->nij", weighted, design) + damping
        fit = np.linalg.solve(normal, np.einsum("nki,nkj->nij", weighted, values))
        residuals = np.linalg.norm(design @ fit - values, axis=2)
    return fit, residuals
