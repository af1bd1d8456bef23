"""A COLMAP model as a source of correspondences: what each image sees, and how far its points can be trusted."""

from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from fgsn.geometry.colmap import Reconstruction
from fgsn.geometry.posed import PosedImages

Array = NDArray[np.float64]
Rows = NDArray[np.int64]
LARGEST_ERROR = 3.0
"""Pixels; a point that is expected to lie farther off is not used, unless told otherwise."""
_LEAST_NOISE = 0.1  # pixels; no key point is better
_NEARER = 0.9  # a thing at less than this share of a point's depth is in front of it
_HIDING = 0.02  # of the image's width: so near to a point, a nearer thing hides it
_NEIGHBOURS = 6


class PointMap:
    """A model with its observations by image, and the uncertainty of its points."""

    def __init__(self, model: Reconstruction) -> None:
        self.model = model
        self._order = np.argsort(model.track_image, kind="stable")
        self._begins = np.searchsorted(model.track_image[self._order], np.arange(len(model.names) + 1))

    def seen_in(self, image: int) -> tuple[Rows, Array]:
        """The points (n,) that an image observes, as rows, each once, and the pixels (n, 2) where it does."""
        mine = self._order[self._begins[image] : self._begins[image + 1]]
        points, first = np.unique(self.model.track_point[mine], return_index=True)
        return points, self.model.track_pixels[mine[first]]

    def misfit(self, image: int) -> Array:
        """Expected distance (n,) in pixels of what `seen_in` gives from what the image really shows there.

        That is the noise of an observation, and more where the point does not fit the observation.
        """
        points, pixels = self.seen_in(image)
        off = np.linalg.norm(self.model.project(image, self.model.points[points])[0] - pixels, axis=1)
        return np.maximum(np.nan_to_num(off, nan=np.inf), self.noise * np.sqrt(2))

    @cached_property
    def noise(self) -> float:
        """Standard deviation of an observation in pixels along x or y, from the reprojection errors of long tracks.

        A point is fitted to its own observations: with n of them, 2n values, 3 of which the fit takes away.
        """
        model = self.model
        length = np.bincount(model.track_point, minlength=len(model.points))[model.track_point]
        errors, free = model.errors(), np.maximum(2 * length - 3, 1) / (2 * length)
        good = np.isfinite(errors)
        if not good.any():
            return _LEAST_NOISE
        # The median of a two-dimensional normal distribution's length is 1.177 deviations.
        return max(_LEAST_NOISE, float(np.median(errors[good] / np.sqrt(free[good]))) / 1.177)

    @cached_property
    def covariance(self) -> NDArray[np.float64]:
        """(M, 3, 3) uncertainty of every point from the geometry of its rays; infinite where seen once only.

        Every observation ties a point across its ray, the tighter the nearer it is.
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
        """Expected distance (n,) in pixels of points, given by rows, from where an image really sees them."""
        camera, pose = images.camera(image), images.camera_from_world[image]
        x, y, z = pose.transform(self.model.points[points]).T
        # How the pixel moves with the point; distortion hardly changes it.
        moves = np.zeros((len(points), 2, 3))
        with np.errstate(divide="ignore", invalid="ignore"):
            moves[:, 0, 0], moves[:, 1, 1] = camera.fx / z, camera.fy / z
            moves[:, 0, 2], moves[:, 1, 2] = -camera.fx * x / z**2, -camera.fy * y / z**2
            moves = moves @ pose.rotation
            covariance = self.covariance[points]
            spread = np.einsum("nij,njk,nik->n", moves, covariance, moves)
        return np.where(np.isfinite(spread), np.sqrt(np.maximum(spread, 0)), np.inf)


def hidden(pixels: Array, depth: Array, others: Array, others_depth: Array, width: int) -> NDArray[np.bool_]:
    """Which points lie behind something that is known to be seen near to them.

    Args:
        pixels: (N, 2) where the points are in an image.
        depth: (N,) how deep.
        others: (K, 2) pixels at which something is seen.
        others_depth: (K,) how deep that is.
        width: of the image.
    """
    if not len(others) or not len(pixels):
        return np.zeros(len(pixels), bool)
    count = min(_NEIGHBOURS, len(others))
    _, row = KDTree(others).query(pixels, k=count, distance_upper_bound=_HIDING * width)
    row = np.asarray(row).reshape(len(pixels), count)
    known = np.append(others_depth, np.inf)  # a neighbour that is missing has the row K
    return np.min(known[row], axis=1) < _NEARER * depth
