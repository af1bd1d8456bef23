"""Whether two maps of one place lie in the same frame: their points must lie on the same surfaces."""

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from fgsn.correspond.point_map import Array
from fgsn.errors import FgsnError
from fgsn.geometry.colmap import Reconstruction

_SAMPLES = 20_000
_ROUNDS = 20
_NEIGHBOURS = 10  # that a plane is laid through
_FAR = 4.0  # times as far from the other map's points as those lie from each other: not the same surfaces
_DISPLACED = 1.5  # times the reach


def require_same_frame(
    one: Reconstruction, other: Reconstruction, conditions: tuple[str, str], reach: float
) -> None:
    """Refuse two maps that do not share places, or whose frames differ.

    Args:
        one: the map of the reference.
        other: the map of another condition.
        conditions: names of both.
        reach: pixels by which points may lie apart.

    Raises:
        FgsnError: the message says how they differ.
    """
    name, other_name = conditions
    depth = _typical_depth(one)
    centres = one.camera_from_world.centre
    apart, _ = cKDTree(centres).query(other.camera_from_world.centre)
    near = apart < depth
    if not near.any():
        raise FgsnError(
            f"no camera of '{other_name}' comes near one of '{name}' (the nearest is {apart.min():.3g} away, things are "
            f"{depth:.3g} from the cameras): the models are in different frames, or show different places"
        )
    points = _shared(other, near)
    tree = cKDTree(one.points)
    spacing = float(np.median(tree.query(_some(one.points), k=2)[0][:, 1]))
    away, _ = tree.query(points)
    if np.median(away) > _FAR * spacing:
        raise FgsnError(
            f"the models of '{name}' and '{other_name}' are in different frames: points of the one lie {np.median(away):.3g} "
            f"from those of the other, which lie {spacing:.3g} from each other; register them to each other first"
        )
    focal = float(np.median([camera.fx for camera in one.cameras]))
    shift = _displacement(points, one.points, 4 * max(spacing, float(np.median(away)))) * focal / depth
    if shift > _DISPLACED * reach:
        raise FgsnError(
            f"the models of '{name}' and '{other_name}' are displaced against each other by about {shift:.0f} pixels; "
            "register them to each other first"
        )


def _typical_depth(model: Reconstruction) -> float:
    """Median distance between a point and a camera that observes it."""
    centres = model.camera_from_world.centre[model.track_image]
    return float(np.median(np.linalg.norm(model.points[model.track_point] - centres, axis=1)))


def _shared(model: Reconstruction, images: NDArray[np.bool_]) -> Array:
    """Points that any of the images observes."""
    return _some(model.points[np.unique(model.track_point[images[model.track_image]])])


def _some(points: Array) -> Array:
    return points[:: max(1, len(points) // _SAMPLES)]


def _displacement(points: Array, surface: Array, radius: float) -> float:
    """By how much points (N, 3) move, in the median, when a similarity is fitted that lays them onto a surface (M, 3).

    Point-to-plane iterative closest points: the planes are laid through neighbours of the surface's points, since two
    maps have points on the same surfaces, but hardly the same points.
    """
    tree = cKDTree(surface)
    _, neighbours = tree.query(surface, k=min(_NEIGHBOURS, len(surface)))
    around = surface[neighbours] - surface[neighbours].mean(axis=1, keepdims=True)
    _, normals = np.linalg.eigh(np.einsum("nki,nkj->nij", around, around))
    normals = normals[:, :, 0]
    moved = points
    for _ in range(_ROUNDS):
        apart, nearest = tree.query(moved)
        off = np.einsum("ni,ni->n", surface[nearest] - moved, normals[nearest])
        near = apart < radius
        near &= np.abs(off) < 3 * np.median(np.abs(off[near])) if near.any() else near
        if near.sum() < 2 * _NEIGHBOURS:
            return float(np.inf)
        middle = moved[near].mean(axis=0)
        arm = (moved[near] - middle) / radius
        normal = normals[nearest[near]]
        sides = np.column_stack([np.cross(arm, normal), normal, np.einsum("ni,ni->n", arm, normal)])
        # What the surface does not determine, such as sliding along one wall, stays as it is.
        step = np.linalg.lstsq(sides, off[near], rcond=0.02)[0] / radius
        turn = Rotation.from_rotvec(step[:3]).as_matrix()
        moved = (moved - middle) @ turn.T * (1 + step[6]) + middle + step[3:6] * radius
    return float(np.median(np.linalg.norm(moved - points, axis=1)))
