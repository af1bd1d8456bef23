"""Correspondences between two images of a place, and the map of the reference drive: exact, by casting rays."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from fgsn.geometry.camera import Camera
from fgsn.geometry.pose import Pose
from fgsn.world.scene import Scene

Array = NDArray[np.float64]
_FARTHEST = 100.0  # metres; beyond, an error of pose hardly moves a pixel
_SAMPLES_PER_POINT = 5
_LARGEST_SHARE = 0.35  # of one semantic class among the correspondences, so that the road does not fill them


@dataclass(frozen=True, eq=False)
class Eye:
    """A camera in a scene: what it sees can be asked for any pixel."""

    scene: Scene
    camera: Camera
    pose: Pose
    """`camera_from_world`"""

    def look(self, pixels: Array) -> tuple[Array, NDArray[np.int64]]:
        """World points (N, 3) seen at pixels (N, 2), NaN for the sky, and the parts (N,) that they lie on."""
        directions = np.einsum("ij,jk->ik", self.camera.rays(pixels), self.pose.rotation).astype(np.float32)
        origins = np.broadcast_to(self.pose.centre.astype(np.float32), directions.shape).copy()
        hits = self.scene.cast(origins, directions)
        depth = np.where(hits.part >= 0, hits.depth, np.nan).astype(np.float64)
        return self.pose.inverse().transform(self.camera.unproject(pixels, depth)), hits.part

    def labels(self, pixels: Array) -> NDArray[np.uint8]:
        """Semantic labels (N,) at pixels (N, 2)."""
        return self.scene.label[self.look(pixels)[1]]

    def sees(self, points: Array, parts: NDArray[np.int64]) -> tuple[Array, NDArray[np.bool_]]:
        """Where points (N, 3) on parts (N,) are projected to, and which of them are really seen there.

        A point is seen when the ray through its projection meets the same part at the same place.
        """
        pixels, depth = self.camera.project(self.pose.transform(points))
        seen = self.camera.contains(pixels) & (depth < _FARTHEST)
        rows = np.nonzero(seen)[0]
        found, part = self.look(pixels[rows])
        apart = np.linalg.norm(found - points[rows], axis=1)
        seen[rows] = (part == parts[rows]) & (apart < 0.01 + 0.0005 * depth[rows])
        return pixels, seen


def correspond(reference: Eye, target: Eye, points: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Pixels (N, 2) of the reference and of the target that show the same spot of something static; N <= points."""
    camera = reference.camera
    pixels = rng.uniform((0, 0), (camera.width - 1, camera.height - 1), (points * _SAMPLES_PER_POINT, 2))
    world, part = reference.look(pixels)
    static = reference.scene.static[part]
    pixels, world, part = pixels[static], world[static], part[static]
    _, depth = camera.project(reference.pose.transform(world))
    near = depth < _FARTHEST
    pixels, world, part = pixels[near], world[near], part[near]
    others, seen = target.sees(world, part)
    pixels, others, label = pixels[seen], others[seen], reference.scene.label[part[seen]]
    # A wire thinner than a pixel may be hit where both images show sky: the pixels must show the thing itself.
    shown = (reference.labels(np.rint(pixels)) == label) & (target.labels(np.rint(others)) == label)
    pixels, others, label = pixels[shown], others[shown], label[shown]
    return tuple(column[_balanced(label, points)] for column in (pixels, others))  # type: ignore[return-value]


def _balanced(label: NDArray[np.uint8], points: int) -> NDArray[np.int64]:
    """The first rows, at most `points`, with no class above its share."""
    rank = np.empty(len(label), np.int64)
    for value in np.unique(label):
        mine = np.nonzero(label == value)[0]
        rank[mine] = np.arange(len(mine))
    return np.nonzero(rank < max(1, int(_LARGEST_SHARE * min(points, len(label)))))[0][:points]


@dataclass(frozen=True, eq=False)
class MapPiece:
    """Map points first seen at one place, with all observations of them."""

    points: Array
    """(M, 3) in the world."""
    colours: NDArray[np.uint8]
    """(M, 3)"""
    track_point: NDArray[np.int64]
    """(T,) row of `points`."""
    track_place: NDArray[np.int64]
    """(T,) place of the observing image."""
    track_pixels: Array
    """(T, 2)"""


def map_points(
    image: NDArray[np.uint8], place: int, eyes: dict[int, Eye], points: int, rng: np.random.Generator
) -> MapPiece:
    """Choose static points where the image of `place` has structure, and find the images that see them.

    Args:
        image: (height, width, 3) the image of the place.
        place: its number.
        eyes: the cameras of this place and its neighbours.
        points: how many points to choose, at most; those seen only once are left out.
        rng: random numbers.
    """
    camera = eyes[place].camera
    structure = ndimage.gaussian_gradient_magnitude(image.astype(np.float32).mean(axis=2), 1.0).ravel() + 0.5
    count = min(points * 3, structure.size // 4)
    chosen = rng.choice(structure.size, count, replace=False, p=structure / structure.sum())
    pixels = camera.grid()[chosen]
    world, part = eyes[place].look(pixels)
    _, depth = camera.project(eyes[place].pose.transform(world))
    good = eyes[place].scene.static[part] & (depth < 60)
    rows = np.nonzero(good)[0]
    rows = rows[_balanced(eyes[place].scene.label[part[rows]], points)]
    world, part = world[rows], part[rows]
    tracks = []
    for other, eye in sorted(eyes.items()):
        seen_at, seen = eye.sees(world, part)
        mine = np.nonzero(seen)[0]
        tracks.append((mine, np.full(len(mine), other), seen_at[mine]))
    point, where, at = (np.concatenate(columns) for columns in zip(*tracks, strict=True))
    often = np.bincount(point, minlength=len(world)) >= 2
    number = np.cumsum(often) - 1
    kept = often[point]
    x, y = pixels[rows[often]].astype(int).T
    return MapPiece(world[often], image[y, x], number[point[kept]], where[kept], at[kept])
