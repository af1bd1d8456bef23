"""Choose pairs by pose: the target images that see what a reference image sees, from near and the same way."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from fgsn.errors import FgsnError
from fgsn.geometry.pose import Pose
from fgsn.geometry.posed import PosedImages

LEAST_OVERLAP = 0.15
"""Of `Views.overlap`; below, two images hardly share anything."""
_CANDIDATES = 48  # nearest cameras whose overlap is computed
_POINTS = 200  # points of the reference that are projected into each
_TURN = np.deg2rad(20.0)  # a point seen from directions so far apart counts a third

Array = NDArray[np.float64]


class Views:
    """The images of one condition, to be asked which of them look at the same things as another image."""

    def __init__(self, images: PosedImages, rows: NDArray[np.int64]) -> None:
        self.images, self.rows = images, rows
        self.centres = images.camera_from_world[rows].centre
        self._tree = KDTree(self.centres) if len(rows) else None

    def overlap(self, points: Array, camera_from_world: Pose, image: int) -> float:
        """Share of world points (N, 3), seen by a camera, that an image sees too; less for other distances and sides.

        Occlusion is not looked at.
        """
        pixels, depth = self.images.project(image, points)
        here = points - camera_from_world.centre
        there = points - self.images.camera_from_world[image].centre
        near, far = np.sort([np.linalg.norm(here, axis=1), np.linalg.norm(there, axis=1)], axis=0)
        cosine = np.einsum("ij,ij->i", here, there) / np.maximum(near * far, 1e-12)
        alike = near / np.maximum(far, 1e-12) * np.exp(-np.arccos(np.clip(cosine, -1, 1)) / _TURN)
        seen = self.images.camera(image).contains(pixels) & (depth > 0)
        return float(np.mean(np.where(seen, alike, 0.0))) if len(points) else 0.0

    def like(self, points: Array, camera_from_world: Pose, count: int) -> list[int]:
        """The images that see most of the world points (N, 3) of a camera as it does.

        Args:
            points: what the camera sees; some of them are enough.
            camera_from_world: its pose.
            count: how many images, at most.

        Returns:
            Rows of the images, most overlap first; none below LEAST_OVERLAP.
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
    """Refuse images without the reference condition, or with nothing beside it.

    Raises:
        FgsnError: one of them is so.
    """
    known = list(conditions)
    names = ", ".join(known)
    if reference not in known:
        raise FgsnError(f"no image is of the reference condition '{reference}'; there are: {names}")
    if len(known) < 2:
        raise FgsnError(f"all images are of one condition, '{names}'; correspondences want a second one")
