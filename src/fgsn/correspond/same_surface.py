"""Whether points of one or two maps lie on the same surface, by their distance in an image, in pixels."""

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from fgsn.geometry.posed import PosedImages

Array = NDArray[np.float64]
Rows = NDArray[np.int64]

REACH = 4.0
"""Two points at most so many pixels apart in an image are taken to be on the same surface."""
DEPTH_REACH = 0.03
"""Relative depth difference that corresponds to REACH; errors along the line of sight hardly move pixels."""
_FAR_AWAY = 1e9


def image_space(images: PosedImages, image: int, points: Array) -> Array:
    """Image coordinates (N, 3) of world points (N, 3): pixels, and log depth scaled to make DEPTH_REACH equal REACH.

    Points outside the view of the image come out far from everything.
    """
    pixels, depth = images.project(image, points)
    with np.errstate(invalid="ignore", divide="ignore"):
        seen = np.column_stack([pixels, np.log(depth) * REACH / DEPTH_REACH])
    return np.where(np.isfinite(seen).all(axis=1, keepdims=True), seen, _FAR_AWAY)


def nearest(tree: KDTree, points: Array) -> tuple[Array, Rows]:
    """Distances (N,) from points (N, D) to the nearest points of a tree, and the rows (N,) of these."""
    apart, row = tree.query(points)
    return np.asarray(apart), np.asarray(row)


def within_reach(one: Array, other: Array) -> NDArray[np.bool_]:
    """Which of the points (N, D) have a point of `other` (M, D) within REACH."""
    if not len(one) or not len(other):
        return np.zeros(len(one), bool)
    return (nearest(KDTree(other), one)[0] < REACH) & (one[:, 0] < _FAR_AWAY)


def mutual_nearest(one: Array, other: Array) -> tuple[Rows, Rows]:
    """Rows of points (N, D) and of others (M, D) that are mutual nearest neighbours within REACH."""
    if not len(one) or not len(other):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    apart, row = nearest(KDTree(other), one)
    _, back = nearest(KDTree(one), other)
    rows = np.nonzero((apart < REACH) & (back[row] == np.arange(len(one))) & (one[:, 0] < _FAR_AWAY))[0]
    return rows, row[rows]
