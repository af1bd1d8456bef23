"""Label maps without lens distortion, so that projecting a point into them takes a matrix only."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from fgsn.errors import FgsnError
from fgsn.geometry.camera import Camera
from fgsn.inference.label_lookup import NO_LABEL


def undistorted(labels: NDArray[np.integer], camera: Camera) -> tuple[NDArray[np.integer], Camera]:
    """The label map as a pinhole camera with the same focal lengths would see it; -1 where the lens did not look.

    Raises:
        FgsnError: the label map is not of the camera's size.
        MissingExtraError: the camera is distorted, and pycolmap is not installed.
    """
    if labels.shape != (camera.height, camera.width):
        raise FgsnError(
            f"a label map of {labels.shape[1]} x {labels.shape[0]} pixels does not go with a camera of {camera.width} "
            f"x {camera.height}"
        )
    if camera.is_pinhole:
        return labels, camera
    columns, rows, seen = _lens_grid(camera)
    straight = Camera(camera.width, camera.height, camera.fx, camera.fy, camera.cx, camera.cy)
    return np.where(seen, labels[rows, columns].astype(np.int64), NO_LABEL), straight


@lru_cache(maxsize=16)
def _lens_grid(camera: Camera) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """For each pixel of the pinhole image its column and row in the distorted one, and whether there is one."""
    straight = Camera(camera.width, camera.height, camera.fx, camera.fy, camera.cx, camera.cy)
    pixels, _ = camera.project(straight.rays(straight.grid()))
    seen = camera.contains(pixels)
    columns, rows = np.where(seen[:, None], np.rint(pixels), 0).astype(np.int64).T
    shape = camera.height, camera.width
    return columns.reshape(shape), rows.reshape(shape), seen.reshape(shape)
