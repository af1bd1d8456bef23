"""What every source of correspondences gives: matched pairs of images, and pairs that were refused."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class MatchedPair:
    """Pixels of a reference and a target image that show the same thing; row n of both belongs together."""

    reference: str
    """Name of the reference image."""
    target: str
    """Name of the target image."""
    points_ref: NDArray[np.float64]
    """(N, 2) x, y with pixel centres at integers."""
    points_tgt: NDArray[np.float64]
    """(N, 2)"""
    errors: NDArray[np.float64]
    """(N,) estimated error in pixels; NaN where unknown."""


@dataclass(frozen=True)
class RefusedPair:
    """A pair with nothing trustworthy."""

    reference: str
    """Name of the reference image."""
    target: str
    """Name of the target image; of the condition, where none of its images was found to look at the same place."""
    reason: str
    """Why, in a few words."""


PairResult = MatchedPair | RefusedPair
