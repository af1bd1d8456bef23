"""Gravity-aligned frames: y points down, so that only the yaw between map and camera is unknown."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation

from fgsn.errors import FgsnError
from fgsn.geometry.pose import Pose

UP = (0.0, 0.0, 1.0)
"""The direction opposite to gravity in the world, unless a map says otherwise."""


def upright_rotation(gravity: ArrayLike) -> NDArray[np.float64]:
    """The smallest rotation (3, 3) that maps the direction of gravity (3,) to +y, the downward axis of level cameras.

    Raises FgsnError if gravity is not a direction.
    """
    gravity = np.asarray(gravity, np.float64)
    if gravity.shape != (3,) or not 1e-9 < np.linalg.norm(gravity) < np.inf:
        raise FgsnError(f"gravity should be a direction of three finite numbers, not {gravity}")
    down = gravity / np.linalg.norm(gravity)
    axis = np.cross(down, (0.0, 1.0, 0.0))
    sine = np.linalg.norm(axis)
    if sine < 1e-12:
        return np.eye(3) if down[1] > 0 else np.diag([1.0, -1.0, -1.0])
    return Rotation.from_rotvec(axis / sine * np.arctan2(sine, down[1])).as_matrix()


def up_of_cameras(camera_from_world: Pose) -> NDArray[np.float64]:
    """The upward direction (3,) of a map's world frame, estimated from N cameras of a vehicle.

    A vehicle's cameras are mounted level, so their x axes are horizontal, and it moves in the plane of the road: up is
    perpendicular to both, towards the upper edges of the images. A slope tilts the estimate; what matters is that the
    gravity priors refer to the same frame.

    Raises:
        FgsnError: the cameras do not determine it: they stand at one place, or all move along their x axes.
    """
    x, down = camera_from_world.rotation[..., 0, :], camera_from_world.rotation[..., 1, :]
    centres = camera_from_world.centre
    if not (x.ndim == 2 and len(x) and np.isfinite(camera_from_world.rotation).all() and np.isfinite(centres).all()):
        raise FgsnError("there is no list of cameras, or their poses are not finite")
    steps = np.diff(centres, axis=0)
    lengths = np.linalg.norm(steps, axis=1, keepdims=True)
    steps = steps[lengths[:, 0] > 1e-9] / lengths[lengths[:, 0] > 1e-9]
    level = x.T @ x / len(x) + steps.T @ steps / max(1, len(steps))
    spread, axes = np.linalg.eigh(level)
    if spread[1] < 0.02:
        raise FgsnError("the cameras do not determine which direction is up: all lie and move along one line")
    return axes[:, 0] * -np.sign(axes[:, 0] @ down.mean(axis=0))
