import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fgsn.errors import FgsnError
from fgsn.geometry.camera import Camera
from fgsn.geometry.colmap import Reconstruction, read_model, write_model
from fgsn.geometry.pose import Pose

CAMERA = Camera(96, 72, 77.0, 76.0, 47.5, 35.5)
LENS = Camera.from_parameters(96, 72, (80.0, 48.0, 36.0, -0.1), "SIMPLE_RADIAL")
SHARED = Path(__file__).parents[2].parent / "shared" / "data"


def toy_model(cameras: tuple[Camera, ...] = (CAMERA,)) -> Reconstruction:
    rng = np.random.default_rng(0)
    points = rng.uniform((-1, -1, 4), (1, 1, 6), (20, 3))
    poses = Pose(np.tile(np.eye(3), (3, 1, 1)), rng.normal(0, 0.1, (3, 3)))
    image, point = np.divmod(rng.permutation(60), 20)
    camera_of = np.arange(3) % len(cameras)
    pixels = np.stack([
        cameras[camera_of[i]].project(poses[int(i)].transform(points[p][None]))[0][0]
        for i, p in zip(image, point, strict=True)
    ])  # fmt: skip
    colours = rng.integers(0, 256, (20, 3)).astype(np.uint8)
    names = ["a/c0/1.jpg", "a/c0/2.jpg", "b/c0/with space.jpg"]
    return Reconstruction(names, list(cameras), camera_of, poses, points, colours, point, image, pixels)


def same(one: Reconstruction, other: Reconstruction) -> None:
    """Two models are equal, whatever the order of images, points and observations."""
    assert sorted(one.names) == sorted(other.names)
    rows = [one.names.index(name) for name in other.names]
    assert other.camera_from_world.rotation == pytest.approx(one.camera_from_world.rotation[rows], abs=1e-6)
    assert other.camera_from_world.translation == pytest.approx(one.camera_from_world.translation[rows], abs=1e-6)
    for row, name in enumerate(other.names):
        camera, twin = other.camera(row), one.camera(one.names.index(name))
        assert (camera.model, camera.width, camera.height) == (twin.model, twin.width, twin.height)
        assert camera.parameters == pytest.approx(twin.parameters)

    def table(model: Reconstruction) -> np.ndarray:
        at = np.array([sorted(model.names).index(name) for name in model.names])[model.track_image]
        columns = (at, model.track_pixels, model.points[model.track_point], model.colours[model.track_point])
        rows = np.column_stack(columns).astype(float)
        return rows[np.lexsort(rows[:, :3].round(3).T)]

    assert table(other) == pytest.approx(table(one), abs=1e-4)


def test_round_trip(tmp_path):
    model = toy_model()
    assert model.errors().max() < 1e-9
    write_model(tmp_path, model)
    again = read_model(tmp_path)
    assert again.names == model.names
    assert again.cameras == model.cameras
    assert again.points == pytest.approx(model.points)
    assert (again.colours == model.colours).all()
    same(model, again)
    assert again.errors().max() < 1e-5


@pytest.mark.parametrize("kind", ["bin", "txt"])
def test_pycolmap_reads_it_and_we_read_pycolmaps(tmp_path, kind):
    pycolmap = pytest.importorskip("pycolmap")
    # COLMAP cuts names off at a space when it reads text.
    model = replace(toy_model((CAMERA, LENS)), names=["a/c0/1.jpg", "a/c0/2.jpg", "b/c0/3.jpg"])
    write_model(tmp_path / "ours", model)
    theirs = pycolmap.Reconstruction(str(tmp_path / "ours"))
    assert (theirs.num_reg_images(), theirs.num_points3D(), theirs.num_cameras()) == (3, 20, 2)
    assert theirs.compute_mean_reprojection_error() < 1e-4
    theirs.update_point_3d_errors()
    assert max(point.error for point in theirs.points3D.values()) < 1e-4
    (tmp_path / "theirs").mkdir()
    (theirs.write_binary if kind == "bin" else theirs.write_text)(str(tmp_path / "theirs"))
    assert (tmp_path / "theirs" / f"images.{kind}").exists()
    again = read_model(tmp_path / "theirs")
    same(model, again)
    assert again.errors().max() < 1e-4


