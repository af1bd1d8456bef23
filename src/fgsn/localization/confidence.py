"""How sure a pose is: the probability that it is right, from quantities that no truth enters."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from fgsn.geometry.pose import Pose

CLOSEST = 1.0
"""Metres within which a pose is not nearer to a map image than another."""
COEFFICIENTS = (-9.11, 4.08, -3.92)
"""Constant, and factors of the logarithms of inliers and metres, by `benchmarks/pose_confidence.py` on other towns than
those in docs/localization.md."""


class PoseEvidence(NamedTuple):
    """What speaks for a pose."""

    inliers: int
    """Number of matches that agree with it."""
    distance: float
    """Of its camera from the nearest map image, in metres: wrong poses may lie anywhere."""

    @property
    def confidence(self) -> float:
        """The probability that the pose is right, within 5 m and 10 degrees; it presumes a map in metres."""
        constant, *factors = COEFFICIENTS
        logarithms = np.log([self.inliers, max(self.distance, CLOSEST)])
        return float(expit(constant + logarithms @ factors))


def pose_evidence(pose: Pose, inliers: NDArray[np.bool_], map_centres: NDArray[np.float64]) -> PoseEvidence:
    """What speaks for a pose (camera from world), from its inliers (N,) and the centres (I, 3) of the map cameras."""
    distance = np.linalg.norm(map_centres - pose.centre, axis=1).min()
    return PoseEvidence(int(inliers.sum()), float(distance))
