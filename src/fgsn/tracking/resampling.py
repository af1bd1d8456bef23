"""Weights of particles: how many still count, and drawing the particles anew."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor


def effective_size(log_weights: Float[Tensor, " particles"]) -> float:
    """How many equally weighted particles would say as much: 1 / sum of squares of the normalised weights."""
    return float(torch.softmax(log_weights.double(), dim=0).square().sum().reciprocal())


def systematic(weights: Float[Tensor, " particles"], offset: float) -> Int64[Tensor, " particles"]:
    """Systematic resampling: particle i is drawn floor or ceil of N w_i times (Kitagawa, 1996).

    Args:
        weights: sum to 1.
        offset: a random number in [0, 1), the only one.

    Returns:
        Rows of the drawn particles, ascending.
    """
    count = len(weights)
    steps = (torch.arange(count, device=weights.device, dtype=torch.float64) + offset) / count
    bounds = weights.double().cumsum(0)
    return torch.searchsorted(bounds / bounds[-1], steps, right=True).clamp_(max=count - 1)


def affordable_exponent(
    log_weights: Float[Tensor, " particles"], scores: Float[Tensor, " particles"], wanted: float, effective: float
) -> float:
    """The largest exponent up to `wanted` for which weights * exp(exponent * scores) leave enough particles.

    Args:
        log_weights: of the particles so far, not normalised.
        scores: log-likelihoods.
        wanted: the largest exponent of interest.
        effective: the effective number of particles that must be left; a start with fewer affords nearly nothing.
    """
    if effective_size(log_weights + wanted * scores) >= effective:
        return wanted
    low, high = 0.0, wanted
    for _ in range(24):  # the effective size falls as the exponent grows, but for rare cases in which any root will do
        middle = (low + high) / 2
        low, high = (middle, high) if effective_size(log_weights + middle * scores) >= effective else (low, middle)
    return max(low, 1e-6 * wanted)
