"""Label maps without lens distortion, so that projecting a point into them requires only a matrix."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from fgsn.errors import FgsnError
from fgsn.geometry.camera import Camera
from fgsn.inference.label_lookup import NO_LABEL


def undistorted(labels: NDArray[np.integer], camera: Camera) -> tuple[NDArray[np.integer], Camera]:
    """The label map of a pinhole camera with the same focal lengths; -1 outside the field of view of the lens.

    Raises FgsnError if the label map has not the size of the camera, MissingExtraError if that has lens distortion, and
    pycolmap is not installed.
    """
    if labels.shape != (camera.height, camera.width):
        raise FgsnError(
            f"a label map of {labels.shape[1]} x {labels.shape[0]} pixels does not match a camera of {camera.width} "
            f"x {camera.height}"
        )
    if camera.is_pinhole:
        return labels, camera
    straight = Camera(camera.width, camera.height, camera.fx, camera.fy, camera.cx, camera.cy)
    columns, rows, seen = _lens_grid(camera, straight)
    return np.where(seen, labels[rows, columns].astype(np.int64), NO_LABEL), straight


@lru_cache(maxsize=16)
def _lens_grid(camera: Camera, straight: Camera) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """For each pixel of the pinhole image: column and row in the distorted image, and whether it is visible there."""
    pixels, _ = camera.project(straight.rays(straight.grid()))
    seen = camera.contains(pixels)
    columns, rows = np.where(seen[:, None], np.rint(pixels), 0).astype(np.int64).T
    shape = camera.height, camera.width
    return columns.reshape(shape), rows.reshape(shape), seen.reshape(shape)
