"""Absolute pose against pycolmap's, and under outliers."""

import sys

import numpy as np
import pycolmap
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from fgsn.bench.street import LEVEL
from fgsn.errors import FgsnError, MissingExtraError
from fgsn.geometry.camera import Camera
from fgsn.geometry.gravity import upright_rotation
from fgsn.geometry.pose import Pose
from fgsn.localization.robust_pose import estimate_pose, samples_needed

PINHOLE = Camera(640, 480, 520.0, 530.0, 320.0, 241.0)
LENS = Camera(640, 480, 520.0, 530.0, 320.0, 241.0, "OPENCV", (-0.3, 0.1, 0.001, -0.001))


def scene(seed, right, wrong, camera=PINHOLE, noise=0.5, origin=(0.0, 0.0, 0.0)):
    random = np.random.default_rng(seed)
    tilt = Rotation.from_rotvec(random.normal(0, 0.1, 3)).as_matrix()
    yaw = Rotation.from_euler("z", random.uniform(-180, 180), degrees=True).as_matrix()
    pose = Pose.from_centre(tilt @ LEVEL @ yaw, random.normal(0, 10, 3) + origin)
    size = camera.width - 1, camera.height - 1
    pixels = random.uniform((0, 0), size, (right + wrong, 2))
    points = pose.inverse().transform(camera.unproject(pixels, random.uniform(4, 40, right + wrong)))
    pixels[:right] += random.normal(0, noise, (right, 2))
    pixels[right:] = random.uniform((0, 0), size, (wrong, 2))
    return pose, pixels, points, np.arange(right + wrong) < right


def error(estimate, pose):
    assert estimate.camera_from_world is not None, estimate.reason
    found = estimate.camera_from_world
    turn = Rotation.from_matrix(found.rotation @ pose.rotation.T).magnitude()
    return np.linalg.norm(found.centre - pose.centre), np.rad2deg(turn)


@pytest.mark.parametrize("camera", [PINHOLE, LENS])
@pytest.mark.parametrize("weighted", [False, True])
def test_easy_queries_get_the_pose_that_pycolmap_finds(camera, weighted):
    pose, pixels, points, right = scene(1, 150, 50, camera)
    weights = np.ones(200) if weighted else None
    estimate = estimate_pose(camera, pixels, points, weights, max_error=4)
    lens = pycolmap.Camera(model=camera.model, width=640, height=480, params=list(camera.parameters))
    options = pycolmap.AbsolutePoseEstimationOptions()
    options.ransac.max_error = 4
    theirs = pycolmap.estimate_and_refine_absolute_pose(pixels + 0.5, points, lens, options)
    matrix = theirs["cam_from_world"].matrix()
    metres, degrees = error(estimate, Pose(matrix[:, :3], matrix[:, 3]))
    assert metres < 0.03
    assert degrees < 0.1
    assert max(error(estimate, pose)) < 0.1
    assert (estimate.inliers == theirs["inlier_mask"]).mean() > 0.98
    assert estimate.inliers[right].mean() > 0.98


@pytest.mark.parametrize("gravity_noise", [None, 0.0, 1.5])
def test_few_inliers_among_many_outliers_far_from_the_origin(gravity_noise):
    """4 % inliers that are drawn three times as often as the others."""
    pose, pixels, points, right = scene(2, 20, 480, origin=(5e5, 4e6, 100.0))
    gravity = None
    if gravity_noise is not None:
        shake = Rotation.from_rotvec(np.deg2rad(gravity_noise) * np.random.default_rng(0).normal(size=3))
        gravity = shake.apply(-pose.rotation[:, 2])
    estimate = estimate_pose(PINHOLE, pixels, points, np.where(right, 3.0, 1.0), gravity, max_error=4)
    assert max(error(estimate, pose)) < 0.15
    assert estimate.inliers[right].mean() > 0.9


def test_gravity_makes_samples_cheap():
    pose, pixels, points, _ = scene(3, 30, 370)
    weights = np.ones(400)
    triplets = estimate_pose(PINHOLE, pixels, points, weights)
    pairs = estimate_pose(PINHOLE, pixels, points, weights, -pose.rotation[:, 2])
    assert pairs.samples < triplets.samples / 5
    assert max(error(pairs, pose)) < 0.1


def test_up_may_be_any_direction():
    pose, pixels, points, _ = scene(3, 60, 60)
    turn = Rotation.from_rotvec([0.5, 1.0, -0.3]).as_matrix()
    estimate = estimate_pose(PINHOLE, pixels, points @ turn.T, None, -pose.rotation[:, 2], up=turn @ (0, 0, 1))
    assert max(error(estimate, Pose(pose.rotation @ turn.T, pose.translation))) < 0.1


def test_weights_make_the_search_short_and_same_seeds_give_same_answers():
    _, pixels, points, right = scene(4, 20, 380)
    even, better = (estimate_pose(PINHOLE, pixels, points, np.where(right, w, 1.0), seed=5) for w in (1.0, 5.0))
    assert better.samples < even.samples / 5
    again = estimate_pose(PINHOLE, pixels, points, np.where(right, 5.0, 1.0), seed=5)
    np.testing.assert_array_equal(again.camera_from_world.translation, better.camera_from_world.translation)


