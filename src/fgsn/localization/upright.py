"""Frames that stand upright: y points down, along gravity, so that only the yaw is left between map and camera."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation

from fgsn.errors import FgsnError

UP = (0.0, 0.0, 1.0)
"""The direction opposite to gravity in the world, unless a map says otherwise."""


def upright_rotation(gravity: ArrayLike) -> NDArray[np.float64]:
    """The smallest rotation (3, 3) that turns a direction of gravity (3,) to +y, the downward axis of level cameras.

    Raises:
        FgsnError: gravity has no direction.
    """
    gravity = np.asarray(gravity, np.float64)
    if gravity.shape != (3,) or not 1e-9 < np.linalg.norm(gravity) < np.inf:
        raise FgsnError(f"gravity wants three numbers that are a direction, not {gravity}")
    down = gravity / np.linalg.norm(gravity)
    axis = np.cross(down, (0.0, 1.0, 0.0))
    sine = np.linalg.norm(axis)
    if sine < 1e-12:
        return np.eye(3) if down[1] > 0 else np.diag([1.0, -1.0, -1.0])
    return Rotation.from_rotvec(axis / sine * np.arctan2(sine, down[1])).as_matrix()
