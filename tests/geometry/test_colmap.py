import numpy as np
import pytest

from fgsn.errors import FgsnError
from fgsn.geometry.camera import Camera
from fgsn.geometry.colmap import Reconstruction, read_model, write_model
from fgsn.geometry.pose import Pose

CAMERA = Camera(96, 72, 77.0, 76.0, 47.5, 35.5)


def toy_model() -> Reconstruction:
    rng = np.random.default_rng(0)
    points = rng.uniform((-1, -1, 4), (1, 1, 6), (20, 3))
    poses = Pose(np.tile(np.eye(3), (3, 1, 1)), rng.normal(0, 0.1, (3, 3)))
    image, point = np.divmod(rng.permutation(60), 20)
    pixels, _ = CAMERA.project(poses[image].transform_one(points[point]))
    colours = rng.integers(0, 256, (20, 3)).astype(np.uint8)
    names = ["a/c0/1.jpg", "a/c0/2.jpg", "b/c0/with space.jpg"]
    return Reconstruction(CAMERA, names, poses, points, colours, point, image, pixels)


def test_round_trip(tmp_path):
    model = toy_model()
    assert model.errors().max() < 1e-9
    write_model(tmp_path, model)
    again = read_model(tmp_path)
    assert again.names == model.names
    assert again.camera == model.camera
    assert again.points == pytest.approx(model.points)
    assert (again.colours == model.colours).all()
    assert again.camera_from_world.rotation == pytest.approx(model.camera_from_world.rotation)
    assert len(again.track_point) == 60
    assert again.errors().max() < 1e-5


def test_pycolmap_reads_it(tmp_path):
    pycolmap = pytest.importorskip("pycolmap")
    write_model(tmp_path, toy_model())
    model = pycolmap.Reconstruction(str(tmp_path))
    assert (model.num_reg_images(), model.num_points3D()) == (3, 20)
    assert model.compute_mean_reprojection_error() < 1e-4
    model.update_point_3d_errors()
    assert max(point.error for point in model.points3D.values()) < 1e-4


def test_an_image_without_observations(tmp_path):
    model = toy_model()
    none = np.zeros(0, np.int64)
    empty = Reconstruction(
        CAMERA, model.names, model.camera_from_world, model.points, model.colours, none, none, np.zeros((0, 2))
    )
    write_model(tmp_path, empty)
    assert len(read_model(tmp_path).track_point) == 0


def test_wrong_input_is_said_in_one_line(tmp_path):
    with pytest.raises(FgsnError, match=r"cameras\.txt does not exist"):
        read_model(tmp_path)
    (tmp_path / "cameras.txt").write_text("1 OPENCV 10 10 1 1 1 1\n")
    with pytest.raises(FgsnError, match="exactly one PINHOLE"):
        read_model(tmp_path)


def test_a_broken_model_is_said_in_one_line(tmp_path):
    write_model(tmp_path, toy_model())
    whole = (tmp_path / "points3D.txt").read_text()
    for broken in (whole[:-1] + " 99 0\n", whole.replace("1 ", "x ", 1) + "1 2\n", whole[:-1] + " 1\n"):
        (tmp_path / "points3D.txt").write_text(broken)
        with pytest.raises(FgsnError, match="no COLMAP text model"):
            read_model(tmp_path)
