import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from fgsn.errors import FgsnError
from fgsn.geometry.camera import Camera
from fgsn.geometry.pose import Pose
from fgsn.inference.undistort import undistorted
from fgsn.tracking import likelihood as evidence
from fgsn.tracking.likelihood import LabelLikelihood

CAMERA = Camera(40, 30, 35.0, 34.0, 19.5, 14.5)
LABELS, POINTS, OCCLUSION = 6, 300, 0.2


def scene(seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    axis = rng.normal(size=(POINTS, 3))
    axis /= np.linalg.norm(axis, axis=1, keepdims=True)
    return {
        "points": rng.uniform((-4, -3, -2), (4, 3, 12), (POINTS, 3)),
        "point_labels": rng.integers(0, LABELS, POINTS),
        "axis": axis,
        "cosine": rng.uniform(-1, 0.5, POINTS),
        "nearest": rng.uniform(0, 3, POINTS),
        "farthest": rng.uniform(6, 12, POINTS),
        "probabilities": rng.dirichlet(np.ones(LABELS), LABELS),
        "labels": rng.integers(-1, LABELS + 2, (30, 40)),
    }


def prepared(scene: dict[str, np.ndarray], cones: bool = True) -> LabelLikelihood:
    columns = [*scene["axis"].T, scene["cosine"], scene["nearest"], scene["farthest"]]
    return LabelLikelihood.of(
        torch.from_numpy(scene["points"]).float(),
        torch.from_numpy(np.stack(columns, axis=1)).float() if cones else None,
        torch.from_numpy(scene["point_labels"]).int(),
        torch.from_numpy(scene["probabilities"]).float(),
        scene["labels"],
        CAMERA,
        OCCLUSION,
    )


def slow_score(scene: dict[str, np.ndarray], pose: Pose, cones: bool = True) -> float:
    """One point after the other, in 64 bits."""
    inside = scene["labels"][(scene["labels"] >= 0) & (scene["labels"] < LABELS)]
    total = 0.0
    for n, point in enumerate(scene["points"]):
        ray = pose.centre - point
        distance = np.linalg.norm(ray)
        if cones and not (
            scene["nearest"][n] <= distance <= scene["farthest"][n]
            and ray @ scene["axis"][n] >= scene["cosine"][n] * distance
        ):
            continue
        (x, y, z) = pose.transform(point[None])[0]
        if z < evidence.NEAREST:
            continue
        u, v = (int(np.floor(value + 0.5)) for value in (35 * x / z + 19.5, 34 * y / z + 14.5))
        if not (0 <= u < 40 and 0 <= v < 30) or not 0 <= (label := scene["labels"][v, u]) < LABELS:
            continue
        likely = scene["probabilities"][scene["point_labels"][n], label]
        total += np.log((1 - OCCLUSION) * likely / np.mean(inside == label) + OCCLUSION)
    return total


def poses(count: int, seed: int = 0) -> Pose:
    rng = np.random.default_rng(seed)
    return Pose.from_centre(
        Rotation.from_rotvec(0.3 * rng.normal(size=(count, 3))).as_matrix(), rng.normal(size=(count, 3))
    )


def tensors(pose: Pose) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.from_numpy(pose.rotation).float(), torch.from_numpy(pose.centre).float()


@pytest.mark.parametrize("cones", [True, False])
def test_scores_are_those_of_a_slow_loop(cones, monkeypatch):
    monkeypatch.setattr(evidence, "CHUNK", 7 * POINTS)
    made, many = scene(), poses(20)
    found = prepared(made, cones).scores(*tensors(many)).numpy()
    # 32 bits may put a point into the neighbouring pixel, rarely.
    expected = [slow_score(made, many[n], cones) for n in range(20)]
    assert np.sum(np.abs(found - expected) > 1e-3) <= 1
    assert found == pytest.approx(expected, abs=3)


def test_seeing_nothing_neither_wins_nor_loses():
    made = scene()
    away = Pose.from_centre(np.diag([-1.0, 1.0, -1.0]), [0, 0, -50.0])
    rotation, centre = tensors(away)
    nothing = prepared(made, cones=False)
    assert nothing.scores(rotation[None], centre[None]).item() == 0
    assert nothing.explained_share(rotation, centre) == 0


def test_wrong_poses_score_below_nothing_however_many_points_they_see():
    """Labels that have nothing to do with the points: more points in view must not win."""
    rng = np.random.default_rng(3)
    for half in (POINTS // 4, POINTS):
        scores = []
        for seed in range(20):
            made = scene(seed)
            made["probabilities"] = np.full((LABELS, LABELS), 0.02) + np.eye(LABELS) * (1 - 0.02 * LABELS)
            made["labels"] = rng.integers(0, LABELS, (30, 40))
            made = {key: value[:half] if len(value) == POINTS else value for key, value in made.items()}
            scores.append(prepared(made, cones=False).scores(*tensors(poses(10, seed))).numpy())
        assert np.mean(scores) < 0


def test_support_is_one_where_points_say_what_is_there():
    rng = np.random.default_rng(0)
    pixels = rng.uniform((0, 0), (39, 29), (POINTS, 2))
    made = scene()
    made["points"] = CAMERA.unproject(pixels, rng.uniform(2, 9, POINTS))
    made["labels"] = np.kron(rng.integers(0, LABELS, (6, 8)), np.ones((5, 5), int))
    column, row = np.rint(pixels).astype(int).T
    made["point_labels"] = made["labels"][row, column]
    made["probabilities"] = np.full((LABELS, LABELS), 0.01) + np.eye(LABELS) * (1 - 0.01 * LABELS)
    found = prepared(made, cones=False)
    assert found.explained_share(torch.eye(3), torch.zeros(3)) == pytest.approx(1.05, abs=0.1)
    aside = torch.from_numpy(Rotation.from_euler("y", 20, degrees=True).as_matrix()).float()
    assert found.explained_share(aside, torch.zeros(3)) < 0.2


def test_image_that_says_nothing():
    made = scene()
    made["labels"] = np.full((30, 40), -1)
    assert prepared(made).scores(*tensors(poses(3))).tolist() == [0, 0, 0]


def test_distorted_image_is_undone():
    pytest.importorskip("pycolmap")
    lens = Camera(80, 60, 60.0, 60.0, 39.5, 29.5, "OPENCV", (-0.3, 0.08, 0.001, -0.001))
    labels = np.arange(80 * 60).reshape(60, 80)
    straight, camera = undistorted(labels, lens)
    assert camera.is_pinhole
    points = np.random.default_rng(0).uniform((-2, -1.5, 4), (2, 1.5, 6), (200, 3))
    bent, _ = lens.project(points)
    plain, _ = camera.project(points)
    inside = lens.contains(bent) & camera.contains(plain)
    assert inside.sum() > 100
    (u, v), (x, y) = np.rint(bent[inside]).astype(int).T, np.rint(plain[inside]).astype(int).T
    there = straight[y, x]
    assert np.abs(there % 80 - u).max() <= 1
    assert np.abs(there // 80 - v).max() <= 1


def test_label_map_of_the_wrong_size():
    made = scene()
    made["labels"] = made["labels"][:-1]
    with pytest.raises(FgsnError, match="40 x 29 pixels does not go with a camera of 40 x 30"):
        prepared(made)
