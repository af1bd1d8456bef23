from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

import plain_scene as scene
from fgsn.correspond.same_frame import check_frames, check_reading
from fgsn.errors import FgsnError
from fgsn.geometry.colmap import Reconstruction
from fgsn.geometry.pose import Pose
from fgsn.geometry.posed import PosedImages
from fgsn.geometry.readings import CENTRES, INVERTED, W_LAST
from fgsn.matching.features import Features
from plain_scene import SUMMER, WINTER


@pytest.fixture(scope="module")
def models() -> dict[str, Reconstruction]:
    """No point of the one model is a point of the other."""
    return {"summer": scene.reconstruct(SUMMER, 0, points=400), "winter": scene.reconstruct(WINTER, 1, points=400)}


@pytest.fixture
def features(tmp_path):
    folder = scene.write_images(tmp_path / "photos")
    return Features({name: folder / name for name in scene.BOTH.names}, scene.knowing_matcher(), tmp_path / "work")


def moved(model: Reconstruction, turn: float = 0.0, shift: float = 0.0, scale: float = 1.0) -> Reconstruction:
    """The model in another frame: turned by degrees about every axis, shifted, scaled."""
    rotation = Rotation.from_euler("xyz", [turn] * 3, degrees=True).as_matrix()
    pose = model.camera_from_world
    middle = pose.centre.mean(axis=0)

    def move(points: np.ndarray) -> np.ndarray:
        return scale * (points - middle) @ rotation.T + middle + np.array([0.6, -0.7, 0.4]) * shift

    pose = Pose.from_centre(pose.rotation @ rotation.T, move(pose.centre))
    return replace(model, camera_from_world=pose, points=move(model.points))


@pytest.mark.parametrize("change", [{"shift": 500.0}, {"shift": 1.5}, {"turn": 90.0}, {"turn": 4.0}, {"scale": 3.0}])
def test_models_in_different_frames_are_refused(models, features, change):
    maps = {"summer": models["summer"], "winter": moved(models["winter"], **change)}
    with pytest.raises(FgsnError, match=r"of 'summer' and 'winter' are in different frames: .*--trust-poses") as error:
        check_frames(maps, features, "summer", trusted=False)
    assert "\n" not in str(error.value)
    displaced, doubts = check_frames(maps, features, "summer", trusted=True)
    assert displaced == {"winter": 0.0}
    assert len(doubts) == 1
    assert "in different frames" in doubts[0]


def test_a_small_displacement_is_measured(models, features):
    assert check_frames(models, features, "summer", False)[0]["winter"] < 0.3
    shifted = {"summer": models["summer"], "winter": moved(models["winter"], shift=0.15)}
    pixels, _ = scene.CAMERA.project([[0.15, 0.0, 10.0]])
    displaced, doubts = check_frames(shifted, features, "summer", False)
    assert displaced["winter"] == pytest.approx(pixels[0, 0] - scene.CAMERA.cx, rel=0.7)
    assert doubts == []


def test_too_few_matches_are_a_doubt(models, features):
    without = {"summer": models["summer"], "winter": moved(models["winter"], shift=500.0)}
    for found in features.matcher.found[:5]:
        found.descriptors[:] = np.roll(found.descriptors, 1, axis=0)
    displaced, doubts = check_frames(without, features, "summer", False)
    assert displaced == {"winter": 0.0}
    assert doubts == [
        "winter: not checked that its poses share the frame of 'summer': too few images of 'summer' and 'winter' match"
    ]


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("meaning", [CENTRES, INVERTED, None])
def test_other_meanings_of_the_numbers_are_named(features, meaning, last):
    turn = Rotation.from_rotvec([0.9, 0.3, -0.5]).as_matrix()  # a world whose axes are not those of the cameras
    centres = SUMMER.camera_from_world.centre @ turn + [2000, -90, 40]
    true = Pose.from_centre(SUMMER.camera_from_world.rotation @ turn, centres)
    poses = {CENTRES: Pose(true.rotation, true.centre), INVERTED: true.inverse(), None: true}[meaning]
    if last:
        poses = Pose.from_quaternion(np.roll(poses.quaternion, -1, axis=1), poses.translation)
    read = PosedImages(SUMMER.names, SUMMER.cameras, SUMMER.camera_of, poses)
    pairs = list(combinations(SUMMER.names, 2))
    if not (meaning or last):
        return check_reading(read, features, pairs, "poses.txt")
    named = " and ".join([*([meaning] if meaning else []), *([W_LAST] if last else [])])
    with pytest.raises(FgsnError, match=f"poses.txt contains {named}: .* as qw qx qy qz tx ty tz"):
        check_reading(read, features, pairs, "poses.txt")
    return None
