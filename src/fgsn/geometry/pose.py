"""Rigid motions, named by the frames they connect: `camera_from_world` maps world points into the camera."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Pose:
    """A rotation and a translation, or a batch of them: x -> rotation @ x + translation.

    `rotation` is (..., 3, 3), `translation` (..., 3), both float64.
    """

    rotation: Array
    translation: Array

    @classmethod
    def from_quaternion(cls, quaternion: ArrayLike, translation: ArrayLike) -> "Pose":
        """Build from unit quaternions (..., 4), scalar first, and translations (..., 3)."""
        quaternion = np.asarray(quaternion, np.float64)
        flat = Rotation.from_quat(np.roll(quaternion.reshape(-1, 4), -1, axis=1)).as_matrix()
        return cls(flat.reshape(*quaternion.shape[:-1], 3, 3), np.asarray(translation, np.float64))

    @classmethod
    def from_centre(cls, rotation: ArrayLike, centre: ArrayLike) -> "Pose":
        """`camera_from_world` of a camera with this rotation (..., 3, 3) and this centre (..., 3) in the world."""
        rotation = np.asarray(rotation, np.float64)
        return cls(rotation, -_apply(rotation, np.asarray(centre, np.float64)))

    @classmethod
    def concatenate(cls, poses: Iterable["Pose"]) -> "Pose":
        """One batch (N) of all poses, each of which is a single one or a batch."""
        parts = [(pose.rotation.reshape(-1, 3, 3), pose.translation.reshape(-1, 3)) for pose in poses]
        return cls(*(np.concatenate(part) for part in zip(*parts, strict=True)))

    @property
    def quaternion(self) -> Array:
        """Unit quaternions (..., 4), scalar first and non-negative."""
        flat = Rotation.from_matrix(self.rotation.reshape(-1, 3, 3)).as_quat()
        flat = np.roll(flat, 1, axis=1)
        flat = np.where(flat[:, :1] < 0, -flat, flat)
        return flat.reshape(*self.rotation.shape[:-2], 4)

    @property
    def centre(self) -> Array:
        """The point (..., 3) that is mapped to the origin: the camera centre of a `camera_from_world`."""
        return -_apply(np.swapaxes(self.rotation, -1, -2), self.translation)

    def inverse(self) -> "Pose":
        """The inverse motion: `world_from_camera` of a `camera_from_world`."""
        return Pose(np.swapaxes(self.rotation, -1, -2), self.centre)

    def __matmul__(self, other: "Pose") -> "Pose":
        """Compose: (a_from_b @ b_from_c) is a_from_c."""
        return Pose(self.rotation @ other.rotation, self.transform_one(other.translation))

    def transform(self, points: ArrayLike) -> Array:
        """Map points (..., N, 3) with every pose of the batch (...)."""
        points = np.asarray(points, np.float64)
        return points @ np.swapaxes(self.rotation, -1, -2) + self.translation[..., None, :]

    def transform_one(self, point: ArrayLike) -> Array:
        """Map one point (..., 3) per pose."""
        return _apply(self.rotation, np.asarray(point, np.float64)) + self.translation

    def __getitem__(self, index: int | slice | NDArray[np.int64] | NDArray[np.bool_]) -> "Pose":
        """Select from a batch."""
        return Pose(self.rotation[index], self.translation[index])


def _apply(matrix: Array, vector: Array) -> Array:
    return np.einsum("...ij,...j->...i", matrix, vector)
