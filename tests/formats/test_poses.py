import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.transform import Rotation

from fgsn.errors import FgsnError
from fgsn.formats.poses import SuffixLookup, read_results, write_results
from fgsn.geometry.pose import Pose
from localization.toy import read_or_refused


def some_poses(count, seed=0):
    rng = np.random.default_rng(seed)
    return Pose(Rotation.random(count, rng=rng).as_matrix(), rng.normal(0, 300, (count, 3)))


@settings(max_examples=50, deadline=None)
@given(arrays(np.float64, (4, 6), elements=st.floats(-1e4, 1e4)))
def test_round_trip(tmp_path_factory, values):
    path = tmp_path_factory.mktemp("results") / "poses.txt"
    poses = Pose(Rotation.from_rotvec(values[:, :3] % 3).as_matrix(), values[:, 3:])
    names = ["a b/1.jpg", "2.jpg", "x/3.jpg", "é.jpg"]
    assert write_results(path, names, poses) == 4
    again = read_results(path)
    assert again.names == names
    assert again.camera_from_world.rotation == pytest.approx(poses.rotation, abs=1e-9)
    assert again.camera_from_world.translation == pytest.approx(poses.translation, abs=1e-6, rel=1e-9)


def test_numbers_are_world_to_camera_and_the_translation_is_no_centre(tmp_path):
    # A camera at (0, 0, 5) that looks along the world's x: its z axis is world x.
    rotation = np.array([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]])
    pose = Pose.from_centre(rotation, [0.0, 0, 5])
    write_results(tmp_path / "r.txt", ["q.jpg"], Pose(pose.rotation[None], pose.translation[None]))
    name, *numbers = (tmp_path / "r.txt").read_text().split()
    assert name == "q.jpg"
    assert [float(number) for number in numbers] == pytest.approx([0.5, 0.5, -0.5, 0.5, 0, 5, 0], abs=1e-9)


def test_names_of_the_benchmarks(tmp_path):
    names = ["snow/rear/123.jpg", "snow/left/123.jpg", "dusk/rear/124.jpg"]
    assert write_results(tmp_path / "robotcar.txt", names, some_poses(3), "robotcar") == 2
    assert read_results(tmp_path / "robotcar.txt").names == ["rear/123.jpg", "rear/124.jpg"]
    names = ["slice7/query/img_1_c0_5us.jpg", "slice7/query/img_2_c0_6us.jpg"]
    write_results(tmp_path / "cmu.txt", names, some_poses(2), "cmu")
    assert read_results(tmp_path / "cmu.txt", known=names).names == ["img_1_c0_5us.jpg", "img_2_c0_6us.jpg"]
    shared = [f"slice{number}/query/img_04339_c0_1283348135154347us.jpg" for number in (6, 7)]
    assert write_results(tmp_path / "border.txt", shared, some_poses(2), "cmu") == 1
    with pytest.raises(FgsnError, match=r"'a/1\.jpg' and 'b/1\.jpg' would both be written as '1\.jpg'"):
        write_results(tmp_path / "twice.txt", ["a/1.jpg", "b/1.jpg"], some_poses(2), "cmu")


def test_nothing_broken_is_written(tmp_path):
    path, poses = tmp_path / "r.txt", some_poses(2)
    broken = Pose(poses.rotation, np.where([[True], [False]], np.nan, poses.translation))
    mirrored = Pose(poses.rotation * [[[1]], [[-1]]], poses.translation)
    for wrong, says in ((broken, "'a' is not finite"), (mirrored, "'b' is not finite or not a rotation")):
        with pytest.raises(FgsnError, match=says):
            write_results(path, ["a", "b"], wrong)
    with pytest.raises(FgsnError, match="3 names for 2 poses"):
        write_results(path, ["a", "b", "c"], poses)
    for name in ("#a", "a\nb", " a", ""):
        with pytest.raises(FgsnError, match="cannot be the name"):
            write_results(path, [name, "b"], poses)
    assert not path.exists()


def test_no_pose_at_all_is_a_result_too(tmp_path):
    assert write_results(tmp_path / "r.txt", [], Pose(np.zeros((0, 3, 3)), np.zeros((0, 3)))) == 0
    assert read_results(tmp_path / "r.txt").names == []


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("b.jpg 1 0.5 0 0 1 2 3", "has length 1.118, not 1"),
        ("b.jpg 0 0 0 0 1 2 3", "has length 0, not 1"),
        ("b.jpg 1 0 0 0 1 2", "expected 'name qw qx qy qz tx ty tz'"),
        ("b.jpg 1 0 0 0 1 2 3 4", "more numbers"),
        ("b.jpg 1 0 0 0 1 2 inf", "finite"),
        ("a.jpg 1 0 0 0 1 2 3", "is already in line 1"),
        ("c.jpg 1 0 0 0 1 2 3", "'c.jpg' is not a known query; did you mean"),
        ("/ 1 0 0 0 1 2 3", "is not a known query"),
    ],
)
def test_a_broken_line_is_named(tmp_path, line, says):
    path = tmp_path / "r.txt"
    path.write_text(f"a.jpg 1 0 0 0 1 2 3\n{line}\n")
    with pytest.raises(FgsnError, match=says) as error:
        read_results(path, known=["q/a.jpg", "q/b.jpg"])
    assert str(error.value).startswith(f"{path}:2: ")


def test_shortened_names():
    lookup = SuffixLookup(["s1/c0/a.jpg", "s2/c0/a.jpg", "s1/c0/b.png"])
    assert lookup.find("s1/c0/a.jpg") == "s1/c0/a.jpg"
    assert lookup.find("root/s2/c0/a.jpg") == "s2/c0/a.jpg"
    assert lookup.find("b.jpg") == "s1/c0/b.png"
    with pytest.raises(FgsnError, match="could be"):
        lookup.find("c0/a.jpg")
    for nothing in ("c1/b.png", "", "..", "/"):
        with pytest.raises(FgsnError, match="not a known query"):
            lookup.find(nothing)


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_mutated_files_are_read_or_refused_in_one_line(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("mutated") / "r.txt"
    write_results(path, ["a.jpg", "b.jpg", "c.jpg"], some_poses(3))
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(content))
    found = read_or_refused(lambda: read_results(path))
    assert found is None or np.isfinite(found.camera_from_world.rotation).all()
