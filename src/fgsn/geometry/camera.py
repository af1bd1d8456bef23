"""Pinhole cameras. The centre of the first pixel is (0, 0), so the image spans [-0.5, width - 0.5]."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Camera:
    """A PINHOLE camera: size and focal lengths in pixels, principal point with pixel centres at integers."""

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float

    @property
    def parameters(self) -> tuple[float, float, float, float]:
        """fx, fy, cx, cy as COLMAP and hloc's query lists want them: there, pixel centres lie at +0.5."""
        return self.fx, self.fy, self.cx + 0.5, self.cy + 0.5

    @classmethod
    def from_parameters(cls, width: int, height: int, parameters: ArrayLike) -> "Camera":
        """Inverse of `parameters`: fx, fy, cx, cy with pixel centres at +0.5."""
        fx, fy, cx, cy = (float(value) for value in np.asarray(parameters, np.float64))
        return cls(width, height, fx, fy, cx - 0.5, cy - 0.5)

    def project(self, points_camera: ArrayLike) -> tuple[Array, Array]:
        """Project points (..., 3) of the camera frame (x right, y down, z forward).

        Returns:
            Pixels (..., 2) as x, y, NaN behind the camera; depths (...) along the optical axis.
        """
        points = np.asarray(points_camera, np.float64)
        depth = points[..., 2]
        safe = np.where(depth > 1e-9, depth, np.nan)
        pixels = points[..., :2] / safe[..., None] * (self.fx, self.fy) + (self.cx, self.cy)
        return pixels, depth

    def rays(self, pixels: ArrayLike) -> Array:
        """Directions (..., 3) in the camera frame with z = 1 through pixels (..., 2)."""
        plane = (np.asarray(pixels, np.float64) - (self.cx, self.cy)) / (self.fx, self.fy)
        return np.concatenate([plane, np.ones_like(plane[..., :1])], axis=-1)

    def unproject(self, pixels: ArrayLike, depth: ArrayLike) -> Array:
        """Points (..., 3) of the camera frame at pixels (..., 2) with depths (...) along the optical axis."""
        return self.rays(pixels) * np.asarray(depth, np.float64)[..., None]

    def contains(self, pixels: ArrayLike) -> NDArray[np.bool_]:
        """Which pixels (..., 2) lie between the first and the last pixel centre; NaN does not."""
        pixels = np.asarray(pixels, np.float64)
        return np.all((pixels >= 0) & (pixels <= (self.width - 1, self.height - 1)), axis=-1)

    def grid(self) -> Array:
        """All pixel centres (height * width, 2), row by row."""
        y, x = np.mgrid[: self.height, : self.width]
        return np.stack([x.ravel(), y.ravel()], axis=1).astype(np.float64)
