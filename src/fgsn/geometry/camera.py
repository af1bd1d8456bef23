"""Cameras. The centre of the first pixel is (0, 0), so the image spans [-0.5, width - 0.5].

A camera is described as in COLMAP: the name of its model, focal lengths, principal point, and distortion parameters.
Pinhole cameras need only NumPy; pycolmap projects all others.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fgsn.errors import FgsnError, nearest
from fgsn.extras import pycolmap

Array = NDArray[np.float64]

PARAMETER_COUNTS = {
    "SIMPLE_PINHOLE": 3, "PINHOLE": 4, "SIMPLE_RADIAL": 4, "RADIAL": 5, "OPENCV": 8, "OPENCV_FISHEYE": 8,
    "FULL_OPENCV": 12, "FOV": 5, "SIMPLE_RADIAL_FISHEYE": 4, "RADIAL_FISHEYE": 5, "THIN_PRISM_FISHEYE": 12,
    "RAD_TAN_THIN_PRISM_FISHEYE": 16, "SIMPLE_DIVISION": 4, "DIVISION": 5, "SIMPLE_FISHEYE": 3, "FISHEYE": 4, "EUCM": 6,
}  # fmt: skip
"""COLMAP's camera models in the order of their identifiers, with their numbers of parameters."""
LARGEST_SIDE = 1 << 20
"""Pixels along a side of an image; more than this is a damaged file."""
_ONE_FOCAL_LENGTH = {"SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL", "SIMPLE_RADIAL_FISHEYE", "RADIAL_FISHEYE",
                     "SIMPLE_DIVISION", "SIMPLE_FISHEYE"}  # fmt: skip


