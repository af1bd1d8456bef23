"""Images with cameras and poses: the common base of maps, pose lists and sets of depth maps."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fgsn.errors import FgsnError
from fgsn.geometry.camera import Camera
from fgsn.geometry.pose import Pose


@dataclass(frozen=True, eq=False)
class PosedImages:
    """N images, each with a camera and a pose, in one world frame."""

    names: list[str]
    """Paths of the images with forward slashes."""
    cameras: list[Camera]
    camera_of: NDArray[np.int64]
    """(N,) row of `cameras` for every image."""
    camera_from_world: Pose
    """N poses."""

    def camera(self, image: int) -> Camera:
        """The camera of an image, given by its row."""
        return self.cameras[self.camera_of[image]]

    def project(self, image: int, points_world: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Pixels (M, 2) and depths (M,) of world points (M, 3) in an image; NaN as in `Camera.project`."""
        return self.camera(image).project(self.camera_from_world[image].transform(points_world))


def join(parts: Sequence[PosedImages]) -> PosedImages:
    """Concatenate sets of images that share one world frame; FgsnError if two have the same name, or there are none."""
    names = [name for part in parts for name in part.names]
    if not names:
        raise FgsnError("there are no images with poses")
    name, count = Counter(names).most_common(1)[0]
    if count > 1:
        raise FgsnError(f"image '{name}' has {count} poses; keep one")
    first = np.cumsum([0, *(len(part.cameras) for part in parts)])
    return PosedImages(
        names,
        [camera for part in parts for camera in part.cameras],
        np.concatenate([part.camera_of + start for part, start in zip(parts, first[:-1], strict=True)]),
        Pose.concatenate(part.camera_from_world for part in parts),
    )
