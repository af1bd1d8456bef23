"""A tiny map with exact observations, and what several tests of this room do."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fgsn.errors import FgsnError
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


def observed(model: Reconstruction, rows: np.ndarray) -> Reconstruction:
    """The model with these observations only, in this order."""
    kept = {name: getattr(model, name)[rows] for name in ("track_point", "track_image", "track_pixels")}
    return replace(model, **kept)


def read_or_refused(read: Callable[[], Any]) -> Any:
    """What `read` gives, or None where it refuses in one line."""
    try:
        return read()
    except FgsnError as error:
        if "\n" in str(error):
            pytest.fail(f"more than one line: {error}")
        return None
