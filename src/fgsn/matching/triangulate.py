"""Map points for images of known pose: matches within one condition, linked into tracks and triangulated.

Poses stay fixed. Observations that do not fit their point are dropped, so wrong matches do little harm.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from fgsn.errors import FgsnError
from fgsn.geometry.colmap import Reconstruction
from fgsn.geometry.pose import Pose
from fgsn.geometry.posed import PosedImages

Array = NDArray[np.float64]
Rows = NDArray[np.int64]
LARGEST_ERROR = 4.0
"""Largest reprojection error of an observation, in pixels."""
SMALLEST_ANGLE = np.deg2rad(1.0)
"""Approximate angle between the rays of a point in radians; below it, the depth is unreliable."""
_NEAREST = 1e-6
_ROUNDS = 3


def triangulate(
    images: PosedImages, keypoints: Sequence[Array], matches: Iterable[tuple[int, int, Rows]]
) -> Reconstruction:
    """Build a map from keypoints that were matched between images of known pose.

    Args:
        images: N images with poses, of one condition, with the (K, 2) pixels of their keypoints.
        matches: rows of two images, and (M, 2) rows of the matched keypoints in them.

    Returns:
        The map; its points are grey.

    Raises:
        FgsnError: no point could be triangulated.
    """
    first = np.cumsum([0, *(len(pixels) for pixels in keypoints)])
    links = []
    for one, other, rows in matches:
        here, there = keypoints[one][rows[:, 0]], keypoints[other][rows[:, 1]]
        good = consistent(images, one, other, here, there)
        links.append((first[one] + rows[good, 0], first[other] + rows[good, 1]))
    image = np.repeat(np.arange(len(keypoints)), np.diff(first))
    pixels = np.concatenate([np.zeros((0, 2)), *keypoints])
    track, node = _tracks(links, image)
    image, pixels = image[node], pixels[node]
    rays = np.empty((len(image), 3))
    for row in np.unique(image):
        mine = image == row
        rays[mine] = images.camera(row).rays(pixels[mine])
    points = np.zeros((0, 3))
    for _ in range(2):  # again without the observations that did not fit
        count = int(track.max(initial=-1)) + 1
        points, good = nearest_to_rays(track, rays, images.camera_from_world[image], count)
        fits = good[track]
        for row in np.unique(image):
            mine = np.nonzero((image == row) & fits)[0]
            off = np.linalg.norm(images.project(row, points[track[mine]])[0] - pixels[mine], axis=1)
            fits[mine] = off < LARGEST_ERROR
        track, image, pixels, rays, node = track[fits], image[fits], pixels[fits], rays[fits], node[fits]
        often = np.bincount(track, minlength=count) >= 2
        kept, number = often[track], np.cumsum(often) - 1
        track, image, pixels, rays, node = number[track[kept]], image[kept], pixels[kept], rays[kept], node[kept]
        points = points[often]
    if not len(points):
        raise FgsnError(f"no point could be triangulated from {len(keypoints)} images: too few matches fit the poses")
    grey = np.full((len(points), 3), 128, np.uint8)
    return Reconstruction(
        **vars(images), points=points, colours=grey, track_point=track, track_image=image, track_pixels=pixels,
        key_points=list(keypoints), track_keypoint=node - first[image],
    )  # fmt: skip


def nearest_to_rays(point: Rows, rays: Array, camera_from_world: Pose, count: int) -> tuple[Array, NDArray[np.bool_]]:
    """The points nearest to the rays of their observations, weighted so that errors in pixels count the same.

    Args:
        point: (T,) index of the observed point.
        rays: (T, 3) direction of each observation in its camera frame.

    Returns:
        Points (count, 3), and which of them (count,) are well determined; the others are NaN.
    """
    rays = np.einsum("ij,ijk->ik", rays / np.linalg.norm(rays, axis=1, keepdims=True), camera_from_world.rotation)
    centres, weight = camera_from_world.centre, np.ones(len(rays))
    often = np.bincount(point, minlength=count) >= 2
    points, good = np.full((count, 3), np.nan), often
    for _ in range(_ROUNDS):  # first with equal weights, then weighted by inverse squared distance
        across = weight[:, None, None] * (np.eye(3) - rays[:, :, None] * rays[:, None, :])
        towards = np.einsum("ijk,ik->ij", across, centres)
        left = np.stack([np.bincount(point, column, count) for column in across.reshape(-1, 9).T], axis=1)
        right = np.stack([np.bincount(point, column, count) for column in towards.T], axis=1)
        left = left.reshape(-1, 3, 3)
        spread = np.linalg.eigvalsh(left)
        good = often & (spread[:, 0] > (SMALLEST_ANGLE / 2) ** 2 * spread[:, 2])
        points = np.full((count, 3), np.nan)
        points[good] = np.linalg.solve(left[good], right[good][:, :, None])[:, :, 0]
        distance = np.linalg.norm(points[point] - centres, axis=1)
        weight = 1 / np.maximum(np.nan_to_num(distance, nan=1.0), _NEAREST) ** 2
    return points, good


def consistent(
    images: PosedImages, one: int, other: int, pixels: Array, others: Array, largest: float = LARGEST_ERROR
) -> NDArray[np.bool_]:
    """Which matches (M,), at (M, 2) pixels of two images, can be triangulated in front of both, within `largest`."""
    count = len(pixels)
    rays = np.concatenate([images.camera(one).rays(pixels), images.camera(other).rays(others)])
    rows = np.repeat([one, other], count)
    points, good = nearest_to_rays(np.tile(np.arange(count), 2), rays, images.camera_from_world[rows], count)
    for row, seen in ((one, pixels), (other, others)):
        off = np.linalg.norm(images.project(row, points)[0] - seen, axis=1)
        good = good & (off < largest)  # False for NaN, behind the camera
    return good


def _tracks(links: list[tuple[Rows, Rows]], image: Rows) -> tuple[Rows, Rows]:
    """Connected keypoints, at most one of each image: track (T,) and keypoint (T,); other components are left out."""
    if not links:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    one, other = (np.concatenate(column) for column in zip(*links, strict=True))
    graph = coo_array((np.ones(len(one), bool), (one, other)), shape=(len(image), len(image)))
    _, track = connected_components(graph, directed=False)
    pair, first, times = np.unique(np.column_stack([track, image]), axis=0, return_index=True, return_counts=True)
    clean = np.bincount(pair[:, 0], times > 1) == 0
    often = np.bincount(pair[:, 0]) >= 2
    kept = (clean & often)[pair[:, 0]]
    _, number = np.unique(pair[kept, 0], return_inverse=True)
    return number, first[kept]
