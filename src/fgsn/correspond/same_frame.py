"""Whether two maps of one place lie in the same frame: their points must lie on the same surfaces."""

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree
from scipy.spatial.transform import Rotation

from fgsn.correspond.same_surface import Array, nearest
from fgsn.errors import FgsnError
from fgsn.geometry.colmap import Reconstruction

_SAMPLES = 20_000
_ROUNDS = 20
_NEIGHBOURS = 10  # that a plane is laid through
_FAR = 4.0  # times as far from the other map's points as those lie from each other: not the same surfaces


def displacement(one: Reconstruction, other: Reconstruction, conditions: tuple[str, str], largest: float) -> float:
    """By how many pixels two maps are displaced against each other; those whose frames differ are refused.

    Args:
        one: the map of the reference.
        other: the map of another condition.
        conditions: names of both.
        largest: refuse more pixels than this.

    Returns:
        How far a similarity that lays the points of the other map onto the surfaces of the one moves them, in pixels
        of the images that see them, in the median.

    Raises:
        FgsnError: the maps share no place, or are displaced by more; the message says how they differ.
    """
    name, other_name = conditions
    depth = _typical_depth(one)
    centres = one.camera_from_world.centre
    apart, _ = nearest(KDTree(centres), other.camera_from_world.centre)
    near = apart < depth
    if not near.any():
        raise FgsnError(
            f"no camera of '{other_name}' comes near one of '{name}' (the nearest is {apart.min():.3g} away, what they "
            f"see {depth:.3g}): the models are in different frames, or show different places"
        )
    points, distances = _shared(other, near)
    tree = KDTree(one.points)
    spacing = float(np.median(tree.query(_some(one.points), k=2)[0][:, 1]))
    away, _ = nearest(tree, points)
    if np.median(away) > _FAR * spacing:
        raise FgsnError(
            f"the models of '{name}' and '{other_name}' are in different frames: points of the one lie "
            f"{np.median(away):.3g} from those of the other, which lie {spacing:.3g} from each other; register them to "
            "each other first"
        )
    moved = _laid_on(points, one.points, 4 * max(spacing, float(np.median(away))))
    focal = float(np.median([camera.fx for camera in one.cameras]))
    shift = float(np.median(np.linalg.norm(moved - points, axis=1) / distances)) * focal
    if shift > largest:
        raise FgsnError(
            f"the models of '{name}' and '{other_name}' are displaced against each other by about {shift:.1f} pixels; "
            "register them to each other first"
        )
    return shift


def _typical_depth(model: Reconstruction) -> float:
    """Median distance between a point and a camera that observes it."""
    centres = model.camera_from_world.centre[model.track_image]
    return float(np.median(np.linalg.norm(model.points[model.track_point] - centres, axis=1)))


def _shared(model: Reconstruction, images: NDArray[np.bool_]) -> tuple[Array, Array]:
    """Points (N, 3) that any of the images observes, and from how far (N,) one of them does."""
    rows = np.nonzero(images[model.track_image])[0]
    shared, first = np.unique(model.track_point[rows], return_index=True)
    offset = model.points[shared] - model.camera_from_world.centre[model.track_image[rows[first]]]
    return _some(model.points[shared]), _some(np.linalg.norm(offset, axis=1))


def _some(points: Array) -> Array:
    return points[:: max(1, len(points) // _SAMPLES)]


def _laid_on(points: Array, surface: Array, radius: float) -> Array:
    """Points (N, 3) after the similarity that lays them onto a surface, of which points (M, 3) are given.

    Point-to-plane iterative closest points: the planes are laid through neighbours of the surface's points, since two
    maps have points on the same surfaces, but hardly the same points.
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
        # What the surface does not determine, such as sliding along one wall, stays as it is.
        step = np.linalg.lstsq(sides, off[near], rcond=0.02)[0] / radius
        turn = Rotation.from_rotvec(step[:3]).as_matrix()
        moved = (moved - middle) @ turn.T * (1 + step[6]) + middle + step[3:6] * radius
    return moved