@dataclass(frozen=True)
class Camera:
    """A camera: size and focal lengths in pixels, principal point with pixel centres at integers."""

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    model: str = "PINHOLE"
    """COLMAP's name of the camera model."""
    distortion: tuple[float, ...] = ()
    """Parameters other than focal lengths and principal point, in COLMAP's order."""

    @property
    def parameters(self) -> tuple[float, ...]:
        """The parameters as in COLMAP and hloc's query lists, with pixel centres at +0.5."""
        focal = (self.fx,) if self.model in _ONE_FOCAL_LENGTH else (self.fx, self.fy)
        return *focal, self.cx + 0.5, self.cy + 0.5, *self.distortion

    @classmethod
    def from_parameters(cls, width: int, height: int, parameters: ArrayLike, model: str = "PINHOLE") -> "Camera":
        """Inverse of `parameters`, with pixel centres at +0.5; FgsnError if the model or a value is invalid."""
        values = [float(value) for value in np.asarray(parameters, np.float64).ravel()]
        if model not in PARAMETER_COUNTS:
            raise FgsnError(f"unknown camera model '{model}'; {nearest(model, PARAMETER_COUNTS)}")
        if len(values) != PARAMETER_COUNTS[model]:
            raise FgsnError(f"camera model {model} has {PARAMETER_COUNTS[model]} parameters, not {len(values)}")
        fx, fy, cx, cy, *distortion = values[:1] + values if model in _ONE_FOCAL_LENGTH else values
        sides = 0 < width <= LARGEST_SIDE and 0 < height <= LARGEST_SIDE
        if not (sides and fx > 0 and fy > 0 and np.isfinite(values).all()):
            raise FgsnError(f"invalid camera: {width} x {height} pixels with parameters {values}")
        return cls(width, height, fx, fy, cx - 0.5, cy - 0.5, model, tuple(distortion))

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.width, self.height

    @property
    def matrix(self) -> Array:
        """The intrinsic matrix (3, 3), without distortion."""
        return np.array([[self.fx, 0, self.cx], [0, self.fy, self.cy], [0, 0, 1]])

    @property
    def is_pinhole(self) -> bool:
        """Whether the camera has no distortion."""
        return self.model.endswith("PINHOLE")

    def project(self, points_camera: ArrayLike) -> tuple[Array, Array]:
        """Project points (..., 3) of the camera frame (x right, y down, z forward).

        Returns:
            Pixels (..., 2) as x, y, NaN behind the camera and outside the view of a distorted lens; depths (...) along
            the optical axis.

        Raises:
            MissingExtraError: the camera is distorted, and pycolmap is not installed.
        """
        points = np.asarray(points_camera, np.float64)
        depth = points[..., 2]
        safe = np.where(depth > 1e-9, depth, np.nan)
        plane = points[..., :2] / safe[..., None]
        if self.is_pinhole:
            return plane * (self.fx, self.fy) + (self.cx, self.cy), depth
        lens, reach = _lens(self)
        seen = np.linalg.norm(plane, axis=-1) <= reach
        pixels = np.full(plane.shape, np.nan)
        pixels[seen] = lens.img_from_cam(np.ascontiguousarray(points[seen])) - 0.5
        return pixels, depth

    def rays(self, pixels: ArrayLike) -> Array:
        """Directions (..., 3) in the camera frame with z = 1 through pixels (..., 2): undistorted points.

        Raises MissingExtraError if the camera is distorted, and pycolmap is not installed.
        """
        pixels = np.asarray(pixels, np.float64)
        if self.is_pinhole:
            plane = (pixels - (self.cx, self.cy)) / (self.fx, self.fy)
        else:
            plane = _lens(self)[0].cam_from_img(pixels.reshape(-1, 2) + 0.5).reshape(pixels.shape)
        return np.concatenate([plane, np.ones_like(plane[..., :1])], axis=-1)

    def unproject(self, pixels: ArrayLike, depth: ArrayLike) -> Array:
        """Points (..., 3) of the camera frame at pixels (..., 2) with depths (...) along the optical axis."""
        return self.rays(pixels) * np.asarray(depth, np.float64)[..., None]

    def contains(self, pixels: ArrayLike) -> NDArray[np.bool_]:
        """Which pixels (..., 2) lie between the first and the last pixel centre; False for NaN."""
        pixels = np.asarray(pixels, np.float64)
        return np.all((pixels >= 0) & (pixels <= (self.width - 1, self.height - 1)), axis=-1)

    def grid(self) -> Array:
        """All pixel centres (height * width, 2), row by row."""
        y, x = np.mgrid[: self.height, : self.width]
        return np.stack([x.ravel(), y.ravel()], axis=1).astype(np.float64)


def require_size(name: str, camera: Camera, size: tuple[int, int]) -> None:
    """Require (FgsnError) that a camera has the size (width, height) of its image."""
    if camera.size != size:
        raise FgsnError(
            f"the camera of '{name}' is {camera.width} x {camera.height} pixels, but the image is "
            f"{size[0]} x {size[1]}; use images of the same size as the cameras"
        )


def pycolmap_camera(camera: Camera) -> Any:
    """The camera as an object of pycolmap; MissingExtraError if that is not installed."""
    size = {"width": camera.width, "height": camera.height}
    return pycolmap().Camera(model=camera.model, params=list(camera.parameters), **size)


@lru_cache(maxsize=256)
def _lens(camera: Camera) -> tuple[Any, float]:
    """pycolmap's camera, and the radius of its image in the plane z = 1.

    Farther out, the distortion polynomials may fold back, and points beside the camera would project into its image.
    """
    lens = pycolmap_camera(camera)
    x, y = np.linspace(0, camera.width, 33), np.linspace(0, camera.height, 33)
    edges = [np.column_stack(np.broadcast_arrays(*edge)) for edge in ((x, 0), (x, camera.height), (0, y))]
    edges.append(np.column_stack(np.broadcast_arrays(camera.width, y)))
    reach = np.linalg.norm(lens.cam_from_img(np.concatenate(edges).astype(np.float64)), axis=1)
    return lens, float(np.nanmax(reach, initial=0.0)) * 1.01