def test_matches_of_weight_zero_are_not_drawn_but_vote():
    _, pixels, points, right = scene(5, 40, 40)
    weights = np.zeros(80)
    weights[:6] = 1
    estimate = estimate_pose(PINHOLE, pixels, points, weights, evenly=0)
    assert estimate.inliers[right].sum() > 38


@pytest.mark.parametrize("weights", [np.arange(400) >= 60, np.arange(400) == 399, np.zeros(400)])
def test_weights_that_lie_cost_time_and_not_the_pose(weights):
    pose, pixels, points, _ = scene(5, 60, 340)
    assert max(error(estimate_pose(PINHOLE, pixels, points, weights), pose)) < 0.1


def test_votes_decide_between_two_poses():
    """Two poses have their inliers; votes make the smaller group win."""
    few, many = scene(6, 20, 0), scene(7, 30, 0)
    pixels, points = (np.concatenate([few[n], many[n]]) for n in (1, 2))
    first = np.arange(50) < 20
    equal = estimate_pose(PINHOLE, pixels, points, np.ones(50))
    assert max(error(equal, many[0])) < 0.1
    chosen = estimate_pose(PINHOLE, pixels, points, np.ones(50), votes=np.where(first, 1.0, 0.3))
    assert max(error(chosen, few[0])) < 0.1


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**20), right=st.integers(6, 30), weighted=st.booleans())
def test_exact_matches_give_the_exact_pose(seed, right, weighted):
    pose, pixels, points, _ = scene(seed, right, 0, noise=0.0)
    estimate = estimate_pose(PINHOLE, pixels, points, np.ones(right) if weighted else None)
    assert max(error(estimate, pose)) < 1e-3
    assert estimate.inliers.all()


def test_no_pose_has_a_reason():
    _, pixels, points, _ = scene(8, 10, 0)
    few = estimate_pose(PINHOLE, pixels[:3], points[:3])
    assert (few.camera_from_world, few.reason) == (None, "too few matches")
    assert not few.inliers.any()
    _, pixels, points, right = scene(9, 0, 30)
    broken = estimate_pose(PINHOLE, np.where(np.arange(30)[:, None] < 2, pixels, np.nan), points, right + 1.0)
    assert broken.reason == "too few matches are finite"
    nothing = estimate_pose(PINHOLE, pixels, points, right + 1.0, max_error=1, min_inliers=9, max_samples=1000)
    assert nothing.reason == "too few matches agree with any pose"


@pytest.mark.parametrize("weights", [None, np.ones(12)])
def test_broken_matches_are_outliers(weights):
    pose, pixels, points, _ = scene(10, 12, 0)
    points, pixels = points.copy(), pixels.copy()
    points[3], pixels[5] = np.nan, np.inf
    estimate = estimate_pose(PINHOLE, pixels, points, weights)
    assert max(error(estimate, pose)) < 0.1
    assert estimate.inliers.sum() == 10


@pytest.mark.parametrize("weights", [None, np.ones(20)])
def test_one_point_matched_many_times_gives_no_pose_or_one_that_is_finite(weights):
    estimate = estimate_pose(PINHOLE, np.full((20, 2), 100.0), np.ones((20, 3)), weights, max_samples=500)
    if estimate.camera_from_world is not None:
        assert np.isfinite(estimate.camera_from_world.translation).all()


def test_bad_arrays_are_refused():
    with pytest.raises(FgsnError, match=r"pixels \(N, 2\) and points \(N, 3\)"):
        estimate_pose(PINHOLE, np.zeros((4, 2)), np.zeros((5, 3)))
    with pytest.raises(FgsnError, match="4 matches require 4 weights of at least 0"):
        estimate_pose(PINHOLE, np.zeros((4, 2)), np.zeros((4, 3)), [1, 1, 1, -1])
    with pytest.raises(FgsnError, match="gravity should be a direction of three"):
        estimate_pose(PINHOLE, np.zeros((4, 2)), np.zeros((4, 3)), None, [0, 0, 0])


def test_a_missing_poselib_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "poselib", None)
    with pytest.raises(MissingExtraError, match=r"fgsn\[loc\]"):
        estimate_pose(PINHOLE, np.zeros((4, 2)), np.zeros((4, 3)))


def test_the_bound_on_samples():
    assert samples_needed(1.0, 0.99) == 1
    assert samples_needed(0.0, 0.99) == np.inf
    needed = samples_needed(0.04, 0.99)
    assert (1 - 0.04) ** needed <= 0.01 < (1 - 0.04) ** (needed - 1)


@given(st.lists(st.floats(-1, 1), min_size=3, max_size=3).filter(lambda v: np.linalg.norm(v) > 1e-3))
def test_upright_turns_gravity_down(gravity):
    rotation = upright_rotation(gravity)
    np.testing.assert_allclose(rotation @ gravity / np.linalg.norm(gravity), [0, 1, 0], atol=1e-9)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(rotation) > 0
