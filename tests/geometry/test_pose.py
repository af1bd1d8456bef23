import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from fgsn.geometry.camera import Camera
from fgsn.geometry.pose import Pose

CAMERA = Camera(96, 72, 77.0, 76.0, 47.5, 35.5)


def random_poses(seed: int, count: int) -> tuple[Pose, Rotation, np.ndarray]:
    rng = np.random.default_rng(seed)
    rotation = Rotation.random(count, random_state=seed)
    translation = rng.normal(size=(count, 3))
    return Pose(rotation.as_matrix(), translation), rotation, translation


@given(st.integers(0, 2**31))
def test_agrees_with_scipy(seed):
    pose, rotation, translation = random_poses(seed, 5)
    expected = rotation.as_quat(canonical=True)[:, [3, 0, 1, 2]]
    assert pose.quaternion == pytest.approx(expected, abs=1e-12)
    point = np.random.default_rng(seed).normal(size=3)
    assert pose.transform_one(np.tile(point, (5, 1))) == pytest.approx(rotation.apply(point) + translation)
    assert pose.transform(point[None])[:, 0] == pytest.approx(rotation.apply(point) + translation)
    again = Pose.from_quaternion(pose.quaternion, pose.translation)
    assert again.rotation == pytest.approx(pose.rotation, abs=1e-12)


def test_inverse_compose_centre():
    a, rotation_a, _ = random_poses(1, 4)
    b, rotation_b, _ = random_poses(2, 4)
    points = np.random.default_rng(0).normal(size=(4, 7, 3))
    assert (a @ b).transform(points) == pytest.approx(a.transform(b.transform(points)))
    assert (a @ b).rotation == pytest.approx((rotation_a * rotation_b).as_matrix())
    assert a.inverse().transform(a.transform(points)) == pytest.approx(points)
    assert a.transform_one(a.centre) == pytest.approx(np.zeros((4, 3)), abs=1e-12)
    assert Pose.from_centre(a.rotation, a.centre).translation == pytest.approx(a.translation)
    assert a[2].centre == pytest.approx(a.centre[2])


def test_camera_projects_and_unprojects():
    pixels = CAMERA.grid()
    depth = np.random.default_rng(0).uniform(1, 50, len(pixels))
    again, depth_again = CAMERA.project(CAMERA.unproject(pixels, depth))
    assert again == pytest.approx(pixels)
    assert depth_again == pytest.approx(depth)
    assert CAMERA.contains(pixels).all()
    assert not CAMERA.contains([[-0.1, 3], [95.2, 3], [3, 71.5], [np.nan, 1]]).any()
    behind, _ = CAMERA.project([[0.0, 0.0, -1.0]])
    assert np.isnan(behind).all()


def test_camera_parameters_are_colmaps():
    pycolmap = pytest.importorskip("pycolmap")
    colmap = pycolmap.Camera(model="PINHOLE", width=96, height=72, params=list(CAMERA.parameters))
    point = np.array([0.3, -0.2, 1.7])
    ours, _ = CAMERA.project(point)
    assert np.squeeze(colmap.img_from_cam(point)) == pytest.approx(ours + 0.5)
    assert Camera.from_parameters(96, 72, CAMERA.parameters) == CAMERA
