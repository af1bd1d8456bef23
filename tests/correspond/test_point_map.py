from dataclasses import replace

import numpy as np
import pytest
from scipy import optimize

import plain_scene as scene
from fgsn.correspond.point_map import PointMap, occluded
from fgsn.geometry.pose import Pose

IMAGES = scene.images("a", scene.drive(5, 0.0))


def test_what_an_image_sees():
    model = scene.reconstruct(IMAGES, 0)
    point_map = PointMap(model)
    for image in range(5):
        points, pixels = point_map.seen_in(image)
        assert (np.diff(points) > 0).all()
        assert len(points) == (model.track_image == image).sum()
        assert model.project(image, model.points[points])[0] == pytest.approx(pixels)
    assert point_map.observation_error(0) == pytest.approx(0.1 * 2**0.5)


@pytest.mark.parametrize("noise", [0.5, 2.0])
def test_noise_and_uncertainty_tell_the_true_errors(noise):
    truth = scene.reconstruct(IMAGES, 0, points=80)
    rng = np.random.default_rng(1)
    seen_at = truth.track_pixels + noise * rng.normal(size=truth.track_pixels.shape)
    points = np.empty_like(truth.points)
    for point in range(len(points)):
        mine = np.nonzero(truth.track_point == point)[0]
        poses = truth.camera_from_world[truth.track_image[mine]]

        def off(at: np.ndarray, poses: Pose = poses, mine: np.ndarray = mine) -> np.ndarray:
            return np.nan_to_num(scene.CAMERA.project(poses.transform_one(at))[0] - seen_at[mine], nan=1e3).ravel()

        points[point] = optimize.least_squares(off, truth.points[point]).x
    model = replace(truth, points=points, track_pixels=seen_at)
    point_map = PointMap(model)
    assert point_map.noise == pytest.approx(noise, rel=0.25)
    # A camera between the others, that no point was made from.
    other = scene.images("b", scene.drive(1, 0.6, shift=3.0))
    rows = np.arange(len(model.points))
    expected = point_map.uncertainty(rows, other, 0)
    pixels, depth = other.project(0, model.points)
    true_pixels, _ = other.project(0, truth.points)
    there = (depth > 2) & other.camera(0).contains(true_pixels) & (expected < 5)
    ratio = np.linalg.norm(pixels - true_pixels, axis=1)[there] / expected[there]
    assert there.sum() > 100
    assert np.median(ratio) == pytest.approx(0.8, abs=0.35)


def test_a_point_seen_once_is_unknown():
    model = scene.reconstruct(IMAGES, 0)
    once = np.unique(model.track_point, return_index=True)[1]
    lonely = replace(
        model, track_point=model.track_point[once], track_image=model.track_image[once],
        track_pixels=model.track_pixels[once],
    )  # fmt: skip
    assert np.isinf(PointMap(lonely).uncertainty(np.arange(10), IMAGES, 0)).all()


def test_nearer_things_hide_what_is_behind_them():
    pixels = np.array([[10.0, 10.0], [50.0, 50.0]])
    depth = np.array([20.0, 20.0])
    others = np.array([[11.0, 10.0], [52.0, 50.0], [11.0, 11.0]])
    assert occluded(pixels, depth, others, np.array([5.0, 5.0, 30.0]), 100).tolist() == [True, False]
    assert occluded(pixels, depth, others, np.array([19.0, 5.0, 30.0]), 100).tolist() == [False, False]
    assert occluded(pixels, depth, others, np.array([19.0, 5.0, 30.0]), 1000).tolist() == [False, True]
    assert occluded(pixels, depth, np.zeros((0, 2)), np.zeros(0), 100).tolist() == [False, False]
    assert occluded(pixels[:0], depth[:0], others, depth, 100).tolist() == []
