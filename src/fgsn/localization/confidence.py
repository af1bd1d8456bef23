"""How sure a pose is: the probability that it is right, from quantities that no truth enters."""

import numpy as np
from scipy.special import expit

COEFFICIENTS = (-13.74, 4.78)
"""Constant, and factor of the logarithm of the inliers, by `benchmarks/pose_confidence.py` on other towns than those in
docs/localization.md. What else was tried, such as the distance from the map's images, was no better there."""


def confidence(inliers: int) -> float:
    """The probability that a pose with so many inliers is right, within 5 m and 10 degrees."""
    constant, factor = COEFFICIENTS
    return float(expit(constant + factor * np.log(inliers))) if inliers else 0.0
