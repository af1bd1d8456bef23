import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import fgsn
from fgsn.data.correspondences import read_correspondences, stored_paths, write_correspondences
from fgsn.errors import FgsnError

POINTS = np.array([[1.0, 2.0], [3.25, 4.0], [63.0, 0.0]])


def put(path: Path, **arrays: object) -> Path:
    """A correspondence file with some arrays replaced, or taken out by None."""
    path.parent.mkdir(parents=True, exist_ok=True)
    stored: dict[str, object] = {
        "im_i_path": codes("a/c0/1.png"),
        "im_j_path": codes("b/c0/2.png"),
        "pt_i": POINTS,
        "pt_j": POINTS + 1,
        "dist_from_center": np.array([[0.0, 0.5, 1.0]]),
    }
    with h5py.File(path, "w") as file:
        for key, values in (stored | arrays).items():
            if values is not None:
                file[key] = values
    return path


def codes(name: str) -> np.ndarray:
    return np.array([[ord(letter)] for letter in name], np.uint16)


@pytest.fixture
def root(tmp_path, make_image):
    make_image(tmp_path / "images/a/c0/1.png", seed=1)
    make_image(tmp_path / "images/b/c0/2.png", seed=2)
    return tmp_path


@pytest.fixture
def path(root):
    return root / "correspondence_data" / "pair.mat"


def test_reads_the_authors_form(root, path):
    pair = fgsn.read_correspondences(put(path))
    assert pair.reference == root / "images/a/c0/1.png"
    assert pair.target == root / "images/b/c0/2.png"
    np.testing.assert_array_equal(pair.points_ref, POINTS)
    np.testing.assert_array_equal(pair.points_tgt, POINTS + 1)
    np.testing.assert_allclose(pair.weights, np.exp([-0.0, -0.5, -1.0]))
    assert stored_paths(path) == ("a/c0/1.png", "b/c0/2.png")


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    count=st.integers(0, 6),
    dtype=st.sampled_from(["f8", "f4", "i4", "u2"]),
    turned=st.tuples(*[st.booleans()] * 4),
    flat=st.booleans(),
)
def test_every_orientation_reads_the_same(path, count, dtype, turned, flat):
    points = np.arange(2 * count).reshape(count, 2).astype(dtype)
    turned_points = [points.T if turn and count != 2 else points for turn in turned[:2]]
    name = codes("a/c0/1.png")
    distances = np.zeros(count) if flat else np.zeros((1, count))
    put(
        path,
        im_i_path=name.T if turned[2] else name,
        pt_i=turned_points[0],
        pt_j=turned_points[1],
        dist_from_center=distances.T if turned[3] else distances,
    )
    pair = read_correspondences(path)
    assert pair.points_ref.dtype == pair.points_tgt.dtype == np.float64
    np.testing.assert_array_equal(pair.points_ref, points)
    np.testing.assert_array_equal(pair.points_tgt, points)
    np.testing.assert_array_equal(pair.weights, np.ones(count))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    points=st.lists(st.tuples(*[st.floats(-1e6, 1e6)] * 5), max_size=8).map(lambda rows: np.array(rows).reshape(-1, 5))
)
def test_what_is_written_is_read(path, points):
    write_correspondences(path, "a/c0/1.png", "b/c0/2.png", points[:, :2], points[:, 2:4], points[:, 4] ** 2)
    pair = read_correspondences(path)
    np.testing.assert_array_equal(pair.points_ref, points[:, :2])
    np.testing.assert_array_equal(pair.points_tgt, points[:, 2:4])
    np.testing.assert_array_equal(pair.weights, np.exp(-(points[:, 4] ** 2)))


