"""Choose pairs by pose: the target images that see the same points from nearby and in the same direction."""

from collections.abc import Collection, Iterable
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from fgsn.errors import FgsnError
from fgsn.geometry.pose import Pose
from fgsn.geometry.posed import PosedImages

LEAST_OVERLAP = 0.15
"""Least `ConditionViews.overlap` of a pair."""
LEAST_MOVED_OVERLAP = 0.08
"""Likewise of an image from before or behind: 8 m ahead in a street it is 0.1 to 0.2, 16 m ahead about 0.05."""
LEAST_MOVE = 0.5
"""Least distance of such an image, as a share of the lower quartile of the distances of the reference's points."""
NOT_SHOWN = "no image of this condition shows the same place"
"""Why a reference image has no pair with a condition."""
_CANDIDATES = 48  # nearest cameras to compute the overlap of
_MOVED_CANDIDATES = 192  # likewise for `ConditionViews.moved`, whose cameras are farther away
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
        """Rows of at most `count` images that overlap most with a camera, by the world points (N, 3) that it sees.

        The largest overlap comes first; there is none below LEAST_OVERLAP.
        """
        points = points[:: max(1, len(points) // _POINTS)]
        candidates = self._nearest(camera_from_world, _CANDIDATES)
        overlaps = np.array([self.overlap(points, camera_from_world, image) for image in candidates])
        best = np.argsort(-overlaps, kind="stable")[:count]
        return [int(candidates[row]) for row in best if overlaps[row] >= LEAST_OVERLAP]

    def targets(
        self, points: Array, camera_from_world: Pose, per_condition: int, moved_pairs: int, own: int | None = None
    ) -> list[tuple[int, bool]]:
        """Rows of the images to match a reference image with, and whether each of them is a moved one.

        Args:
            points: (N, 3) world points that the reference image sees.
            per_condition: maximum number of images that overlap most; `moved_pairs`: of moved images.
            own: row of the reference image if it is of this condition, where only moved images are of use.
        """
        same_place = [] if own is not None else self.most_overlapping(points, camera_from_world, per_condition)
        moved = self.moved(points, camera_from_world, moved_pairs, same_place if own is None else [own])
        return [(row, False) for row in same_place] + [(row, True) for row in moved]

    def moved(self, points: Array, camera_from_world: Pose, count: int, others: Collection[int]) -> list[int]:
        """Rows of at most `count` images that show the same points from before and from behind, without the `others`.

        Poses may have any unit, so the least distance of such an image depends on that of the points (N, 3) that the
        camera sees: in a street it is 3 to 5 m. The largest follows from LEAST_MOVED_OVERLAP. From either side there
        are images at different distances, the most overlapping included.
        """
        if not count or not len(points):
            return []
        points = points[:: max(1, len(points) // _POINTS)]
        least = LEAST_MOVE * np.quantile(np.linalg.norm(points - camera_from_world.centre, axis=1), 0.25)
        sides: tuple[list[tuple[float, int]], list[tuple[float, int]]] = ([], [])
        for image in self._nearest(camera_from_world, _MOVED_CANDIDATES):
            offset = camera_from_world.transform(self.images.camera_from_world[image].centre[None])[0]
            if image in others or np.linalg.norm(offset) < least:
                continue
            overlap = self.overlap(points, camera_from_world, image)
            if overlap >= LEAST_MOVED_OVERLAP:
                sides[int(offset[2] > 0)].append((-overlap, int(image)))
        chosen = []
        for side, some in zip(sides, ((count + 1) // 2, count // 2), strict=True):
            ranks = np.linspace(0, len(side), min(some, len(side)), endpoint=False).astype(int)
            chosen += [sorted(side)[rank][1] for rank in ranks]
        return chosen

    def _nearest(self, camera_from_world: Pose, count: int) -> NDArray[np.int64]:
        """The images taken nearest to a camera, nearest first."""
        if self._tree is None:
            return self.rows[:0]
        _, nearest = self._tree.query(camera_from_world.centre, k=min(count, len(self.rows)))
        return self.rows[np.atleast_1d(nearest)]


def condition_of(name: str) -> str:
    """The condition of an image: the first folder of its name."""
    return PurePosixPath(name).parts[0]


def rows_by_condition(names: Iterable[str]) -> dict[str, NDArray[np.int64]]:
    """Rows of the images of every condition, in the order of first appearance."""
    conditions = [condition_of(name) for name in names]
    return {condition: np.nonzero(np.array(conditions) == condition)[0] for condition in dict.fromkeys(conditions)}


def require_conditions(conditions: Iterable[str], reference: str) -> None:
    """Require the reference condition and at least one other; raises FgsnError if one of them is missing."""
    known = list(conditions)
    names = ", ".join(known)
    if reference not in known:
        raise FgsnError(f"no image has the reference condition '{reference}'; the conditions are: {names}")
    if len(known) < 2:
        raise FgsnError(f"all images have one condition, '{names}'; correspondences need a second one")
