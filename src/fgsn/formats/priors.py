"""Priors of queries: gravity, camera height, and motion since the previous image.

They come from an inertial sensor, a map or wheel encoders, never from the ground truth.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fgsn.errors import FgsnError
from fgsn.files import write_text
from fgsn.formats.lists import UNIT_TOLERANCE, numbers_after_name, pose_numbers, poses_of, read_list
from fgsn.geometry.pose import Pose
from fgsn.geometry.posed import PosedImages

PRIOR_FORM = "name gx gy gz height"


@dataclass(frozen=True, eq=False)
class Priors:
    """Gravity and height of N images."""

    names: list[str]
    gravity: NDArray[np.float64]
    """(N, 3) unit direction of gravity (down) in the camera frame."""
    heights: NDArray[np.float64]
    """(N,) height of the camera centre along the world's upward direction, in the world's unit."""

    def of(self, names: Sequence[str]) -> "Priors":
        """The priors of these images, in their order; FgsnError if an image has none."""
        row_of = {name: row for row, name in enumerate(self.names)}
        missing = [name for name in names if name not in row_of]
        if missing:
            raise FgsnError(f"{len(missing)} of {len(names)} images have no prior, first '{missing[0]}'")
        rows = np.array([row_of[name] for name in names], np.int64)
        return Priors(list(names), self.gravity[rows], self.heights[rows])


@dataclass(frozen=True, eq=False)
class Odometry:
    """Motion of the camera between N images in the order of capture."""

    names: list[str]
    motion: Pose
    """N poses `camera_from_previous_camera`; the first is the identity."""

    def moved(self, start: Pose) -> Pose:
        """N poses of a camera that starts at `start` and follows the odometry alone, as a control for trackers."""
        poses = [start]
        for row in range(1, len(self.names)):
            poses.append(self.motion[row] @ poses[-1])
        return Pose(np.stack([pose.rotation for pose in poses]), np.stack([pose.translation for pose in poses]))


def read_priors(path: Path | str) -> Priors:
    """Read `name gx gy gz height` per line, from a file or a folder of files.

    Raises FgsnError if a line is malformed, gravity is not a unit vector, or a name occurs twice.
    """
    table = read_list(path, _prior)
    values = np.array(list(table.values()))
    return Priors(list(table), values[:, :3], values[:, 3])


def write_priors(path: Path | str, priors: Priors, comments: Sequence[str] = (PRIOR_FORM,)) -> None:
    """Write priors in the format of `read_priors`, after comment lines."""
    rows = np.concatenate([priors.gravity, priors.heights[:, None]], axis=1)
    lines = (" ".join([name, *(f"{value:.9f}" for value in row)]) for name, row in zip(priors.names, rows, strict=True))
    write_text(Path(path), "".join(f"{line}\n" for line in [*(f"# {comment}" for comment in comments), *lines]))


def priors_like(map_images: PosedImages, up: ArrayLike, retrieved: Mapping[str, Sequence[str]]) -> Priors:
    """Priors of queries from similar map images, for a vehicle that drives the roads of the map.

    Args:
        map_images: images of the map with their poses.
        up: (3,) direction opposite to gravity in the map (`fgsn.geometry.gravity.up_of_cameras`).
        retrieved: names of map images for every query, most similar first; the first one provides gravity and height.

    Raises:
        FgsnError: none of the images retrieved for a query is in the map.
    """
    row_of = {name: row for row, name in enumerate(map_images.names)}
    rows = []
    for query, names in retrieved.items():
        known = [row_of[name] for name in names if name in row_of]
        if not known:
            raise FgsnError(f"none of the images retrieved for '{query}' is in the map")
        rows.append(known[0])
    up = np.asarray(up, np.float64) / np.linalg.norm(up)
    poses = map_images.camera_from_world[np.array(rows, np.int64)]
    return Priors(list(retrieved), -poses.rotation @ up, poses.centre @ up)


def read_odometry(path: Path | str) -> Odometry:
    """Read `name qw qx qy qz tx ty tz` per line of one drive: from the previous image's camera frame to this one.

    Raises FgsnError if a line is malformed, or a name occurs twice.
    """
    if Path(path).is_dir():
        raise FgsnError(f"{path} is a folder; odometry is one file per drive")
    table = read_list(path, pose_numbers)
    return Odometry(list(table), poses_of(table.values()))


def _prior(line: str) -> tuple[str, NDArray[np.float64]]:
    name, numbers = numbers_after_name(line, PRIOR_FORM)
    length = float(np.linalg.norm(numbers[:3]))
    if not abs(length - 1) <= UNIT_TOLERANCE:
        raise FgsnError(f"gravity should be a direction of length 1, not {length:.4g}")
    numbers[:3] /= length
    return name, numbers