@pytest.mark.parametrize("folder", ["colmap_maupertuis/reconstruction", "cmu_seasons/sparse"])
def test_real_models_are_read_as_pycolmap_does(folder):
    pycolmap = pytest.importorskip("pycolmap")
    if not (SHARED / folder).is_dir():
        pytest.skip("no shared data")
    theirs = pycolmap.Reconstruction(str(SHARED / folder))
    ours = read_model(SHARED / folder)
    assert len(ours.points) == theirs.num_points3D()
    assert len(ours.track_point) == theirs.compute_num_observations()
    per_point = np.bincount(ours.track_point, ours.errors()) / np.bincount(ours.track_point)
    assert per_point.mean() == pytest.approx(theirs.compute_mean_reprojection_error(), rel=0.01)
    image = next(one for one in theirs.images.values() if one.name == ours.names[-1])
    assert ours.camera_from_world[-1].centre == pytest.approx(image.projection_center())


def test_an_image_without_observations(tmp_path):
    none = np.zeros(0, np.int64)
    empty = replace(toy_model(), track_point=none, track_image=none, track_pixels=np.zeros((0, 2)))
    write_model(tmp_path, empty)
    assert len(read_model(tmp_path).track_point) == 0


def test_a_model_without_points(tmp_path):
    none = np.zeros(0, np.int64)
    empty = replace(
        toy_model(), points=np.zeros((0, 3)), colours=np.zeros((0, 3), np.uint8),
        track_point=none, track_image=none, track_pixels=np.zeros((0, 2)),
    )  # fmt: skip
    write_model(tmp_path, empty)
    with pytest.raises(FgsnError, match=r"points3D\.txt contains no points"):
        read_model(tmp_path)
    assert read_model(tmp_path, points_needed=False).names == empty.names


def test_wrong_input_is_reported_in_one_line(tmp_path):
    with pytest.raises(FgsnError, match="contains no COLMAP model"):
        read_model(tmp_path / "absent")
    write_model(tmp_path / "sparse" / "0", toy_model())
    with pytest.raises(FgsnError, match=r"did you mean .*sparse/0\?"):
        read_model(tmp_path / "sparse")
    (tmp_path / "sparse" / "0" / "points3D.txt").unlink()
    with pytest.raises(FgsnError, match=r"points3D\.txt does not exist"):
        read_model(tmp_path / "sparse" / "0")
    (tmp_path / "cameras.txt").write_text("# none\n")
    (tmp_path / "images.txt").write_text("")
    (tmp_path / "points3D.txt").write_text("")
    with pytest.raises(FgsnError, match=r"images\.txt contains no images"):
        read_model(tmp_path)


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("cameras", "PINHOLE", "EQUIRECTANGULAR", r"cameras\.txt:2: unknown camera model"),
        ("cameras", " 77 76", " 77", r"cameras\.txt:2: camera model PINHOLE has 4"),
        ("cameras", "96", "wide", r"cameras\.txt:2: this line"),
        ("images", "a/c0/1.jpg", "", r"images\.txt:3: this line"),
        ("images", " 1 a/c0/2.jpg", " 7 a/c0/2.jpg", r"'a/c0/2\.jpg' has camera 7"),
        ("images", "\n2 1 ", "\n2 0 ", "not a unit quaternion"),
        ("images", "\n2 1 ", "\n2 nan ", r"the entry 'a/c0/2\.jpg' has values that are not finite"),
        ("images", "\n2 1 ", "\n1 1 ", "an identifier twice"),
        ("images", "\n2 1 ", "\n2 -inf ", r"the entry 'a/c0/2\.jpg' has values that are not finite"),
        ("points3D", "\n20 ", "\n20 x", r"points3D\.txt:21: this line"),
        ("points3D", "\n20 ", "\n21 ", "do not belong together"),
        ("points3D", " 3 1", " 4 1", r"is observed by image 4, which is not in images\.txt"),
        ("points3D", " 3 1", " 3 100", r"keypoint 100\d* of 'b/c0/with space.jpg'"),
        ("points3D", " 3 1", " 3 -1", "keypoint -1"),
        ("points3D", "\n20 ", "\n20 inf ", "this line|not finite"),
    ],
)
def test_a_damaged_text_model_is_reported_in_one_line(tmp_path, file, old, new, message):
    write_model(tmp_path, toy_model())
    path = tmp_path / f"{file}.txt"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(FgsnError, match=message) as error:
        read_model(tmp_path)
    assert "\n" not in str(error.value)