def test_written_form_is_the_authors_and_repeatable(path):
    arguments = ("a/ü.png", "b/\U0001f600.png", POINTS, POINTS, np.zeros(3))
    write_correspondences(path, *arguments)
    first = path.read_bytes()
    write_correspondences(path, *arguments)
    assert path.read_bytes() == first
    assert first.startswith(b"MATLAB 7.3 MAT-file")
    assert first[124:128] == b"\x00\x02IM"
    assert stored_paths(path) == ("a/ü.png", "b/\U0001f600.png")
    with h5py.File(path) as file:
        assert file["pt_i"].shape == (3, 2)
        assert file["dist_from_center"].shape == (1, 3)
        assert file["im_i_path"].shape == (7, 1)
        assert file["im_i_path"].dtype == np.uint16
        assert file["im_i_path"].attrs["MATLAB_class"] == b"char"
        assert file["pt_j"].attrs["MATLAB_class"] == b"double"


def test_empty_matlab_array(path):
    put(path, pt_i=np.array([2, 0], np.uint64), pt_j=np.empty((0, 2)), dist_from_center=None)
    with h5py.File(path, "a") as file:
        file["pt_i"].attrs["MATLAB_empty"] = np.uint8(1)
    assert read_correspondences(path).points_ref.shape == (0, 2)


def test_without_distances_all_weights_are_one(path):
    np.testing.assert_array_equal(read_correspondences(put(path, dist_from_center=None)).weights, np.ones(3))


@pytest.mark.parametrize(
    ("arrays", "expected"),
    [
        ({"pt_j": None}, "pt_j is missing"),
        ({"im_i_path": None}, "im_i_path is missing"),
        ({"pt_j": POINTS[:2]}, "pt_i has 3 points but pt_j has 2"),
        ({"pt_i": np.ones((3, 3))}, r"pt_i should have shape \(N, 2\) or \(2, N\), not \(3, 3\)"),
        ({"pt_i": np.ones(6)}, "pt_i should have shape"),
        ({"pt_i": np.where(POINTS == 2, np.nan, POINTS)}, "pt_i contains 1 values that are not finite"),
        ({"pt_j": POINTS + np.inf}, "pt_j contains .* not finite"),
        ({"dist_from_center": np.array([0, np.nan, 0])}, "dist_from_center contains 1 values"),
        ({"dist_from_center": np.array([0, -1e9, 0])}, "dist_from_center contains negative"),
        ({"dist_from_center": np.zeros((1, 4))}, "dist_from_center has shape"),
        ({"pt_i": np.array([[b"x", b"y"]] * 3)}, "pt_i should contain numbers"),
        ({"pt_i": POINTS + 1j}, "pt_i should contain numbers"),
        ({"pt_i": h5py.SoftLink("/pt_j")}, "pt_i is a link"),
        ({"pt_i": h5py.ExternalLink("other.mat", "/pt_j")}, "pt_i is a link"),
        ({"im_i_path": np.ones((3, 3), np.uint16)}, "im_i_path should be"),
        ({"im_i_path": np.ones((5000, 1), np.uint16)}, "im_i_path has shape"),
        ({"im_i_path": np.zeros((3, 1), np.uint16)}, "im_i_path contains numbers that are not character codes"),
        ({"im_i_path": np.array([[0xD83D]], np.uint16)}, "im_i_path contains numbers that are not text"),
        ({"im_i_path": codes("a\nb.png")}, "im_i_path contains control"),
        ({"im_i_path": codes("a\u2028b.png")}, "im_i_path contains control"),
        ({"im_i_path": codes("../secret.png")}, "leaves its root"),
        ({"im_i_path": codes("a/../../secret.png")}, "leaves its root"),
        ({"im_i_path": codes("/etc/passwd")}, "leaves its root"),
        ({"im_i_path": codes("C:\\secret.png")}, "leaves its root"),
        ({"im_i_path": codes("a/c0/3.png")}, "image 'a/c0/3.png' is not in"),
    ],
)
def test_what_is_wrong_is_reported_in_one_line(path, arrays, expected):
    put(path, **arrays)
    with pytest.raises(FgsnError, match=expected) as failure:
        read_correspondences(path)
    assert str(path) in str(failure.value)
    assert "\n" not in str(failure.value)


