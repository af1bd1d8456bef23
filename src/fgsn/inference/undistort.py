"""Label maps without the lens, so that points fall into them by a matrix."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from fgsn.geometry.camera import Camera
from fgsn.localization.labelled_map import NO_LABEL


def pinhole_labels(camera: Camera, labels: NDArray[np.integer]) -> NDArray[np.int64]:
    """A label map (H, W) as a pinhole camera with the same focal lengths would have it; NO_LABEL beyond the image.

    Raises:
        MissingExtraError: the camera is distorted, and pycolmap is not installed.
    """
    labels = labels.astype(np.int64)
    if camera.is_pinhole:
        return labels
    places, inside = _undistortion(camera)
    return np.where(inside, labels.reshape(-1)[places], NO_LABEL).reshape(labels.shape)


@lru_cache(maxsize=8)
def _undistortion(camera: Camera) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """For every pixel of the pinhole image, the flat place in the distorted one, and whether it is inside."""
    pinhole = Camera(camera.width, camera.height, camera.fx, camera.fy, camera.cx, camera.cy)
    pixels = np.floor(camera.project(pinhole.rays(pinhole.grid()))[0] + 0.5)
    inside = np.all((pixels >= 0) & (pixels < (camera.width, camera.height)), axis=1)
    pixels = np.where(inside[:, None], pixels, 0).astype(np.int64)
    return pixels[:, 1] * camera.width + pixels[:, 0], inside