@pytest.fixture(scope="module")
def binary(tmp_path_factory):
    pycolmap = pytest.importorskip("pycolmap")
    folder = tmp_path_factory.mktemp("binary")
    write_model(folder / "txt", toy_model())
    (folder / "bin").mkdir()
    pycolmap.Reconstruction(str(folder / "txt")).write_binary(str(folder / "bin"))
    return folder / "bin"


@settings(max_examples=120, deadline=None)
@given(st.sampled_from(["cameras", "images", "points3D"]), st.integers(0, 2**16), st.integers(0, 255), st.booleans())
def test_a_damaged_binary_model_is_read_or_refused(binary, tmp_path_factory, file, place, value, cut):
    folder = tmp_path_factory.mktemp("damaged") / "model"
    shutil.copytree(binary, folder)
    path = folder / f"{file}.bin"
    data = bytearray(path.read_bytes())
    place %= len(data)
    if cut:
        del data[place:]
    else:
        data[place] = value
    path.write_bytes(data)
    message, model = "", None
    try:
        model = read_model(folder)
    except FgsnError as error:
        message = str(error)
    assert "\n" not in message
    assert (str(folder) in message) if model is None else (not cut and len(model.track_point) == 60)


def test_where_a_binary_file_is_damaged(binary, tmp_path):
    shutil.copytree(binary, tmp_path / "model")
    path = tmp_path / "model" / "points3D.bin"
    data = path.read_bytes()
    path.write_bytes(data[:500])
    with pytest.raises(FgsnError, match=r"points3D\.bin is damaged or truncated: .* byte \d+ of 500"):
        read_model(tmp_path / "model")
    path.write_bytes(data + b"\0")
    with pytest.raises(FgsnError, match="damaged"):
        read_model(tmp_path / "model")
    path.unlink()
    with pytest.raises(FgsnError, match=r"cannot read .*points3D\.bin"):
        read_model(tmp_path / "model")


def rig_model(folder: Path, kind: str) -> Path:
    """A model of COLMAP 4 with a rig of two cameras; the poses in its images are stale."""
    pycolmap = pytest.importorskip("pycolmap")
    model = replace(toy_model((CAMERA, CAMERA)), names=["a.jpg", "b.jpg", "c.jpg"])
    write_model(folder / "txt", model)
    turn = "0.9914449 0 0.1305262 0 0.5 0.1 -0.2"
    (folder / "txt" / "rigs.txt").write_text(f"# rigs\n1 2 CAMERA 1 CAMERA 2 1 {turn}\n")
    (folder / "txt" / "frames.txt").write_text(
        "# frames\n1 1 0.9659258 0.2588190 0 0 1 2 3 2 CAMERA 1 1 CAMERA 2 2\n2 1 1 0 0 0 0.5 0 0 1 CAMERA 1 3\n"
    )
    if kind == "bin":
        (folder / "bin").mkdir()
        pycolmap.Reconstruction(str(folder / "txt")).write_binary(str(folder / "bin"))
        stale = (folder / "bin" / "images.bin").read_bytes()
        (folder / "bin" / "images.bin").write_bytes(stale[:44] + np.float64(77).tobytes() + stale[52:])
    return folder / kind


