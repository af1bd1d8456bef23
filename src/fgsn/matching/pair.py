"""The result of every source of correspondences: matched pairs of images, and refused pairs."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class MatchedPair:
    """Corresponding pixels of a reference and a target image; row n of one corresponds to row n of the other."""

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
    moved: bool = field(default=False, kw_only=True)
    """Whether the target was chosen because it was taken before or behind the place of the reference."""


@dataclass(frozen=True)
class RefusedPair:
    """A pair without reliable correspondences."""

    reference: str
    """Name of the reference image."""
    target: str
    """Name of the target image, or of the condition if none of its images shows the same place."""
    reason: str
    """The reason, in a few words."""
    moved: bool = field(default=False, kw_only=True)
    """As in `MatchedPair`."""


PairResult = MatchedPair | RefusedPair