def test_missing_foreign_and_truncated_files(path):
    with pytest.raises(FgsnError, match="does not exist"):
        read_correspondences(path)
    put(path)
    whole = path.read_bytes()
    for content in (b"", b"MATLAB 5.0 MAT-file", whole[: len(whole) // 2], whole[:600]):
        path.write_bytes(content)
        with pytest.raises(FgsnError, match=r"pair\.mat is not a readable correspondence file") as failure:
            read_correspondences(path)
        assert "\n" not in str(failure.value)
    path.unlink()
    path.mkdir()
    with pytest.raises(FgsnError, match=r"pair\.mat"):
        read_correspondences(path)


def test_no_file_stays_open(path):
    read_correspondences(put(path))
    with h5py.File(path, "a") as file:  # HDF5 refuses this while a reader has the file open
        file.attrs["writable"] = 1


def test_image_elsewhere_is_found_by_its_base_name(root, path, make_image):
    moved = make_image(root / "images/slice2/query/img_00001_c0_12us.jpg")
    put(path, im_i_path=codes("overcast/img_00001_c0_12us.jpg"))
    assert read_correspondences(path).reference == moved


def test_of_two_cameras_the_one_with_the_same_ending_is_taken(root, path, make_image):
    left = make_image(root / "images/slice2/left/7.png", seed=3)
    make_image(root / "images/slice2/right/7.png", seed=4)
    put(path, im_i_path=codes("sun/left/7.png"))
    assert read_correspondences(path).reference == left
    put(path, im_i_path=codes("sun/7.png"))
    with pytest.raises(FgsnError, match=r"could be .*left/7\.png or .*right/7\.png"):
        read_correspondences(path)


def test_a_missing_image_is_never_replaced_by_the_other_of_the_pair(root, path, make_image):
    make_image(root / "images/sun/c0/9.png")
    put(path, im_i_path=codes("sun/c0/9.png"), im_j_path=codes("snow/c0/9.png"))
    with pytest.raises(FgsnError, match=r"snow/c0/9\.png"):
        read_correspondences(path)


def test_images_may_lie_in_another_folder(root, path, tmp_path_factory):
    put(path)
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "images"
    shutil.move(root / "images", elsewhere)
    assert read_correspondences(path, elsewhere).target == elsewhere / "b/c0/2.png"


@pytest.mark.parametrize(
    "change",
    [
        {"points_ref": POINTS[:2]},
        {"distances": np.ones((1, 3))},
        {"points_tgt": POINTS * np.nan},
        {"distances": np.array([0.0, -1.0, 0.0])},
        {"distances": 3.0},
        {"points_ref": [["a", "b"]] * 3},
        {"points_ref": [[1.0], [1.0, 2.0]]},
    ],
)
def test_nonsense_is_not_written(path, change):
    arguments = {"points_ref": POINTS, "points_tgt": POINTS, "distances": np.zeros(3)} | change
    with pytest.raises(FgsnError, match=r"pair\.mat"):
        write_correspondences(path, "a.png", "b.png", **arguments)
    with pytest.raises(FgsnError, match="leaves"):
        write_correspondences(path, "../a.png", "b.png", POINTS, POINTS, np.zeros(3))
    with pytest.raises(FgsnError, match="control characters"):
        write_correspondences(path, "a\nb.png", "b.png", POINTS, POINTS, np.zeros(3))
    with pytest.raises(FgsnError, match="control characters"):
        write_correspondences(path, "a\ud800.png", "b.png", POINTS, POINTS, np.zeros(3))
    assert not path.exists()


def test_text_in_place_of_character_codes_is_told_what_to_do(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file["im_i_path"] = "a/1.jpg"
    with pytest.raises(FgsnError, match=r"im_i_path should be \(L, 1\) character codes, not text: in Python") as error:
        read_correspondences(path)
    assert "\n" not in str(error.value)
