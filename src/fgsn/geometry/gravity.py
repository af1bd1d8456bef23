"""Frames that stand upright: y points down, along gravity, so that only the yaw is left between map and camera."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation

from fgsn.errors import FgsnError
from fgsn.geometry.pose import Pose

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


def up_of_cameras(camera_from_world: Pose) -> NDArray[np.float64]:
    """The direction (3,) that is up in the world of a map, from N cameras of a vehicle.

    A vehicle's cameras hang level, so their x axes are, and it moves in the plane of the road: up is what is square to
    both, on the side that the images' upper edges are on. A hill tilts it; what counts is that the priors of gravity
    are told in the same frame.

    Raises:
        FgsnError: the cameras leave it open: fewer than two places, or all move along their x axes.
    """
    x, down, centres = camera_from_world.rotation[:, 0], camera_from_world.rotation[:, 1], camera_from_world.centre
    steps = np.diff(centres, axis=0)
    lengths = np.linalg.norm(steps, axis=1, keepdims=True)
    steps = steps[lengths[:, 0] > 1e-9] / lengths[lengths[:, 0] > 1e-9]
    level = x.T @ x / len(x) + steps.T @ steps / max(1, len(steps))
    spread, axes = np.linalg.eigh(level)
    if spread[1] < 0.02:
        raise FgsnError("the cameras do not tell which direction is up: all lie and move along one line")
    return axes[:, 0] * -np.sign(axes[:, 0] @ down.mean(axis=0))