@pytest.mark.parametrize("kind", ["txt", "bin"])
def test_poses_are_those_of_rigs_and_frames_as_colmap_reads_them(tmp_path, capsys, kind):
    pycolmap = pytest.importorskip("pycolmap")
    folder = rig_model(tmp_path, kind)
    ours, theirs = read_model(folder), pycolmap.Reconstruction(str(folder))
    for image in theirs.images.values():
        row, pose = ours.names.index(image.name), image.cam_from_world()
        assert ours.camera_from_world.rotation[row] == pytest.approx(pose.rotation.matrix(), abs=1e-6)
        assert ours.camera_from_world.translation[row] == pytest.approx(pose.translation, abs=1e-6)
    err = capsys.readouterr().err
    assert "images have other poses than their frames, which count" in err
    assert "does not fit itself: the median error of its observations" in err


@pytest.mark.parametrize("kind", ["txt", "bin"])
def test_damaged_rigs_are_one_line(tmp_path, kind):
    folder = rig_model(tmp_path, kind)
    for name in ("rigs", "frames"):
        path = folder / f"{name}.{kind}"
        whole = path.read_bytes()
        for damaged in (whole[:-5], whole + b"1 2", whole.replace(b"1", b"x") if kind == "txt" else whole[:9]):
            path.write_bytes(damaged)
            with pytest.raises(FgsnError, match=rf"{name}\.{kind}"):
                read_model(folder)
        path.write_bytes(whole)


def test_a_model_that_fits_itself_is_not_reported(tmp_path, capsys):
    write_model(tmp_path, toy_model())
    read_model(tmp_path)
    assert capsys.readouterr().err == ""


def test_key_points_without_a_point_keep_their_numbers(tmp_path):
    """Row n of an image is key point n of hloc's features.h5, whether it observes a point or not."""
    model = toy_model()
    rng = np.random.default_rng(1)
    key_points, number = [], np.empty(len(model.track_point), np.int64)
    for image in range(3):
        mine = np.nonzero(model.track_image == image)[0]
        every = rng.uniform(0, 40, (len(mine) + 7, 2))
        number[mine] = rng.permutation(len(every))[: len(mine)]
        every[number[mine]] = model.track_pixels[mine]
        key_points.append(every)
    write_model(tmp_path / "a", replace(model, key_points=key_points, track_keypoint=number))
    again = read_model(tmp_path / "a", all_key_points=True)
    same(read_model(tmp_path / "a"), model)
    assert again.key_points is not None
    for found, expected in zip(again.key_points, key_points, strict=True):
        assert found == pytest.approx(expected, abs=1e-5)
    write_model(tmp_path / "b", again)
    for name in ("cameras.txt", "images.txt", "points3D.txt"):
        assert (tmp_path / "b" / name).read_text() == (tmp_path / "a" / name).read_text()


@pytest.mark.parametrize("kind", ["txt", "bin"])
def test_a_camera_of_an_unknown_model_that_no_image_has_does_not_matter(tmp_path, kind):
    """COLMAP keeps the camera of a panorama from which the views of its images were cut."""
    model = replace(toy_model(), names=["a.jpg", "b.jpg", "c.jpg"])
    write_model(tmp_path / "txt", model)
    with (tmp_path / "txt" / "cameras.txt").open("a") as file:
        file.write("9 EQUIRECTANGULAR 128 64 128 64\n")
    if kind == "bin":
        pycolmap = pytest.importorskip("pycolmap")
        (tmp_path / "bin").mkdir()
        pycolmap.Reconstruction(str(tmp_path / "txt")).write_binary(str(tmp_path / "bin"))
    same(read_model(tmp_path / kind), model)


def test_no_point_may_be_an_unsigned_number(tmp_path):
    write_model(tmp_path, toy_model())
    path = tmp_path / "images.txt"
    words, whole = path.read_text().split("\n"), len(read_model(tmp_path).track_point)
    row = next(row for row, line in enumerate(words) if line and not line.startswith("#")) + 1
    for number in ("18446744073709551615", "99999999999999999999"):
        path.write_text("\n".join([*words[:row], f"{words[row]} 1 1 {number}", *words[row + 1 :]]))
        if number.startswith("18"):
            assert len(read_model(tmp_path, all_key_points=True).track_point) == whole
            continue
        with pytest.raises(FgsnError, match=r"images\.txt"):
            read_model(tmp_path)
