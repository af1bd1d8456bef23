"""A street of labelled planes with exact label maps, on which localization is benchmarked and tested."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from fgsn.geometry.camera import Camera
from fgsn.geometry.pose import Pose
from fgsn.localization.voters import Voters

HALF_WIDTH, WALL, SKY = 8.0, 9.0, 0
CAMERA = Camera(320, 240, 260.0, 260.0, 159.5, 119.5)
LEVEL = np.array([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]])
"""Rotation `camera_from_world` of a level camera that looks along the street, +x."""
PATCH = np.array([2.5, 2.0])


@dataclass(frozen=True, eq=False)
class StreetQuery:
    """A camera in the street, its label map, and its priors."""

    camera_from_world: Pose
    labels: NDArray[np.int64]
    gravity: NDArray[np.float64]
    height: float


@dataclass(frozen=True, eq=False)
class StreetMatches:
    """Matches of query pixels to rows of the map, and which of them are correct."""

    pixels: NDArray[np.float64]
    rows: NDArray[np.int64]
    right: NDArray[np.bool_]


def label_of(surface: NDArray[Any], along: NDArray[Any], across: NDArray[Any], labels: int) -> NDArray[np.int64]:
    """Labels of points on the road (surface 0) and the walls (1, 2): a hash of the patch that a point lies in."""
    u, v = np.floor(along / PATCH[0]).astype(np.int64), np.floor(across / PATCH[1]).astype(np.int64)
    mixed = (u * 73856093) ^ (v * 19349663) ^ (surface.astype(np.int64) * 83492791 + 12345)
    mixed = (mixed ^ (mixed >> 7)) * 2654435761 % 2**32
    return 1 + (mixed >> 9) % (labels - 1)


def render(camera_from_world: Pose, camera: Camera, labels: int) -> NDArray[np.int64]:
    """The label map (H, W) of a camera in the street."""
    world_from_camera = camera_from_world.inverse()
    rays = camera.rays(camera.grid()) @ world_from_camera.rotation.T
    x0, y0, z0 = world_from_camera.translation
    with np.errstate(divide="ignore", invalid="ignore"):
        road = np.where(rays[:, 2] < 0, -z0 / rays[:, 2], np.inf)
        wall = (np.sign(rays[:, 1]) * HALF_WIDTH - y0) / rays[:, 1]
        road_first = road <= wall
        distance = np.minimum(road, wall)
        place = np.array([x0, y0, z0]) + rays * distance[:, None]
    surface = np.where(road_first, 0, np.where(rays[:, 1] > 0, 1, 2))
    sky = ~np.isfinite(distance) | (~road_first & (place[:, 2] > WALL))
    place[sky] = 0
    found = label_of(surface, place[:, 0], np.where(road_first, place[:, 1], place[:, 2]), labels)
    return np.where(sky, SKY, found).reshape(camera.height, camera.width)


def make_map(random: np.random.Generator, count: int, labels: int, length: float = 80.0) -> Voters:
    """Random points of the street, observed by cameras along its middle."""
    surface = random.integers(0, 3, count)
    x, y, z = random.uniform(0, length, count), random.uniform(-6, 6, count), random.uniform(0, WALL, count)
    side = np.where(surface == 1, HALF_WIDTH, -HALF_WIDTH)
    points = np.stack([x, np.where(surface == 0, y, side), np.where(surface == 0, 0.0, z)], axis=1)
    found = label_of(surface, x, np.where(surface == 0, y, z), labels)
    near, far = random.uniform(4, 12, count), random.uniform(15, 40, count)
    views = [np.stack([-ahead, -points[:, 1], 1.7 - points[:, 2]], axis=1) for ahead in (near, far)]
    nearest, farthest = (np.linalg.norm(view, axis=1) for view in views)
    first, second = (view / np.linalg.norm(view, axis=1, keepdims=True) for view in views)
    axis = first + second
    axis /= np.linalg.norm(axis, axis=1, keepdims=True)
    half = np.arccos(np.clip((first * second).sum(axis=1), -1, 1)) / 2
    return Voters(nearest, farthest, axis, np.maximum(half, np.deg2rad(15)), points, found)


def make_query(
    random: np.random.Generator,
    labels: int,
    camera: Camera = CAMERA,
    wrong: float = 0.0,
    gravity_degrees: float = 0.0,
    height_metres: float = 0.0,
) -> StreetQuery:
    """A random camera in the street; a share `wrong` of its label map is replaced, and its priors are noisy."""
    yaw, tilt = random.normal(0, 10), random.normal(0, 3, 3)
    turn = Rotation.from_rotvec(np.deg2rad(tilt)).as_matrix() @ LEVEL @ Rotation.from_euler("z", yaw, True).as_matrix()
    centre = np.array([random.uniform(10, 40), random.uniform(-2, 2), random.uniform(1.5, 1.9)])
    pose = Pose.from_centre(turn, centre)
    found = render(pose, camera, labels)
    block = 12
    rows, columns = -(-camera.height // block), -(-camera.width // block)
    blobs = np.kron(random.random((rows, columns)) < wrong, np.ones((block, block), bool))
    other = np.kron(random.integers(0, labels, (rows, columns)), np.ones((block, block), np.int64))
    found = np.where(blobs[: camera.height, : camera.width], other[: camera.height, : camera.width], found)
    shake = Rotation.from_rotvec(np.deg2rad(gravity_degrees) * random.normal(size=3))
    height = centre[2] + height_metres * random.normal()
    return StreetQuery(pose, found, shake.apply(-pose.rotation[:, 2]), float(height))


def make_matches(
    random: np.random.Generator, query: StreetQuery, map_points: Voters, count: int, right: int, camera: Camera = CAMERA
) -> StreetMatches:
    """`count` matches: the first `right` are correct to about a pixel, the others join random points and pixels."""
    pixels, depth = camera.project(query.camera_from_world.transform(map_points.points))
    distance = np.linalg.norm(map_points.points - query.camera_from_world.centre, axis=1)
    seen = camera.contains(pixels) & (depth > 0) & (distance > map_points.nearest) & (distance < map_points.farthest)
    seen = np.flatnonzero(seen)
    rows = random.integers(0, len(map_points), count)
    rows[:right] = random.choice(seen, right, replace=False)
    places = random.uniform((0, 0), (camera.width - 1, camera.height - 1), (count, 2))
    places[:right] = pixels[rows[:right]] + random.normal(0, 0.7, (right, 2))
    return StreetMatches(places, rows, np.arange(count) < right)
