"""Exact correspondences between two images of a place, and map points of the reference drive, by ray casting."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from fgsn.world.scene import FARTHEST, SceneCamera

Array = NDArray[np.float64]
_SAMPLES_PER_POINT = 5
_LARGEST_SHARE = 0.35  # largest share of one semantic class, so that the road does not dominate


def exact_correspondences(
    reference: SceneCamera, target: SceneCamera, points: int, rng: np.random.Generator
) -> tuple[Array, Array]:
    """Pixels (N, 2) of the reference and of the target that show the same static point; N <= points."""
    camera = reference.camera
    pixels = rng.uniform((0, 0), (camera.width - 1, camera.height - 1), (points * _SAMPLES_PER_POINT, 2))
    world, part = reference.cast_pixels(pixels)
    static = reference.scene.static[part]
    pixels, world, part = pixels[static], world[static], part[static]
    _, depth = camera.project(reference.pose.transform(world))
    near = depth < FARTHEST
    pixels, world, part = pixels[near], world[near], part[near]
    others, seen = target.visible(world, part)
    pixels, others, label = pixels[seen], others[seen], reference.scene.label[part[seen]]
    # A ray may hit a wire thinner than a pixel where both images show sky: the pixels must have its label.
    shown = (reference.labels(np.rint(pixels)) == label) & (target.labels(np.rint(others)) == label)
    pixels, others, label = pixels[shown], others[shown], label[shown]
    return tuple(column[_balanced(label, points)] for column in (pixels, others))  # type: ignore[return-value]


def _balanced(label: NDArray[np.uint8], points: int) -> NDArray[np.int64]:
    """The first rows, at most `points`, such that no class exceeds its share."""
    rank = np.empty(len(label), np.int64)
    for value in np.unique(label):
        mine = np.nonzero(label == value)[0]
        rank[mine] = np.arange(len(mine))
    return np.nonzero(rank < max(1, int(_LARGEST_SHARE * min(points, len(label)))))[0][:points]


@dataclass(frozen=True, eq=False)
class MapPiece:
    """Map points created at one place, with all their observations."""

    points: Array
    """(M, 3) in the world."""
    colours: NDArray[np.uint8]
    """(M, 3) RGB."""
    track_point: NDArray[np.int64]
    """(T,) row of `points` of each observation."""
    track_place: NDArray[np.int64]
    """(T,) place of its image."""
    track_pixels: Array
    """(T, 2) its pixel."""


def map_points(
    image: NDArray[np.uint8], place: int, cameras: dict[int, SceneCamera], points: int, rng: np.random.Generator
) -> MapPiece:
    """Select static points where the image of `place` is textured, and find the images that observe them.

    `cameras` are those of this place and its neighbours, by place. There are at most `points` points; those observed
    only once are dropped.
    """
    here = cameras[place]
    structure = ndimage.gaussian_gradient_magnitude(image.astype(np.float32).mean(axis=2), 1.0).ravel() + 0.5
    count = min(points * 3, structure.size // 4)
    chosen = rng.choice(structure.size, count, replace=False, p=structure / structure.sum())
    pixels = here.camera.grid()[chosen]
    world, part = here.cast_pixels(pixels)
    _, depth = here.camera.project(here.pose.transform(world))
    good = here.scene.static[part] & (depth < 60)
    rows = np.nonzero(good)[0]
    rows = rows[_balanced(here.scene.label[part[rows]], points)]
    world, part = world[rows], part[rows]
    tracks = []
    for other, camera in sorted(cameras.items()):
        seen_at, seen = camera.visible(world, part)
        mine = np.nonzero(seen)[0]
        tracks.append((mine, np.full(len(mine), other), seen_at[mine]))
    point, where, at = (np.concatenate(columns) for columns in zip(*tracks, strict=True))
    often = np.bincount(point, minlength=len(world)) >= 2
    number = np.cumsum(often) - 1
    kept = often[point]
    x, y = pixels[rows[often]].astype(int).T
    return MapPiece(world[often], image[y, x], number[point[kept]], where[kept], at[kept])
