"""Check that two maps of one place share a frame: their points must lie on the same surfaces."""

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree
from scipy.spatial.transform import Rotation

from fgsn.correspond.same_surface import Array, nearest
from fgsn.errors import FgsnError
from fgsn.geometry.colmap import Reconstruction

_SAMPLES = 20_000
_ROUNDS = 20
_NEIGHBOURS = 10  # that define a plane
_FAR = 4.0  # times the point spacing of the other map; farther points are on different surfaces


def displacement(one: Reconstruction, other: Reconstruction, conditions: tuple[str, str], largest: float) -> float:
    """Displacement of two maps against each other, in pixels.

    Args:
        one: the map of the reference.
        other: the map of another condition.
        conditions: names of both.
        largest: largest accepted displacement, in pixels.

    Returns:
        How far a similarity that aligns the points of the other map with the surfaces of the one moves them: the
        median, in pixels of the images that see them.

    Raises:
        FgsnError: the maps share no place, differ in their frames, or are displaced by more than `largest`.
    """
    name, other_name = conditions
    depth = _typical_depth(one)
    centres = one.camera_from_world.centre
    apart, _ = nearest(KDTree(centres), other.camera_from_world.centre)
    near = apart < depth
    if not near.any():
        raise FgsnError(
            f"no camera of '{other_name}' is near a camera of '{name}' (the nearest is {apart.min():.3g} away, their "
            f"points {depth:.3g}): the models are in different frames, or show different places"
        )
    points, distances = _shared(other, near)
    tree = KDTree(one.points)
    spacing = float(np.median(tree.query(_subsample(one.points), k=2)[0][:, 1]))
    away, _ = nearest(tree, points)
    if np.median(away) > _FAR * spacing:
        raise FgsnError(
            f"the models of '{name}' and '{other_name}' are in different frames: points of the second lie "
            f"{np.median(away):.3g} from points of the first, whose spacing is {spacing:.3g}; register the models "
            "to each other first"
        )
    moved = _align(points, one.points, 4 * max(spacing, float(np.median(away))))
    focal = float(np.median([camera.fx for camera in one.cameras]))
    shift = float(np.median(np.linalg.norm(moved - points, axis=1) / distances)) * focal
    if shift > largest:
        raise FgsnError(
            f"the models of '{name}' and '{other_name}' are displaced by about {shift:.1f} pixels; register them to "
            "each other first"
        )
    return shift


def _typical_depth(model: Reconstruction) -> float:
    """Median distance between a point and a camera that observes it."""
    centres = model.camera_from_world.centre[model.track_image]
    return float(np.median(np.linalg.norm(model.points[model.track_point] - centres, axis=1)))


def _shared(model: Reconstruction, images: NDArray[np.bool_]) -> tuple[Array, Array]:
    """Points (N, 3) that any of the images observes, and the distance (N,) of one observing camera."""
    rows = np.nonzero(images[model.track_image])[0]
    shared, first = np.unique(model.track_point[rows], return_index=True)
    offset = model.points[shared] - model.camera_from_world.centre[model.track_image[rows[first]]]
    return _subsample(model.points[shared]), _subsample(np.linalg.norm(offset, axis=1))


def _subsample(points: Array) -> Array:
    return points[:: max(1, len(points) // _SAMPLES)]


def _align(points: Array, surface: Array, radius: float) -> Array:
    """Points (N, 3) after the similarity that aligns them with a surface, given by points (M, 3).

    Point-to-plane iterative closest point with planes through the neighbours of the surface points, since two maps have
    points on the same surfaces, but rarely the same points.
    """
    tree = KDTree(surface)
    _, neighbours = tree.query(surface, k=min(_NEIGHBOURS, len(surface)))
    around = surface[neighbours] - surface[neighbours].mean(axis=1, keepdims=True)
    _, normals = np.linalg.eigh(np.einsum("nki,nkj->nij", around, around))
    normals = normals[:, :, 0]
    moved = points
    for _ in range(_ROUNDS):
        apart, row = nearest(tree, moved)
        off = np.einsum("ni,ni->n", surface[row] - moved, normals[row])
        near = apart < radius
        near &= np.abs(off) < 3 * np.median(np.abs(off[near])) if near.any() else near
        if near.sum() < 2 * _NEIGHBOURS:
            return points
        middle = moved[near].mean(axis=0)
        arm = (moved[near] - middle) / radius
        normal = normals[row[near]]
        sides = np.column_stack([np.cross(arm, normal), normal, np.einsum("ni,ni->n", arm, normal)])
        # Directions that the surface does not constrain, such as sliding along one wall, stay unchanged.
        step = np.linalg.lstsq(sides, off[near], rcond=0.02)[0] / radius
        turn = Rotation.from_rotvec(step[:3]).as_matrix()
        moved = (moved - middle) @ turn.T * (1 + step[6]) + middle + step[3:6] * radius
    return moved
