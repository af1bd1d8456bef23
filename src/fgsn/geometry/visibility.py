"""Visibility of map points: distances and viewing cones of their observations (for GSMC; Toft et al., ECCV 2018)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fgsn.geometry.colmap import Reconstruction

_PAIRS_AT_ONCE = 4_000_000


@dataclass(frozen=True, eq=False)
class Visibility:
    """Where M points were observed from; distances and axis of a point without observations are 0."""

    nearest: NDArray[np.float32]
    """(M,) distance to the nearest observing camera."""
    farthest: NDArray[np.float32]
    """(M,) distance to the farthest."""
    axis: NDArray[np.float32]
    """(M, 3) unit direction from the point to the cameras: bisects the two most separated viewing directions."""
    half_angle: NDArray[np.float32]
    """(M,) radians: half the angle between those two, at least the minimum."""


def visibility_of(model: Reconstruction, smallest_half_angle: float) -> Visibility:
    """Distances and viewing cones of every point of a map.

    `smallest_half_angle` is the minimum in degrees; without it, points observed once, or twice from nearly the same
    place, would be visible from nowhere else.
    """
    count = len(model.points)
    order = np.argsort(model.track_point, kind="stable")
    point = model.track_point[order]
    offset = model.camera_from_world.centre[model.track_image[order]] - model.points[point]
    distance = np.linalg.norm(offset, axis=1)
    direction = offset / np.maximum(distance, 1e-12)[:, None]
    first = np.searchsorted(point, np.arange(count + 1))
    lengths = np.diff(first)
    seen = np.nonzero(lengths)[0]
    nearest, farthest = np.zeros(count, np.float32), np.zeros(count, np.float32)
    if len(seen):  # for an empty segment, reduceat would read the next point's
        nearest[seen] = np.minimum.reduceat(distance, first[seen])
        farthest[seen] = np.maximum.reduceat(distance, first[seen])

    axis, half_angle = np.zeros((count, 3)), np.zeros(count)
    for length in np.unique(lengths[seen]):
        mine = np.nonzero(lengths == length)[0]
        for chunk in np.array_split(mine, max(1, len(mine) * int(length) ** 2 // _PAIRS_AT_ONCE)):
            rows = direction[first[chunk, None] + np.arange(length)]
            axis[chunk], half_angle[chunk] = _cones(rows)
    half_angle = np.maximum(half_angle, np.radians(smallest_half_angle))
    return Visibility(nearest, farthest, axis.astype(np.float32), half_angle.astype(np.float32))


def _cones(directions: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Axes (P, 3) and half opening angles (P,) of P points with the same number n of unit directions (P, n, 3)."""
    count = directions.shape[1]
    cosines = directions @ np.swapaxes(directions, 1, 2)
    pair = cosines.reshape(len(directions), -1).argmin(axis=1)
    each = np.arange(len(directions))
    one, other = directions[each, pair // count], directions[each, pair % count]
    total = np.linalg.norm(one + other, axis=1)
    half_angle = np.arctan2(np.linalg.norm(one - other, axis=1), total)
    # Opposite directions have no bisector: such a point is visible from everywhere.
    opposite = total < 1e-6
    axis = np.where(opposite[:, None], one, (one + other) / np.maximum(total, 1e-6)[:, None])
    return axis, np.where(opposite, np.pi, half_angle)
