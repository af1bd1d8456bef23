"""Text lists of the synthetic town: queries, true poses, odometry and priors, one file per condition."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from fgsn.formats.poses import write_poses
from fgsn.formats.priors import Priors, write_priors
from fgsn.formats.queries import write_queries
from fgsn.geometry.camera import Camera
from fgsn.geometry.pose import Pose

ODOMETRY_DEGREES, ODOMETRY_SHARE, ODOMETRY_METRES = 0.25, 0.02, 0.02
GRAVITY_DEGREES, HEIGHT_METRES = 1.0, 0.3


def write_lists(
    root: Path, condition: str, names: list[str], camera: Camera, poses: Pose, rng: np.random.Generator
) -> None:
    """Write the lists of one condition in queries/, truth/, odometry/ and priors/; `poses` are `camera_from_world`."""
    write_queries(root / "queries" / f"{condition}.txt", names, [camera] * len(names))
    write_poses(root / "truth" / f"{condition}.txt", names, poses)
    odometry = [
        "name qw qx qy qz tx ty tz: this camera's frame from the previous image's camera frame, the first row is",
        f"the identity. Noise (standard deviations): rotation {ODOMETRY_DEGREES} degrees about each axis,",
        f"translation {ODOMETRY_SHARE:.0%} of the distance plus {ODOMETRY_METRES} m along each axis.",
    ]
    motion = noisy_motion(poses, rng)
    write_poses(root / "odometry" / f"{condition}.txt", names, motion, odometry)
    priors = [
        "name gx gy gz height: direction of gravity (down) in the camera frame, camera height above the road (m).",
        f"Noise (standard deviations): gravity {GRAVITY_DEGREES} degree about each of the two axes across it,",
        f"height {HEIGHT_METRES} m.",
    ]
    write_priors(root / "priors" / f"{condition}.txt", Priors(names, *noisy_priors(poses, rng)), priors)


def noisy_motion(poses: Pose, rng: np.random.Generator) -> Pose:
    """Noisy motion (N) of each camera from the previous one; the first is the identity."""
    previous = Pose(poses.rotation[:-1], poses.translation[:-1])
    motion = Pose(poses.rotation[1:], poses.translation[1:]) @ previous.inverse()
    count = len(motion.translation)
    turn = Rotation.from_rotvec(np.deg2rad(ODOMETRY_DEGREES) * rng.normal(size=(count, 3))).as_matrix()
    length = np.linalg.norm(motion.translation, axis=1, keepdims=True)
    slip = rng.normal(size=(count, 3)) * (ODOMETRY_SHARE * length + ODOMETRY_METRES)
    rotation = np.concatenate([np.eye(3)[None], turn @ motion.rotation])
    return Pose(rotation, np.concatenate([np.zeros((1, 3)), motion.translation + slip]))


def noisy_priors(poses: Pose, rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Noisy gravity (N, 3) in the camera frame, and noisy camera heights (N,) in metres."""
    gravity = -poses.rotation[:, :, 2]
    # A rotation about a random vector; its component along gravity has no effect.
    turn = Rotation.from_rotvec(np.deg2rad(GRAVITY_DEGREES) * rng.normal(size=gravity.shape))
    height = poses.centre[:, 2] + HEIGHT_METRES * rng.normal(size=len(gravity))
    return turn.apply(gravity), height
