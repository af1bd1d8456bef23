"""When two points of one or two maps are near enough to lie on one surface: as an image sees them, in pixels."""

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from fgsn.geometry.posed import PosedImages

Array = NDArray[np.float64]
Rows = NDArray[np.int64]

REACH = 4.0
"""Pixels between two points, as an image sees them, that are taken for the same surface."""
DEPTH_REACH = 0.03
"""Share of their depth by which such points may differ along the line of sight, where an error moves pixels little."""
_NOWHERE = 1e9


def as_seen(images: PosedImages, image: int, points: Array, reach: float = REACH) -> Array:
    """Points (N, 3) of the world as an image sees them: pixels, and depth in a measure that has DEPTH_REACH as `reach`.

    Points that the image cannot see come out far from everything.
    """
    pixels, depth = images.project(image, points)
    with np.errstate(invalid="ignore", divide="ignore"):
        seen = np.column_stack([pixels, np.log(depth) * reach / DEPTH_REACH])
    return np.where(np.isfinite(seen).all(axis=1, keepdims=True), seen, _NOWHERE)


def nearest(tree: KDTree, points: Array) -> tuple[Array, Rows]:
    """Distance (N,) to the nearest point of a tree, and its row (N,), for points (N, D)."""
    apart, row = tree.query(points)
    return np.asarray(apart), np.asarray(row)


def supported(one: Array, other: Array, reach: float = REACH) -> NDArray[np.bool_]:
    """Which of the points (N, D) have another (M, D) within reach."""
    if not len(one) or not len(other):
        return np.zeros(len(one), bool)
    return (nearest(KDTree(other), one)[0] < reach) & (one[:, 0] < _NOWHERE)


def mutual(one: Array, other: Array, reach: float = REACH) -> tuple[Rows, Rows]:
    """Rows of points (N, D) and of others (M, D) that are each other's nearest, within reach."""
    if not len(one) or not len(other):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    apart, row = nearest(KDTree(other), one)
    _, back = nearest(KDTree(one), other)
    rows = np.nonzero((apart < reach) & (back[row] == np.arange(len(one))) & (one[:, 0] < _NOWHERE))[0]
    return rows, row[rows]
