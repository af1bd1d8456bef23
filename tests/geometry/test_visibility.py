from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from fgsn.geometry.pose import Pose
from fgsn.geometry.visibility import visibility_of
from localization.toy import observed, toy_model


def test_a_slow_loop_finds_the_same():
    rng = np.random.default_rng(1)
    model = toy_model(images=9, points=40)
    centres = rng.normal(0, 3, (9, 3))
    model = replace(model, camera_from_world=Pose.from_centre(np.tile(np.eye(3), (9, 1, 1)), centres))
    keep = rng.permutation(np.nonzero(rng.random(len(model.track_point)) < 0.4)[0])
    keep = keep[model.track_point[keep] != 3]
    model = observed(model, keep)
    seen = visibility_of(model, smallest_half_angle=5.0)
    for point in range(40):
        offsets = centres[model.track_image[model.track_point == point]] - model.points[point]
        if not len(offsets):
            assert (seen.nearest[point], seen.farthest[point], *seen.axis[point]) == (0, 0, 0, 0, 0)
            continue
        distances = np.linalg.norm(offsets, axis=1)
        directions = offsets / distances[:, None]
        assert seen.nearest[point] == pytest.approx(distances.min(), rel=1e-6)
        assert seen.farthest[point] == pytest.approx(distances.max(), rel=1e-6)
        pairs = [*combinations(directions, 2)] or [(directions[0], directions[0])]
        one, other = min(pairs, key=lambda pair: float(pair[0] @ pair[1]))
        angle = np.arccos(np.clip(one @ other, -1, 1))
        axis = (one + other) / np.linalg.norm(one + other)
        assert seen.axis[point] == pytest.approx(axis, abs=1e-5)
        assert seen.half_angle[point] == pytest.approx(max(angle / 2, np.radians(5)), abs=1e-5)
    assert seen.nearest[3] == 0


def test_points_seen_once_get_the_floor_and_every_camera_is_in_its_cone():
    model = toy_model(images=5, points=30)
    seen = visibility_of(model, smallest_half_angle=0.0)
    offsets = model.camera_from_world.centre[model.track_image] - model.points[model.track_point]
    cosines = np.einsum("nd,nd->n", offsets / np.linalg.norm(offsets, axis=1)[:, None], seen.axis[model.track_point])
    # The cameras stand on a line, so the two outermost hold all others between them.
    assert (np.arccos(np.clip(cosines, -1, 1)) <= seen.half_angle[model.track_point] + 1e-3).all()
    once = model.track_image == 2
    assert visibility_of(observed(model, once), 10.0).half_angle == pytest.approx(np.radians(10))


def test_seen_from_opposite_sides():
    model = toy_model(images=2, points=1)
    centres = model.points[0] + np.array([[1.0, 0, 0], [-1, 0, 0]])
    model = replace(model, camera_from_world=Pose.from_centre(np.tile(np.eye(3), (2, 1, 1)), centres))
    seen = visibility_of(model, 10.0)
    assert seen.half_angle[0] == pytest.approx(np.pi)
    assert np.linalg.norm(seen.axis[0]) == pytest.approx(1)
