import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from corridor import CAMERA, CONFUSION, corridor, look, straight
from fgsn.errors import FgsnError
from fgsn.geometry.pose import Pose
from fgsn.tracking.particle_filter import FilterSettings, ParticleFilter, PosePrior, Spread, track

STILL = Pose(np.eye(3), np.zeros(3))
EXACT = FilterSettings(
    odometry_degrees=1e-3,
    odometry_share=0.0,
    odometry_metres=1e-4,
    slip_share=0.0,
    independent_points=1e9,
    occlusion=0.2,
)


def error(pose: Pose, truth: Pose) -> tuple[float, float]:
    """Metres and degrees."""
    turn = Rotation.from_matrix(pose.rotation @ truth.rotation.T).magnitude()
    return float(np.linalg.norm(pose.centre - truth.centre)), math.degrees(turn)


def test_agrees_with_a_kalman_filter():
    """Small angles and Gaussian measurements: the posterior is known."""
    settings = FilterSettings(
        particles=6000, moves=3, odometry_degrees=0.5, odometry_share=0.0, odometry_metres=0.3, slip_share=0.0
    )
    tracker = ParticleFilter(corridor(), CONFUSION, settings)
    tracker.start(STILL, Spread((2.0, 1.0, 3.0), 3.0))
    radians = math.radians(0.5)
    noise = np.diag([radians**2] * 3 + [0.3**2] * 3)
    mean, covariance = np.zeros(6), np.diag([math.radians(3) ** 2] * 3 + [4.0, 1.0, 9.0])
    rng = np.random.default_rng(0)
    mixing = np.linalg.qr(rng.normal(size=(6, 6)))[0] / np.array([1, 1, 1, 30, 30, 30])
    measured = np.diag([0.01, 0.02, 0.01, 0.02, 0.01, 0.05]) ** 2
    for _ in range(4):
        covariance = covariance + noise
        seen = mixing @ (mean + np.linalg.cholesky(covariance) @ rng.normal(size=6) * 0.5)
        gain = covariance @ mixing.T @ np.linalg.inv(mixing @ covariance @ mixing.T + measured)
        mean = mean + gain @ (seen - mixing @ mean)
        covariance = covariance - gain @ mixing @ covariance

        def score(rotation, centre, seen=seen):
            vector = torch.from_numpy(Rotation.from_matrix(rotation.double().numpy()).as_rotvec()).float()
            off = (
                torch.cat([vector, centre], dim=1) @ torch.from_numpy(mixing.T).float() - torch.from_numpy(seen).float()
            )
            return -(off @ torch.from_numpy(np.linalg.inv(measured)).float() * off).sum(dim=1) / 2

        tracker.predict(STILL)
        used, _ = tracker.update(score)
        assert used == pytest.approx(1)
        estimate = tracker.estimate()
        found = np.concatenate([Rotation.from_matrix(estimate.pose.rotation).as_rotvec(), estimate.pose.centre])
        whitening = np.linalg.inv(np.linalg.cholesky(covariance))
        assert np.abs(whitening @ (found - mean)).max() < 0.25
        assert whitening @ estimate.covariance @ whitening.T == pytest.approx(np.eye(6), abs=0.25)


