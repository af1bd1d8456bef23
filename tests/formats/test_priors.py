import numpy as np
import pytest

from fgsn.errors import FgsnError
from fgsn.formats.ground_truth import read_truth
from fgsn.formats.priors import priors_like, read_odometry, read_priors
from fgsn.formats.queries import read_queries
from fgsn.geometry.camera import Camera
from fgsn.geometry.pose import Pose
from fgsn.geometry.posed import PosedImages
from fgsn.world.lists import GRAVITY_DEGREES, HEIGHT_METRES, write_lists

CAMERA = Camera(320, 240, 250, 250, 159.5, 119.5)
# Camera axes in the world: x right = world x, y down = -world z, z forward = world y.
LEVEL = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])


def world_lists(root, count=200):
    centres = np.column_stack([np.zeros(count), np.arange(count) * 2.0, np.full(count, 1.7)])
    poses = Pose.from_centre(np.tile(LEVEL, (count, 1, 1)), centres)
    names = [f"snow/c0/{number:04d}.jpg" for number in range(count)]
    write_lists(root, "snow", names, CAMERA, poses, np.random.default_rng(0))
    return names, poses


def test_what_the_world_writes_is_read_back(tmp_path):
    names, poses = world_lists(tmp_path)
    priors = read_priors(tmp_path / "priors").of(names[::-1])
    assert priors.names == names[::-1]
    assert np.linalg.norm(priors.gravity, axis=1) == pytest.approx(1)
    # Down is y in a level camera; noise as declared.
    across = np.degrees(priors.gravity[:, [0, 2]])
    assert across.std() == pytest.approx(GRAVITY_DEGREES, rel=0.15)
    assert (priors.heights - 1.7).std() == pytest.approx(HEIGHT_METRES, rel=0.2)

    odometry = read_odometry(tmp_path / "odometry" / "snow.txt")
    assert odometry.names == names
    assert odometry.motion.rotation[0] == pytest.approx(np.eye(3))
    # Driving forward by 2 m moves the old frame 2 m back.
    assert odometry.motion.translation[1:].mean(axis=0) == pytest.approx([0, 0, -2], abs=0.02)

    truth = read_truth(tmp_path / "truth")
    assert truth.names == [query.name for query in read_queries(tmp_path / "queries")]
    assert set(truth.conditions) == {"snow"}
    assert truth.camera_from_world.centre == pytest.approx(poses.centre, abs=1e-6)


def test_missing_and_broken_priors(tmp_path):
    path = tmp_path / "priors.txt"
    path.write_text("# noise\na 0 1 0 1.5\n")
    with pytest.raises(FgsnError, match="1 of 2 images have no prior, first 'b'"):
        read_priors(path).of(["a", "b"])
    for line, says in (("b 0 2 0 1.5", "length 1, not 2"), ("b 0 1 0", "expected"), ("b 0 1 0 x", "expected")):
        path.write_text(f"a 0 1 0 1.5\n{line}\n")
        with pytest.raises(FgsnError, match=says) as error:
            read_priors(path)
        assert f"{path}:2" in str(error.value)


def test_odometry_moves_a_start_along_the_drive(tmp_path):
    lines = ["a.jpg 1 0 0 0 0 0 0", "b.jpg 1 0 0 0 0 0 -2", "c.jpg 0 0 1 0 1 0 0"]
    (tmp_path / "o.txt").write_text("\n".join(lines))
    start = Pose.from_centre(np.eye(3), np.array([5.0, 6.0, 7.0]))
    moved = read_odometry(tmp_path / "o.txt").moved(start)
    assert moved.centre[:2] == pytest.approx(np.array([[5, 6, 7], [5, 6, 9]]))
    motion = moved[2] @ moved[1].inverse()
    assert motion.rotation == pytest.approx(np.diag([-1, 1, -1]))
    assert motion.translation == pytest.approx(np.array([1, 0, 0]))


def test_odometry_is_of_one_drive(tmp_path):
    with pytest.raises(FgsnError, match="is a folder; odometry is one file per drive"):
        read_odometry(tmp_path)
    (tmp_path / "o.txt").write_text("a 1 0 0 0 0 0 0\nb 1 1 0 0 0 0 0\n")
    with pytest.raises(FgsnError, match=r"o\.txt:2: the quaternion"):
        read_odometry(tmp_path / "o.txt")


def test_priors_come_from_the_most_similar_image_of_the_map():
    poses = Pose.from_centre(np.tile(LEVEL, (2, 1, 1)), [[0, 0, 1.5], [0, 3, 2.5]])
    images = PosedImages(["a.jpg", "b.jpg"], [CAMERA], np.zeros(2, int), poses)
    priors = priors_like(images, [0, 0, 2.0], {"q.jpg": ["elsewhere.jpg", "b.jpg", "a.jpg"], "r.jpg": ["a.jpg"]})
    assert priors.names == ["q.jpg", "r.jpg"]
    assert priors.heights == pytest.approx([2.5, 1.5])
    assert priors.gravity == pytest.approx(np.tile([0.0, 1, 0], (2, 1)))
    with pytest.raises(FgsnError, match=r"none of the images retrieved for 'q\.jpg' is in the map"):
        priors_like(images, [0, 0, 1], {"q.jpg": ["elsewhere.jpg"]})
