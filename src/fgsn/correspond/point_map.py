"""A COLMAP model as a source of correspondences: the observations of each image, and the uncertainty of points."""

from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from fgsn.geometry.colmap import Reconstruction
from fgsn.geometry.posed import PosedImages

Array = NDArray[np.float64]
Rows = NDArray[np.int64]
LARGEST_ERROR = 3.0
"""Default limit of the expected error of a point, in pixels."""
_LEAST_NOISE = 0.1  # pixels; no key point is more precise
_NEARER = 0.9  # a point at less than this share of another's depth is in front of it
_HIDING = 0.02  # of the image width: a nearer point within this distance occludes
_NEIGHBOURS = 6


class PointMap:
    """A model with observations by image and the uncertainty of its points."""

    def __init__(self, model: Reconstruction) -> None:
        self.model = model
        self._order = np.argsort(model.track_image, kind="stable")
        self._begins = np.searchsorted(model.track_image[self._order], np.arange(len(model.names) + 1))

    def seen_in(self, image: int) -> tuple[Rows, Array]:
        """Rows (n,) of the points that an image observes, each once, and the pixels (n, 2) of the observations."""
        mine = self._order[self._begins[image] : self._begins[image + 1]]
        points, first = np.unique(self.model.track_point[mine], return_index=True)
        return points, self.model.track_pixels[mine[first]]

    def observation_error(self, image: int) -> Array:
        """Expected error (n,) in pixels of the observations that `seen_in` gives.

        That is the noise of an observation, or its reprojection error where that is larger.
        """
        points, pixels = self.seen_in(image)
        off = np.linalg.norm(self.model.project(image, self.model.points[points])[0] - pixels, axis=1)
        return np.maximum(np.nan_to_num(off, nan=np.inf), self.noise * np.sqrt(2))

    @cached_property
    def noise(self) -> float:
        """Standard deviation of an observation along x or y, in pixels, from reprojection errors.

        A point is fitted to its own n observations: 2n values, of which the fit uses 3 degrees of freedom.
        """
        model = self.model
        length = np.bincount(model.track_point, minlength=len(model.points))[model.track_point]
        errors, free = model.errors(), np.maximum(2 * length - 3, 1) / (2 * length)
        good = np.isfinite(errors)
        if not good.any():
            return _LEAST_NOISE
        # The median length of a two-dimensional normal vector is 1.177 standard deviations.
        return max(_LEAST_NOISE, float(np.median(errors[good] / np.sqrt(free[good]))) / 1.177)

    @cached_property
    def covariance(self) -> NDArray[np.float64]:
        """(M, 3, 3) covariance of every point from the geometry of its rays; infinite with a single observation.

        Every observation constrains a point perpendicular to its ray, more tightly the nearer it is.
        """
        model = self.model
        offset = model.points[model.track_point] - model.camera_from_world.centre[model.track_image]
        distance = np.maximum(np.linalg.norm(offset, axis=1), 1e-12)
        ray = offset / distance[:, None]
        focal = np.array([camera.fx for camera in model.cameras])[model.camera_of[model.track_image]]
        weight = (focal / distance / self.noise) ** 2
        information = np.empty((len(model.points), 3, 3))
        for row in range(3):
            for column in range(3):
                across = weight * ((row == column) - ray[:, row] * ray[:, column])
                information[:, row, column] = np.bincount(model.track_point, across, minlength=len(model.points))
        values = np.linalg.eigvalsh(information)
        often = np.bincount(model.track_point, minlength=len(model.points)) >= 2
        known = often & (values[:, 0] > 1e-9 * values[:, 2])
        covariance = np.full_like(information, np.inf)
        covariance[known] = np.linalg.inv(information[known])
        return covariance

    def uncertainty(self, points: Rows, images: PosedImages, image: int) -> Array:
        """Expected error (n,) in pixels of the projections of points, given by rows, into an image."""
        camera, pose = images.camera(image), images.camera_from_world[image]
        x, y, z = pose.transform(self.model.points[points]).T
        # Derivative of the pixel by the point; distortion hardly changes it.
        jacobian = np.zeros((len(points), 2, 3))
        with np.errstate(divide="ignore", invalid="ignore"):
            jacobian[:, 0, 0], jacobian[:, 1, 1] = camera.fx / z, camera.fy / z
            jacobian[:, 0, 2], jacobian[:, 1, 2] = -camera.fx * x / z**2, -camera.fy * y / z**2
            jacobian = jacobian @ pose.rotation
            covariance = self.covariance[points]
            spread = np.einsum("nij,njk,nik->n", jacobian, covariance, jacobian)
        return np.where(np.isfinite(spread), np.sqrt(np.maximum(spread, 0)), np.inf)


def occluded(pixels: Array, depth: Array, others: Array, others_depth: Array, width: int) -> NDArray[np.bool_]:
    """Which points (N,) lie behind an observed point near them in the image.

    Given are pixels (N, 2) and depths (N,) of the points, those of K observed points, and the image's width.
    """
    if not len(others) or not len(pixels):
        return np.zeros(len(pixels), bool)
    count = min(_NEIGHBOURS, len(others))
    _, row = KDTree(others).query(pixels, k=count, distance_upper_bound=_HIDING * width)
    row = np.asarray(row).reshape(len(pixels), count)
    known = np.append(others_depth, np.inf)  # a missing neighbour has the row K
    return np.min(known[row], axis=1) < _NEARER * depth