def test_agrees_with_the_enumerated_posterior():
    """Only the way along the corridor is unknown, so that all poses can be tried, slowly and in 64 bits."""
    points, truth = corridor(), straight(10.0)
    labels = look(points, truth)
    labels[:, ::2] = -1  # fewer pixels to see, so that the posterior is not a peak
    labels[::2] = -1
    labels[np.random.default_rng(1).random(labels.shape) < 0.5] = -1
    rows = CONFUSION.probabilities().numpy().astype(np.float64)
    share = np.bincount(labels[labels >= 0], minlength=len(rows)) / np.sum(labels >= 0)
    places = np.arange(8.0, 14.5, 0.005)
    posterior = np.zeros(len(places))
    for n, z in enumerate(places):
        pixels, depth = CAMERA.project(straight(z).transform(points.positions))
        seen = np.flatnonzero((depth > 0.1) & np.all((pixels > -0.5) & (pixels < (95.5, 63.5)), axis=1))
        column, row = np.floor(pixels[seen] + 0.5).astype(int).T
        label = labels[row, column]
        known = label >= 0
        likely = rows[points.labels[seen[known]], label[known]] / share[label[known]]
        posterior[n] = np.log(0.8 * likely + 0.2).sum() - ((z - 11.0) / 1.0) ** 2 / 2
    posterior = np.exp(posterior - posterior.max())
    posterior /= posterior.sum()
    mean = posterior @ places
    deviation = math.sqrt(posterior @ (places - mean) ** 2)
    assert 0.01 < deviation < 0.5

    tracker = ParticleFilter(points, CONFUSION, replace(EXACT, particles=4000))
    tracker.start(straight(11.0), Spread((1e-4, 1e-4, 1.0), 1e-3))
    estimate = tracker.step(STILL, labels, CAMERA)
    assert estimate.pose.centre[2] == pytest.approx(mean, abs=0.15 * deviation)
    assert math.sqrt(estimate.covariance[5, 5]) == pytest.approx(deviation, rel=0.15)
    assert estimate.used == pytest.approx(1)


def drive(points, steps: int = 8, seed: int = 0) -> tuple[list, list[Pose]]:
    """A swaying drive with noisy odometry."""
    rng = np.random.default_rng(seed)
    turns = Rotation.from_rotvec(0.03 * rng.normal(size=(steps, 3))).as_matrix()
    truth = [Pose.from_centre(turns[n], [0.3 * math.sin(n), 0.2 * math.cos(n), 2 + 1.5 * n]) for n in range(steps)]
    frames = []
    for n, pose in enumerate(truth):
        motion = pose @ truth[n - 1].inverse() if n else STILL
        noise = Pose(Rotation.from_rotvec(0.004 * rng.normal(size=3)).as_matrix(), 0.04 * rng.normal(size=3))
        frames.append((noise @ motion, look(points, pose), CAMERA, None))
    return frames, truth


SETTINGS = FilterSettings(particles=400, odometry_share=0.03, seed=3)
ROUGH = Spread((1.0, 1.0, 1.0), 3.0)


def test_tracks():
    points = corridor()
    frames, truth = drive(points)
    start = Pose.from_centre(np.eye(3), truth[0].centre + np.array([0.6, -0.5, 0.8]))
    found = track(points, CONFUSION, frames, start, ROUGH, SETTINGS)
    assert len(found) == len(frames)
    assert not any(estimate.lost for estimate in found)
    errors = np.array([error(estimate.pose, pose) for estimate, pose in zip(found, truth, strict=True)])
    assert np.median(errors[2:, 0]) < 0.25
    assert np.median(errors[2:, 1]) < 2
    assert found[-1].explained_share > 0.3


def test_the_same_seed_gives_the_same_track_and_the_world_may_lie_anywhere():
    points = corridor()
    frames, truth = drive(points, 4)
    one = track(points, CONFUSION, frames, truth[0], ROUGH, SETTINGS)
    two = track(points, CONFUSION, frames, truth[0], ROUGH, SETTINGS)
    other = track(points, CONFUSION, frames, truth[0], ROUGH, replace(SETTINGS, seed=4))
    assert all(np.array_equal(a.pose.translation, b.pose.translation) for a, b in zip(one, two, strict=True))
    assert not np.array_equal(one[-1].pose.translation, other[-1].pose.translation)

    far = np.array([4e5, 5e6, 100.0])
    moved = replace(points, positions=points.positions + far)
    start = Pose.from_centre(truth[0].rotation, truth[0].centre + far)
    away = track(moved, CONFUSION, frames, start, ROUGH, SETTINGS)
    assert away[-1].pose.centre - far == pytest.approx(one[-1].pose.centre, abs=0.1)


