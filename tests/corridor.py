"""A toy world: labelled points in a corridor, and label maps in which every pixel shows the nearest point."""

import numpy as np
from scipy.spatial import cKDTree

from fgsn.geometry.camera import Camera
from fgsn.geometry.pose import Pose
from fgsn.tracking.confusion import Confusion
from fgsn.tracking.map_points import MapPoints

CAMERA = Camera(96, 64, 70.0, 70.0, 47.5, 31.5)
LABELS = 12
CONFUSION = Confusion(90 * np.eye(LABELS, dtype=np.int64) + 1)


def corridor(seed: int = 0, count: int = 900) -> MapPoints:
    """Points along z, around the axis at a distance of some metres."""
    rng = np.random.default_rng(seed)
    around, far = rng.uniform(0, 2 * np.pi, count), rng.uniform(2.0, 4.0, count)
    positions = np.column_stack([far * np.cos(around), far * np.sin(around), rng.uniform(0, 40, count)])
    # Neighbours share their label, as in a real map.
    seeds = positions[rng.choice(count, 150, replace=False)]
    labels = rng.integers(0, LABELS, 150)[cKDTree(seeds).query(positions)[1]]
    return MapPoints(positions, labels)


def look(points: MapPoints, pose: Pose, reach: float = 15.0) -> np.ndarray:
    """The label map that a camera sees: -1 where no point is near."""
    pixels, depth = CAMERA.project(pose.transform(points.positions))
    seen = (depth > 0.1) & (depth < reach)
    apart, row = cKDTree(pixels[seen]).query(CAMERA.grid())
    labels = np.where(apart < 5, points.labels[seen][row], -1)
    return labels.reshape(CAMERA.height, CAMERA.width)


def straight(z: float, x: float = 0.0, y: float = 0.0) -> Pose:
    return Pose.from_centre(np.eye(3), [x, y, z])
