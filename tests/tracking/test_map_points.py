import numpy as np
import pytest
import torch

from fgsn.errors import FgsnError
from fgsn.geometry.camera import Camera
from fgsn.geometry.visibility import Visibility
from fgsn.tracking.map_points import MapPoints, MapTensors

CAMERA = Camera(40, 30, 35.0, 34.0, 19.5, 14.5)


def in_view(points: MapPoints, metres: float = 0.0, radians: float = 0.0, most: int = 10**6) -> list[int]:
    seen = MapTensors(points, 5, np.zeros(3), torch.device("cpu"))
    generator = torch.Generator().manual_seed(0)
    return sorted(seen.in_view(torch.eye(3), torch.zeros(3), CAMERA, metres, radians, most, generator).tolist())


def test_frustum_is_that_of_the_camera():
    rng = np.random.default_rng(0)
    points = MapPoints(rng.uniform(-8, 8, (500, 3)), rng.integers(0, 5, 500))
    pixels, depth = CAMERA.project(points.positions)
    inside = (depth > 0) & np.all((pixels >= -0.5) & (pixels <= (39.5, 29.5)), axis=1)
    assert in_view(points) == np.flatnonzero(inside).tolist()
    assert set(in_view(points)) < set(in_view(points, metres=1.0)) < set(in_view(points, metres=1.0, radians=0.2))
    assert len(in_view(points, most=7)) == 7


def test_cones_and_reach():
    count = 4
    seen_from = Visibility(
        nearest=np.array([4.0, 4.0, 8.0, 1.0]),
        farthest=np.array([6.0, 6.0, 9.0, 2.0]),
        axis=np.array([[0, 0, -1.0], [0, 0, 1.0], [0, 0, -1.0], [0, 0, -1.0]]),
        half_angle=np.zeros(count, np.float32),
    )
    points = MapPoints(np.tile([0.0, 0.0, 5.0], (count, 1)), np.zeros(count, int), seen_from)
    assert in_view(points) == [0]  # the others: from behind, too near, too far
    assert in_view(points, metres=3.5) == [0, 2, 3]


def test_bad_maps():
    with pytest.raises(FgsnError, match="points"):
        MapPoints(np.zeros((3, 3)), np.zeros(2, int))
    with pytest.raises(FgsnError, match="points"):
        MapPoints(np.zeros((0, 3)), np.zeros(0, int))
    with pytest.raises(FgsnError, match="not finite"):
        MapPoints(np.full((1, 3), np.nan), np.zeros(1, int))
    with pytest.raises(FgsnError, match="one of the 5 labels"):
        in_view(MapPoints(np.ones((2, 3)), np.array([-1, 5])))
