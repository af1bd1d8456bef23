import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from scipy.stats import binomtest

from fgsn.evaluation.pose_metrics import pose_errors, pose_metrics, wilson
from fgsn.geometry.pose import Pose


def test_errors_are_of_centres_and_rotations():
    rng = np.random.default_rng(0)
    rotations, centres = Rotation.random(50, rng=rng), rng.normal(0, 500, (50, 3))
    angles = np.concatenate([[0, 1e-7, 1e-3, 180, 179.9], rng.uniform(0, 180, 45)])
    axes = rng.normal(size=(50, 3))
    turns = Rotation.from_rotvec(np.radians(angles)[:, None] * axes / np.linalg.norm(axes, axis=1)[:, None])
    shift = rng.normal(0, 1, (50, 3))
    truth = Pose.from_centre(rotations.as_matrix(), centres)
    estimated = Pose.from_centre((turns * rotations).as_matrix(), centres + shift)
    found_distances, found_angles = pose_errors(estimated, truth)
    assert found_distances == pytest.approx(np.linalg.norm(shift, axis=1), abs=1e-9)
    assert found_angles == pytest.approx(angles, abs=1e-5)


def test_a_pose_that_is_not_there_is_infinitely_wrong():
    nothing = Pose(np.full((2, 3, 3), np.nan), np.full((2, 3), np.nan))
    truth = Pose(np.tile(np.eye(3), (2, 1, 1)), np.zeros((2, 3)))
    assert [error.tolist() for error in pose_errors(nothing, truth)] == [[np.inf] * 2] * 2


def test_recall_counts_missing_poses_as_failures():
    distances = np.array([0.25, 0.2, 0.4, 4.0, 0.1, np.inf, np.nan, 60.0])
    angles = np.array([2.0, 2.1, 1.0, 9.0, 20.0, np.inf, 0.0, 1.0])
    metrics = pose_metrics(distances, angles)
    assert metrics["queries"] == 8
    assert metrics["localized"] == 6
    assert metrics["recall"] == [12.5, 37.5, 50.0]
    assert metrics["median_metres_localized"] == pytest.approx(0.325)
    assert metrics["median_metres"] == pytest.approx(4.0)  # the upper middle of 8
    assert json.loads(json.dumps(metrics, allow_nan=False)) == metrics


def test_no_pose_at_all_gives_metrics_that_json_can_hold():
    metrics = pose_metrics(np.full(3, np.inf), np.full(3, np.inf))
    assert metrics["recall"] == [0, 0, 0]
    assert (metrics["median_metres"], metrics["median_degrees_localized"]) == (None, None)
    json.dumps(metrics, allow_nan=False)


@settings(deadline=None)
@given(st.integers(1, 500), st.floats(0, 1))
def test_wilson_is_scipys(count, share):
    hits = round(share * count)
    expected = binomtest(hits, count).proportion_ci(method="wilson")
    assert wilson(hits, count) == pytest.approx((expected.low, expected.high), abs=1e-9)
