"""Choose pairs by pose: the target images that see the same points from nearby and in the same direction."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from fgsn.errors import FgsnError
from fgsn.geometry.pose import Pose
from fgsn.geometry.posed import PosedImages

LEAST_OVERLAP = 0.15
"""Least `ConditionViews.overlap` of a pair."""
_CANDIDATES = 48  # nearest cameras to compute the overlap of
_POINTS = 200  # points of the reference that are projected into each
_TURN = np.deg2rad(20.0)  # a point seen from directions this far apart counts a third

Array = NDArray[np.float64]


class ConditionViews:
    """The images of one condition, searchable by view overlap."""

    def __init__(self, images: PosedImages, rows: NDArray[np.int64]) -> None:
        self.images, self.rows = images, rows
        self.centres = images.camera_from_world[rows].centre
        self._tree = KDTree(self.centres) if len(rows) else None

    def overlap(self, points: Array, camera_from_world: Pose, image: int) -> float:
        """Share of world points (N, 3), seen by a camera, that an image also sees.

        Points seen from a different distance or angle count less. Occlusion is ignored.
        """
        pixels, depth = self.images.project(image, points)
        here = points - camera_from_world.centre
        there = points - self.images.camera_from_world[image].centre
        near, far = np.sort([np.linalg.norm(here, axis=1), np.linalg.norm(there, axis=1)], axis=0)
        cosine = np.einsum("ij,ij->i", here, there) / np.maximum(near * far, 1e-12)
        similarity = near / np.maximum(far, 1e-12) * np.exp(-np.arccos(np.clip(cosine, -1, 1)) / _TURN)
        seen = self.images.camera(image).contains(pixels) & (depth > 0)
        return float(np.mean(np.where(seen, similarity, 0.0))) if len(points) else 0.0

    def most_overlapping(self, points: Array, camera_from_world: Pose, count: int) -> list[int]:
        """The images that overlap most with a camera.

        Args:
            points: (N, 3) world points that the camera sees.
            camera_from_world: its pose.
            count: maximum number of images.

        Returns:
            Rows of the images, largest overlap first; none below LEAST_OVERLAP.
        """
        if self._tree is None:
            return []
        points = points[:: max(1, len(points) // _POINTS)]
        _, nearest = self._tree.query(camera_from_world.centre, k=min(_CANDIDATES, len(self.rows)))
        candidates = self.rows[np.atleast_1d(nearest)]
        overlaps = np.array([self.overlap(points, camera_from_world, image) for image in candidates])
        best = np.argsort(-overlaps, kind="stable")[:count]
        return [int(candidates[row]) for row in best if overlaps[row] >= LEAST_OVERLAP]


def rows_by_condition(conditions: list[str]) -> dict[str, NDArray[np.int64]]:
    """Rows of the images of every condition, in the order of first appearance."""
    names = np.array(conditions)
    return {condition: np.nonzero(names == condition)[0] for condition in dict.fromkeys(conditions)}


def require_conditions(conditions: Iterable[str], reference: str) -> None:
    """Require the reference condition and at least one other.

    Raises:
        FgsnError: one of them is missing.
    """
    known = list(conditions)
    names = ", ".join(known)
    if reference not in known:
        raise FgsnError(f"no image has the reference condition '{reference}'; the conditions are: {names}")
    if len(known) < 2:
        raise FgsnError(f"all images have one condition, '{names}'; correspondences need a second one")
