"""A tiny map with exact observations."""

import numpy as np

from fgsn.geometry.camera import Camera
from fgsn.geometry.colmap import Reconstruction
from fgsn.geometry.pose import Pose

CAMERA = Camera(64, 48, 50.0, 50.0, 31.5, 23.5)


def toy_model(images: int = 3, points: int = 20, seed: int = 0) -> Reconstruction:
    """Images side by side that all look at a cloud of points ahead of them; all see all."""
    rng = np.random.default_rng(seed)
    positions = rng.uniform((-1, -1, 4), (1, 1, 6), (points, 3))
    centres = np.column_stack([np.linspace(-0.5, 0.5, images), np.zeros(images), np.zeros(images)])
    poses = Pose.from_centre(np.tile(np.eye(3), (images, 1, 1)), centres)
    point, image = np.divmod(np.arange(points * images), images)  # in the order of the points, as COLMAP has them
    pixels, _ = CAMERA.project(poses[image].transform_one(positions[point]))
    names = [f"reference/c0/{number:03d}.jpg" for number in range(images)]
    return Reconstruction(
        names, [CAMERA], np.zeros(images, np.int64), poses, positions, np.zeros((points, 3), np.uint8), point, image,
        pixels,
    )  # fmt: skip
