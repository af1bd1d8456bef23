"""Particle weights: effective sample size, resampling, and tempering."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor


def effective_size(log_weights: Float[Tensor, " particles"]) -> float:
    """Effective sample size: 1 / sum of the squared normalised weights."""
    return float(torch.softmax(log_weights.double(), dim=0).square().sum().reciprocal())


def systematic(weights: Float[Tensor, " particles"], offset: float) -> Int64[Tensor, " particles"]:
    """Systematic resampling: particle i is drawn floor(N w_i) or ceil(N w_i) times (Kitagawa, 1996).

    `weights` sum to 1, and `offset` is a random number in [0, 1). Returns the rows of the drawn particles, ascending.
    """
    count = len(weights)
    steps = (torch.arange(count, device=weights.device, dtype=torch.float64) + offset) / count
    bounds = weights.double().cumsum(0)
    return torch.searchsorted(bounds / bounds[-1], steps, right=True).clamp_(max=count - 1)


def affordable_exponent(
    log_weights: Float[Tensor, " particles"], scores: Float[Tensor, " particles"], target: float, effective: float
) -> float:
    """The largest exponent up to `target` at which weights * exp(exponent * scores) keep the effective sample size.

    It is nearly 0 if the effective sample size is below `effective` from the start.
    """
    if effective_size(log_weights + target * scores) >= effective:
        return target
    low, high = 0.0, target
    for _ in range(24):  # bisection: the effective size falls as the exponent grows; in rare exceptions, any root does
        middle = (low + high) / 2
        low, high = (middle, high) if effective_size(log_weights + middle * scores) >= effective else (low, middle)
    return max(low, 1e-6 * target)
