"""Depth maps of posed images: reading the files, and looking up depths."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from fgsn.data.images import open_image
from fgsn.errors import FgsnError
from fgsn.files import inside, is_file
from fgsn.formats.numpy_file import read_array
from fgsn.geometry.camera import Camera
from fgsn.geometry.pose import Pose
from fgsn.geometry.posed import PosedImages

Array = NDArray[np.float64]
SUFFIXES = (".png", ".npy", ".npz", ".tif", ".tiff", ".pfm")
_BENT = 0.05  # relative second difference of inverse depth; above lies an edge or detail too fine for the map


@dataclass(frozen=True, eq=False)
class DepthView:
    """An image with pose, camera and depth."""

    camera: Camera
    camera_from_world: Pose
    """One pose."""
    depth: NDArray[np.float32]
    """(h, w) along the optical axis in the unit of the poses, NaN where unknown; may be smaller than the image."""

    def pixels(self, rows: NDArray[np.int64]) -> Array:
        """Image pixels (N, 2) at the centres of depth map pixels, given by their flat indices (N,)."""
        height, width = self.depth.shape
        y, x = np.divmod(rows, width)
        return (np.column_stack([x, y]) + 0.5) * (self.camera.width / width, self.camera.height / height) - 0.5

    def world(self, pixels: Array, depth: Array) -> Array:
        """World points (N, 3) at pixels (N, 2) of the image with depths (N,)."""
        return self.camera_from_world.inverse().transform(self.camera.unproject(pixels, depth))

    def project(self, points: Array) -> tuple[Array, Array]:
        """Pixels (N, 2) and depths (N,) of world points (N, 3)."""
        return self.camera.project(self.camera_from_world.transform(points))

    def depths_at(self, pixels: Array) -> Array:
        """Depths (2, N) at pixels (N, 2): interpolated, and at the nearest pixel; NaN where unknown.

        Inverse depth is interpolated, which is linear on a plane.
        """
        height, width = self.depth.shape
        x, y = ((pixels + 0.5) * (width / self.camera.width, height / self.camera.height) - 0.5).T
        near, known = np.full(len(x), np.nan), self.camera.contains(pixels)
        x, y = np.clip(x, 0, width - 1), np.clip(y, 0, height - 1)
        near[known] = self.depth[np.rint(y[known]).astype(int), np.rint(x[known]).astype(int)]
        between = np.full(len(x), np.nan)
        coordinates = np.stack([y[known], x[known]])
        between[known] = 1 / ndimage.map_coordinates(self._inverse, coordinates, order=1, mode="nearest")
        return np.stack([between, near])

    @cached_property
    def _inverse(self) -> NDArray[np.float32]:
        return np.reciprocal(self.depth)

    @cached_property
    def smooth_rows(self) -> NDArray[np.int64]:
        """Flat indices of depth map pixels on a smooth surface, away from depth edges.

        There, inverse depth has little curvature along the row or the column. A thin trunk counts; a single leaf, or a
        pixel between two depths, does not. A pixel without neighbours, in a sparse map, counts.
        """
        inverse = self._inverse
        middle = inverse[1:-1, 1:-1]
        bends = [
            np.abs(before - 2 * middle + after) / middle
            for before, after in (
                (inverse[1:-1, :-2], inverse[1:-1, 2:]),
                (inverse[:-2, 1:-1], inverse[2:, 1:-1]),
            )
        ]
        good = np.zeros(inverse.shape, bool)
        good[1:-1, 1:-1] = np.isfinite(middle) & ~(np.fmin(*bends) > _BENT)
        return np.nonzero(good.ravel())[0]


@dataclass(frozen=True)
class DepthMaps:
    """A folder of depth maps, laid out and named like the folder of images."""

    folder: Path
    unit: float
    """Value of a stored 1 in the unit of the poses: 0.01 for centimetres with poses in metres."""

    def view(self, images: PosedImages, image: int) -> DepthView:
        """The depth of an image, given by its row, with camera and pose.

        Raises FgsnError if the file is missing or broken, or its aspect ratio differs from the image.
        """
        path = self.file(images.names[image])
        depth, camera = read_depth(path, self.unit), images.camera(image)
        height, width = depth.shape
        if abs(width * camera.height - height * camera.width) > max(camera.width, camera.height):
            raise FgsnError(
                f"{path} has {width} x {height} pixels, but the camera of its image has "
                f"{camera.width} x {camera.height}; the aspect ratios must agree"
            )
        return DepthView(camera, images.camera_from_world[image], depth)

    def file(self, name: str) -> Path:
        """The depth map of an image; FgsnError if there is none."""
        path = inside(self.folder, name)
        candidates = [path.with_suffix(suffix) for suffix in SUFFIXES]
        for candidate in candidates + [path.with_name(path.name + suffix) for suffix in SUFFIXES]:
            if is_file(candidate):
                return candidate
        raise FgsnError(f"image '{name}' has no depth map {candidates[0]} (or {', '.join(SUFFIXES[1:])})")


def read_depth(path: Path, unit: float) -> NDArray[np.float32]:
    """Read a depth map: 16-bit or floating-point image, or NumPy array, in which a stored 1 has the value `unit`.

    Returns:
        (height, width), NaN where the file has 0, a negative or non-finite value, or (in 16 bits) the largest value.

    Raises:
        FgsnError: the file is missing, broken, not a depth map, or has only 8 bits.
    """
    stored = read_array(path) if path.suffix in (".npy", ".npz") else _read_image(path)
    if stored.ndim != 2 or min(stored.shape) < 3 or stored.dtype.kind not in "fiu":
        raise FgsnError(
            f"{path} should contain one depth map (height, width), not {stored.dtype} of shape {stored.shape}"
        )
    if stored.dtype.itemsize == 1:
        raise FgsnError(f"{path} has 8 bits, too coarse for depth; save 16 bits or floating point")
    with np.errstate(over="ignore", invalid="ignore"):  # broken files contain anything
        depth = stored.astype(np.float32)
        none = ~(np.isfinite(depth) & (depth > 0))
        if stored.dtype == np.uint16:
            none |= stored == 0xFFFF
        return np.where(none, np.float32(np.nan), depth * np.float32(unit))


def _read_image(path: Path) -> NDArray[np.generic]:
    with open_image(path) as image:
        if image.mode in ("L", "P", "1", "RGB", "RGBA"):
            raise FgsnError(f"{path} is an image of mode {image.mode}; a depth map needs 16 bits or floating point")
        pixels = np.array(image)
        return pixels.astype(np.uint16) if image.mode.startswith("I") and pixels.max(initial=0) <= 0xFFFF else pixels
