from dataclasses import replace

import numpy as np
import pytest

import plain_scene as scene
from fgsn.correspond.views import LEAST_MOVE, ConditionViews, require_conditions, rows_by_condition
from fgsn.errors import FgsnError
from fgsn.geometry.pose import Pose
from fgsn.geometry.posed import join


def test_the_nearest_that_looks_the_same_way_is_chosen():
    here, there = scene.images("a", scene.drive(6, 0.0, 4)), scene.images("b", scene.drive(6, 0.4, 4, 0.3))
    views = ConditionViews(there, np.arange(6))
    for row in range(6):
        pose = here.camera_from_world[row]
        points = scene.look(scene.CAMERA, pose, scene.CAMERA.grid()[::13])
        points = points[np.isfinite(points).all(axis=1)]
        assert views.most_overlapping(points, pose, 1) == [row]
        assert row in views.most_overlapping(points, pose, 3)
        assert views.overlap(points, pose, row) > 0.5


def test_moved_images_come_from_before_and_behind():
    here, there = scene.images("a", scene.drive(20, 0.0, 1)), scene.images("b", scene.drive(20, 0.4, 1, 0.3))
    own, views = ConditionViews(here, np.arange(20)), ConditionViews(there, np.arange(20))
    pose = here.camera_from_world[10]
    points = scene.look(scene.CAMERA, pose, scene.CAMERA.grid()[::13])
    points = points[np.isfinite(points).all(axis=1)]
    least = LEAST_MOVE * np.quantile(np.linalg.norm(points - pose.centre, axis=1), 0.25)
    for one, excluded in ((own, 10), (views, 12)):
        for count in (1, 2, 4, 5):
            chosen = one.moved(points, pose, count, [excluded])
            assert len(set(chosen)) == count
            assert sum(row < 10 for row in chosen) == (count + 1) // 2
            assert np.linalg.norm(one.centres[chosen] - pose.centre, axis=1).min() >= least
            assert excluded not in chosen
    nearest, farther = (row for row in own.moved(points, pose, 4, []) if row < 10)
    assert farther < nearest
    assert own.moved(points, pose, 0, []) == own.moved(points[:0], pose, 2, []) == []
    # The same in another unit.
    scaled = replace(here, camera_from_world=Pose.from_centre(here.camera_from_world.rotation, 50 * own.centres))
    far = ConditionViews(scaled, np.arange(20))
    assert far.moved(50 * points, scaled.camera_from_world[10], 4, [10]) == own.moved(points, pose, 4, [10])
    assert own.targets(points, pose, 2, 2, own=10) == [(row, True) for row in own.moved(points, pose, 2, [10])]
    assert [moved for _, moved in views.targets(points, pose, 2, 2)] == [False, False, True, True]


def test_cameras_that_look_away_or_stand_far_are_not():
    here = scene.images("a", scene.drive(1, 0.0))
    pose = here.camera_from_world[0]
    back = Pose.from_centre(np.diag([-1.0, 1.0, -1.0])[None], pose.centre[None])
    far = Pose.from_centre(pose.rotation[None], pose.centre[None] + (0, 0, -300.0))
    points = scene.look(scene.CAMERA, pose, scene.CAMERA.grid()[::13])
    points = points[np.isfinite(points).all(axis=1)]
    both = join([scene.images("b", back), scene.images("c", far)])
    assert ConditionViews(both, np.arange(2)).most_overlapping(points, pose, 2) == []
    assert ConditionViews(both, np.zeros(0, np.int64)).most_overlapping(points, pose, 2) == []
    assert ConditionViews(here, np.arange(1)).most_overlapping(np.zeros((0, 3)), pose, 2) == []


def test_conditions():
    rows = rows_by_condition(["b", "a", "b"])
    assert {name: those.tolist() for name, those in rows.items()} == {"b": [0, 2], "a": [1]}
    require_conditions(rows, "a")
    with pytest.raises(FgsnError, match="no image has the reference condition 'x'; the conditions are: b, a"):
        require_conditions(rows, "x")
    with pytest.raises(FgsnError, match="all images have one condition, 'a'"):
        require_conditions({"a": rows["a"]}, "a")
