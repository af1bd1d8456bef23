"""The circles on which a camera that sees a map point at a pixel can be, with gravity and height known."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Search:
    """How the circle of camera centres of a match is searched."""

    angles: tuple[float, ...] = (12.0, 3.0, 1.0)
    """Steps in degrees, from coarse to fine; a single one is the exhaustive search."""
    kept: int = 3
    """Places on the circles of a match that are refined."""
    every: int = 4
    """Until the last step, only every n-th voter is used; all of them in an exhaustive search."""
    radii: int = 4
    """Largest number of circles of a match; the noise of the priors decides how many are needed."""
    radius_step: float = 1.25
    """Ratio between the radii of neighbouring circles."""
    slack: float = 1.5
    """A match may be seen from nearer and farther than in the map by this factor; voters have a stricter limit."""
    noise: float = 1.0
    """Standard deviations of the priors that the circles cover."""
    voters: int = 3000
    """Largest number of voters of a match."""
    reach: float = 60.0
    """Distance from a match within which points vote."""
    least: float = 0.15
    """If fewer than this share of the voters are in view, the score is relative to that share: few agree too easily."""


@dataclass(frozen=True, eq=False)
class Circles:
    """Where the camera can be, for every match: circles about the point, in the upright world."""

    match: NDArray[np.int64]
    """(H,) row of the match."""
    radius: Array
    """(H,) metres."""
    level: Array
    """(H,) downward coordinate of the camera."""


def circles_of(
    rays: Array,
    points: Array,
    level: float,
    match_range: tuple[ArrayLike, ArrayLike],
    noise: tuple[float, float],
    search: Search,
) -> Circles:
    """The circles of all matches, as many for each as the noise of the priors requires.

    A ray that dips by an angle below the horizon meets a point `drop` lower than the camera at the horizontal distance
    drop / tan(dip). Near the horizon this is uncertain, and the observing distances bound it.

    Args:
        rays: (N, 3) of the matches in the camera's upright frame: y is down.
        points: (N, 3) in the upright world.
        level: downward coordinate of the camera by the prior.
        match_range: nearest and farthest distance (N,) from which the map observed each point.
        noise: of gravity in radians and of the height in metres that the circles must cover.
        search: how many circles.
    """
    dip, drop = np.arctan2(rays[:, 1], np.hypot(rays[:, 0], rays[:, 2])), points[:, 1] - level
    # For a point above the camera, up and down are exchanged.
    sign = np.where(dip < 0, -1.0, 1.0)
    dip, drop = dip * sign, drop * sign
    angle, length = noise
    with np.errstate(divide="ignore", invalid="ignore"):
        steep, flat = np.tan(np.minimum(dip + angle, np.deg2rad(89.9))), np.tan(dip - angle)
        low = np.where(drop + length >= 0, np.maximum(drop - length, 0) / steep, np.inf)
        high = np.where(drop + length >= 0, np.where(flat > 0, (drop + length) / flat, np.inf), -np.inf)
        # A point that seems to be below the camera may be above it, and the ray with it.
        above = (flat < 0) & (drop < length)
        low = np.where(above, np.minimum(low, np.maximum(-drop - length, 0) / -flat), low)
        high = np.where(above, np.inf, high)
        straight = drop / np.tan(dip)
    nearest, farthest = (np.broadcast_to(np.asarray(bound, np.float64), len(points)) for bound in match_range)
    low = np.maximum(low, np.sqrt(np.maximum((nearest / search.slack) ** 2 - drop**2, 0.01)))
    high = np.minimum(high, np.sqrt(np.maximum((farthest * search.slack) ** 2 - drop**2, 0)))
    possible = np.isfinite(dip + drop + high) & (low <= high * (1 + 1e-9))
    low, high = np.where(possible, low, 1.0), np.where(possible, high, 1.0)
    count = np.clip(np.ceil(np.log(high / low) / np.log(search.radius_step)), 1, search.radii)
    step = np.arange(search.radii)
    radii = low[:, None] * (high / low)[:, None] ** ((step + 0.5) / count[:, None])
    # The radius of the priors without noise replaces the radius nearest to it.
    inside = possible & (straight >= low * (1 - 1e-9)) & (straight <= high * (1 + 1e-9))
    rows = np.flatnonzero(inside)
    ratio = np.where(step < count[rows, None], np.abs(np.log(radii[rows] / straight[rows, None])), np.inf)
    radii[rows, ratio.argmin(axis=1)] = straight[rows]
    match, column = np.nonzero(possible[:, None] & (step < count[:, None]))
    radius = radii[match, column]
    # The ray determines the height of the camera on each circle, within the bounds of the prior.
    offset = points[match, 1] - sign[match] * radius * np.tan(dip[match])
    return Circles(match, radius, np.clip(offset, level - length, level + length))
