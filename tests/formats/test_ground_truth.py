import gzip
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from fgsn.errors import FgsnError
from fgsn.formats.ground_truth import condition_of, read_truth

POSES = "shared/data/cmu_poses_meta/poses.txt.gz"
SHARED = next((folder / POSES for folder in Path(__file__).parents if (folder / POSES).exists()), None)
ROTATION = Rotation.from_euler("xyz", [10, 20, 30], degrees=True)
CENTRE = np.array([100.0, -20.0, 5.0])


def numbers(*values):
    return " ".join(f"{value:.12g}" for value in np.concatenate([np.ravel(value) for value in values]))


def quaternion():
    return np.roll(ROTATION.as_quat(), 1)


def test_the_three_forms_say_the_same(tmp_path):
    world_from_camera = np.eye(4)
    world_from_camera[:3, :3], world_from_camera[:3, 3] = ROTATION.as_matrix().T, CENTRE
    lists = {
        "translation": numbers(quaternion(), -ROTATION.as_matrix() @ CENTRE),
        "centre": numbers(quaternion(), CENTRE),
        "matrix": numbers(world_from_camera),
    }
    for convention, line in lists.items():
        (tmp_path / "t.txt").write_text(f"snow/rear/1.jpg {line}\n")
        truth = read_truth(tmp_path / "t.txt", convention)
        assert truth.camera_from_world.rotation[0] == pytest.approx(ROTATION.as_matrix(), abs=1e-9)
        assert truth.camera_from_world.centre[0] == pytest.approx(CENTRE)
        assert truth.conditions == ["snow"]


@pytest.mark.parametrize(
    ("name", "comment", "centre"),
    [
        ("snow.txt", "", False),
        ("snow.txt", "# name qw qx qy qz cx cy cz", True),
        ("snow.txt", "# name qw qx qy qz tx ty tz, not the centre", False),
        ("ground-truth-database-images-slice7.txt", "", True),
        ("camera-poses/slice-7-camera-0.txt", "", True),
    ],
)
def test_which_numbers_a_list_holds_is_guessed_from_its_comment_and_name(tmp_path, name, comment, centre):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"{comment}\nx.jpg {numbers(quaternion(), CENTRE)}\n")
    pose = read_truth(path).camera_from_world
    assert (pose.centre if centre else pose.translation)[0] == pytest.approx(CENTRE)


def test_matrices_are_guessed_from_their_number(tmp_path):
    (tmp_path / "robotcar_v2_train.txt").write_text(f"dusk/rear/1.png {numbers(np.eye(4))}\n")
    assert read_truth(tmp_path / "robotcar_v2_train.txt").conditions == ["dusk"]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (numbers(np.eye(4) * 2), "last row"),
        (numbers(np.diag([2, 1, 1, 1])), "not a rotation"),
        (numbers(np.diag([-1, 1, 1, 1])), "not a rotation"),
        (numbers(np.eye(4)[:3]), "expected 'name m11"),
    ],
)
def test_broken_matrices(tmp_path, line, says):
    (tmp_path / "t.txt").write_text(f"a.jpg {numbers(np.eye(4))}\nb.jpg {line}\n")
    with pytest.raises(FgsnError, match=says) as error:
        read_truth(tmp_path / "t.txt")
    assert f"{tmp_path / 't.txt'}:2: " in str(error.value)


def test_folders_of_lists(tmp_path):
    folder = tmp_path / "camera-poses"
    folder.mkdir()
    (folder / "empty.txt").write_text("")
    with pytest.raises(FgsnError, match="contains no poses"):
        read_truth(folder)
    (folder / "a.txt").write_text(f"x.jpg {numbers(quaternion(), CENTRE)}\n")
    (folder / "b.txt").write_text(f"img_00122_c1_1284562629716208us.jpg {numbers(quaternion(), CENTRE)}\n")
    assert read_truth(folder).conditions == ["a", "2010-09-15"]
    (folder / "b.txt").write_text(f"x.jpg {numbers(quaternion(), CENTRE)}\n")
    with pytest.raises(FgsnError, match="is in another file"):
        read_truth(folder)


def test_conditions():
    assert condition_of("night/c0/x.jpg", "list") == "night"
    assert condition_of("slice6/query/img_00122_c1_1303398632313502us.jpg") == "2011-04-21"
    assert condition_of("autumn/c0/img_00122_c1_1303398632313502us_rect.jpg") == "autumn"
    assert condition_of("x.jpg", "list") == "list"


@pytest.mark.skipif(SHARED is None, reason="needs the reference poses of Extended CMU Seasons")
def test_extended_cmu_seasons(tmp_path):
    """Facts of the data's README: read as centres, the two cameras of the car are 1.80 m apart, everywhere."""
    (tmp_path / "poses.txt").write_bytes(gzip.decompress(SHARED.read_bytes()))
    truth = read_truth(tmp_path / "poses.txt")
    assert len(truth.names) == 29_647
    assert len(set(truth.conditions)) == 12
    time = np.array([int(name.rsplit("_", 1)[1].split("us")[0]) for name in truth.names])
    camera = np.array(["_c1_" in name for name in truth.names])
    order = np.argsort(time, kind="stable")
    one, other = order[:-1], order[1:]
    pairs = (camera[one] != camera[other]) & (time[other] - time[one] < 2000)
    one, other = one[pairs], other[pairs]
    assert len(one) > 14_000

    def apart(pose):
        return np.percentile(np.linalg.norm(pose.centre[one] - pose.centre[other], axis=1), [5, 50, 95])

    assert apart(truth.camera_from_world) == pytest.approx([1.80, 1.80, 1.80], abs=0.01)
    mixed_up = read_truth(tmp_path / "poses.txt", "translation")
    assert apart(mixed_up.camera_from_world).min() > 50
    # World z points up, so the camera's y axis points down.
    assert np.median(truth.camera_from_world.rotation[:, 1], axis=0) == pytest.approx([0.02, -0.01, -1.0], abs=0.02)
