import sys

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from fgsn.errors import MissingExtraError
from fgsn.geometry.camera import Camera
from fgsn.geometry.pose import Pose
from fgsn.matching.two_view import sampson, transfer, verify

pytest.importorskip("poselib")
CAMERA = Camera(640, 480, 500.0, 510.0, 315.0, 242.0)
SIZES = ((640, 480), (640, 480))
REFERENCE = Pose(np.eye(3), np.zeros(3))
TARGET = Pose.from_centre(Rotation.from_euler("yx", [4, 2], degrees=True).as_matrix(), [0.6, 0.1, 0.2])


def views(points: np.ndarray, target: Pose = TARGET) -> list[np.ndarray]:
    seen = [CAMERA.project(pose.transform(points))[0] for pose in (REFERENCE, target)]
    both = CAMERA.contains(seen[0]) & CAMERA.contains(seen[1])
    return [pixels[both] for pixels in seen]


def street(count: int, seed: int = 0) -> np.ndarray:
    """Two walls and a ground."""
    rng = np.random.default_rng(seed)
    x, y, z = rng.uniform(-3, 3, count), rng.uniform(-2, 1.5, count), rng.uniform(4, 15, count)
    side = rng.integers(0, 3, count)
    return np.stack([np.where(side == 0, -3, np.where(side == 1, 3, x)), np.where(side == 2, 1.5, y), z], axis=1)


@pytest.mark.parametrize("cameras", [None, (CAMERA, CAMERA)])
def test_right_matches_stay_and_wrong_ones_go(cameras):
    rng = np.random.default_rng(3)
    ref, tgt = views(street(600))
    count, wrong = len(ref), len(ref) // 3
    ref, tgt = (pixels + rng.normal(0, 0.5, pixels.shape) for pixels in (ref, tgt))
    tgt[:wrong] = rng.uniform(0, (639, 479), (wrong, 2))
    found = verify(ref, tgt, SIZES, cameras)
    assert found.refusal == ""
    assert found.kind == ("essential" if cameras else "fundamental")
    assert found.inliers[wrong:].mean() > 0.9
    assert found.inliers[:wrong].mean() < 0.03
    assert found.errors.shape == (count,)
    assert np.median(found.errors[wrong:]) < 0.6
    assert found.spread > 0.3


def test_sampson_agrees_with_pycolmap():
    pycolmap = pytest.importorskip("pycolmap")
    ref, tgt = views(street(80))
    tgt = tgt + np.random.default_rng(0).normal(0, 3, tgt.shape)
    x, y, z = TARGET.translation
    essential = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]]) @ TARGET.rotation
    matrix = np.array([[CAMERA.fx, 0, CAMERA.cx], [0, CAMERA.fy, CAMERA.cy], [0, 0, 1]])
    fundamental = np.linalg.inv(matrix).T @ essential @ np.linalg.inv(matrix)
    ours = sampson(fundamental, ref, tgt)
    theirs = pycolmap.compute_squared_sampson_error(ref, tgt, fundamental)
    assert ours**2 == pytest.approx(np.array(theirs), rel=1e-6)


@pytest.mark.parametrize("what", ["plane", "turn"])
def test_a_homography_explains_planes_and_mere_turns(what):
    rng = np.random.default_rng(5)
    points = street(500)
    if what == "plane":
        points[:, 2] = 8 + 0.3 * points[:, 0]
    target = Pose(TARGET.rotation, np.zeros(3)) if what == "turn" else TARGET
    ref, tgt = views(points, target)
    tgt = tgt + rng.normal(0, 0.4, tgt.shape)
    tgt[:50] = rng.uniform(0, (639, 479), (50, 2))
    found = verify(ref, tgt, SIZES)
    assert found.kind == "homography"
    assert found.fundamental is None
    assert found.refusal == ""
    assert found.inliers[50:].mean() > 0.9
    assert found.inliers[:50].mean() < 0.04
    assert np.linalg.norm(transfer(found.homography, ref[50:]) - tgt[50:], axis=1).mean() < 1.0


def test_refused_with_a_reason():
    rng = np.random.default_rng(0)
    ref, tgt = views(street(300))
    assert verify(ref[:7], tgt[:7], SIZES).refusal == "only 7 matches"
    assert verify(ref[:0], tgt[:0], SIZES).refusal == "only 0 matches"
    shuffled = verify(ref, tgt[rng.permutation(len(tgt))], SIZES)
    assert "agree with their neighbours" in shuffled.refusal or "agree on a geometry" in shuffled.refusal
    corner = rng.uniform(0, 60, (80, 2))
    assert "cover only" in verify(corner, corner + 30, SIZES).refusal
    mixed = rng.uniform(0, (639, 479), (1500, 2)), rng.uniform(0, (639, 479), (1500, 2))
    mixed[1][:60] = mixed[0][:60] = rng.uniform(200, 320, (60, 2))
    assert verify(*mixed, SIZES).refusal


def test_same_answer_every_time():
    rng = np.random.default_rng(3)
    ref, tgt = views(street(300))
    tgt = tgt + rng.normal(0, 1, tgt.shape)
    one, two = verify(ref, tgt, SIZES), verify(ref, tgt, SIZES)
    assert np.array_equal(one.inliers, two.inliers)
    assert np.array_equal(one.errors, two.errors)


def test_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "poselib", None)
    ref, tgt = views(street(300))
    with pytest.raises(MissingExtraError, match="poselib"):
        verify(ref, tgt, SIZES)


def test_a_distorted_lens_is_straightened():
    pytest.importorskip("pycolmap")
    rng = np.random.default_rng(3)
    lens = Camera.from_parameters(640, 480, [500, 510, 315.5, 242.5, -0.3, 0.1, 0, 0], "OPENCV")
    points = street(900)
    ref, tgt = (lens.project(pose.transform(points))[0] for pose in (REFERENCE, TARGET))
    both = lens.contains(ref) & lens.contains(tgt)
    ref, tgt = (pixels[both] + rng.normal(0, 0.3, (both.sum(), 2)) for pixels in (ref, tgt))
    tgt[:100] = rng.uniform(0, (639, 479), (100, 2))
    found = verify(ref, tgt, SIZES, (lens, lens))
    assert found.refusal == ""
    assert found.fundamental is None
    assert found.inliers[100:].mean() > 0.9
    assert found.inliers[:100].mean() < 0.04
    assert np.median(found.errors[100:]) < 0.5