def test_lost_and_found_again():
    """The odometry leaves three metres out: the images cannot be explained until the particles are spread wider."""
    points = corridor()
    truth = [straight(2.0 + n) if n < 4 else straight(4.5 + n) for n in range(16)]
    forward = Pose(np.eye(3), np.array([0.0, 0.0, -1.0]))
    frames = [(forward if n else STILL, look(points, pose), CAMERA, None) for n, pose in enumerate(truth)]
    settings = replace(SETTINGS, slip_share=0.0, patience=2, lost_below=0.3)
    found = track(points, CONFUSION, frames, truth[0], ROUGH, settings)
    lost = [estimate.lost for estimate in found]
    assert not any(lost[:4])
    assert any(lost[4:])
    assert not lost[-1]
    assert error(found[-1].pose, truth[-1])[0] < 0.3
    at = lost.index(True)
    assert found[at].explained_share < 0.3


def test_priors_hold_what_labels_do_not_say():
    """An image that says nothing, but gravity and height are known."""
    nothing = np.full((CAMERA.height, CAMERA.width), -1)
    upright = np.array([[1.0, 0, 0], [0, 0, -1.0], [0, 1.0, 0]])  # the camera looks along y, z is up
    truth = Pose.from_centre(upright, [0, 0, 1.5])
    tilted = Rotation.from_rotvec([0.06, 0, 0.06]).as_matrix()
    start = Pose.from_centre(tilted @ upright, [0, 0, 2.5])
    settings = replace(EXACT, gravity_degrees=0.5, height_metres=0.1, particles=2000, moves=3)
    prior = PosePrior(-truth.rotation[:, 2], 1.5)
    frames = [(STILL, nothing, CAMERA, prior)]
    [found] = track(corridor(), CONFUSION, frames, start, Spread((1.0, 1.0, 1.0), 5.0), settings)
    assert found.pose.centre[2] == pytest.approx(1.5, abs=0.05)
    assert found.pose.rotation[:, 2] == pytest.approx(truth.rotation[:, 2], abs=0.02)
    assert math.sqrt(found.covariance[5, 5]) == pytest.approx(0.1, rel=0.15)
    assert math.sqrt(found.covariance[3, 3]) == pytest.approx(1.0, rel=0.15)  # nothing is known across


def test_prediction_spreads_as_declared():
    settings = replace(EXACT, particles=20000, odometry_degrees=1.0, odometry_metres=0.1, odometry_share=0.05)
    tracker = ParticleFilter(corridor(), CONFUSION, settings)
    turn = Rotation.from_euler("y", 40, degrees=True).as_matrix()
    tracker.start(straight(0.0), Spread((1e-6, 1e-6, 1e-6), 1e-6))
    tracker.predict(Pose(turn, np.array([0.0, 0.0, -2.0])))
    estimate = tracker.estimate()
    expected = Pose(turn, np.array([0.0, 0.0, -2.0]))
    assert error(estimate.pose, expected)[0] < 0.01
    assert error(estimate.pose, expected)[1] < 0.05
    assert np.sqrt(np.diag(estimate.covariance))[:3] == pytest.approx(np.full(3, math.radians(1)), rel=0.05)
    # The distance is 2, so 0.2 along each axis; turning adds 2 m times 1 degree across the way.
    assert np.trace(estimate.covariance[3:, 3:]) == pytest.approx(3 * 0.2**2 + 2 * 0.035**2, rel=0.05)


def test_needs_a_start_and_the_right_image():
    tracker = ParticleFilter(corridor(), CONFUSION, SETTINGS)
    labels = np.zeros((CAMERA.height, CAMERA.width), int)
    with pytest.raises(FgsnError, match="call start"):
        tracker.step(STILL, labels, CAMERA)
    tracker.start(STILL)
    with pytest.raises(FgsnError, match="does not match a camera"):
        tracker.step(STILL, labels[:-1], CAMERA)


def test_map_out_of_sight():
    """No point in view: nothing is learnt, and the track is lost after a while."""
    frames, _ = drive(corridor(), 4)
    found = track(corridor(), CONFUSION, frames, straight(500.0), ROUGH, SETTINGS)
    assert [estimate.lost for estimate in found] == [False, False, True, True]
    assert all(np.isfinite(estimate.covariance).all() for estimate in found)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_gpu_tracks_too():
    points = corridor()
    frames, truth = drive(points, 4)
    found = track(points, CONFUSION, frames, truth[0], ROUGH, SETTINGS, torch.device("cuda"))
    assert error(found[-1].pose, truth[-1])[0] < 0.3
