import re

import numpy as np
import pytest

import plain_scene as scene
from fgsn.correspond.depth_maps import DepthMaps
from fgsn.correspond.from_depth import from_depth
from fgsn.errors import FgsnError
from fgsn.geometry.camera import Camera
from fgsn.geometry.pose import Pose
from fgsn.geometry.posed import PosedImages, join
from fgsn.matching.pair import MatchedPair, RefusedPair

SUMMER, WINTER = (
    scene.images("summer", scene.drive(4, 0.0, 4)),
    scene.images("winter", scene.drive(4, 0.7, 4, 0.5)),
)
BOTH = join([SUMMER, WINTER])


def write_depth(folder, images: PosedImages, unit: float = 0.01) -> DepthMaps:
    for row, name in enumerate(images.names):
        path = (folder / name).with_suffix(".npy")
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, (scene.depth_map(images.camera(row), images.camera_from_world[row]) / unit).astype(np.float32))
    return DepthMaps(folder, unit)


@pytest.fixture(scope="module")
def depth(tmp_path_factory):
    return write_depth(tmp_path_factory.mktemp("depth"), BOTH)


def test_correspondences_are_exact_and_what_is_hidden_is_left_out(depth):
    found = list(from_depth(BOTH, depth, "summer", points=400))
    assert len(found) == 4
    truth = scene.truth(BOTH)
    for pair in found:
        assert isinstance(pair, MatchedPair)
        assert pair.reference.startswith("summer")
        assert pair.target == pair.reference.replace("summer", "winter")
        assert len(pair.errors) == 400
        assert pair.errors.max() < 1
        right, seen = scene.share_right(pair, truth, 0.1)
        assert right == 1
        assert seen > 0.99
    again = list(from_depth(BOTH, depth, "summer", points=400))
    assert all((one.points_ref == other.points_ref).all() for one, other in zip(found, again, strict=True))


def test_distorted_cameras(tmp_path):
    pytest.importorskip("pycolmap")
    lens = Camera.from_parameters(96, 72, (70, 72, 48, 36, -0.2, 0.03, 0.001, -0.001), "OPENCV")
    images = join([scene.images("summer", scene.drive(2, 0.0), lens), scene.images("winter", scene.drive(2, 0.5))])
    pair = next(from_depth(images, write_depth(tmp_path, images), "summer", points=300))
    assert len(pair.errors) == 300
    assert scene.share_right(pair, scene.truth(images), 0.1) > (0.999, 0.98)


@pytest.mark.parametrize("factor", [0.001, 0.1, 0.5, 3.937, 10.0, 1000.0])
def test_depth_in_the_wrong_unit_is_refused(depth, factor):
    with pytest.raises(FgsnError, match="different units") as error:
        next(from_depth(BOTH, DepthMaps(depth.folder, 0.01 * factor), "summer"))
    message = re.search(r"multiplied by (\S+); give --depth-unit (\S+) instead of", str(error.value))
    assert float(message[1]) == pytest.approx(1 / factor, rel=0.02)
    assert float(message[2]) == pytest.approx(0.01, rel=0.02)


def test_inverted_poses_are_refused(depth):
    inverted = PosedImages(BOTH.names, BOTH.cameras, BOTH.camera_of, BOTH.camera_from_world.inverse())
    with pytest.raises(FgsnError, match="the poses contain poses from the camera to the world"):
        next(from_depth(inverted, depth, "summer"))


def test_poses_that_do_not_fit_are_refused(depth):
    turned = BOTH.camera_from_world.rotation[:, [2, 0, 1]]
    wrong = PosedImages(
        BOTH.names, BOTH.cameras, BOTH.camera_of, Pose.from_centre(turned, BOTH.camera_from_world.centre)
    )
    with pytest.raises(FgsnError, match=r"do not match|different units"):
        next(from_depth(wrong, depth, "summer"))


def test_images_of_another_place_are_refused(tmp_path):
    away = scene.images("winter", scene.drive(4, 0.0, shift=30.0))
    images = join([SUMMER, away])
    found = list(from_depth(images, write_depth(tmp_path, images), "summer"))
    assert len(found) == 4
    assert all(isinstance(one, RefusedPair) and one.target == "winter" for one in found)
    assert "no image of this condition" in found[0].reason


def test_wrong_input_is_reported_in_one_line(depth, tmp_path):
    with pytest.raises(FgsnError, match="one condition"):
        next(from_depth(SUMMER, depth, "summer"))
    with pytest.raises(FgsnError, match="no image has the reference condition 'spring'"):
        next(from_depth(BOTH, depth, "spring"))
    with pytest.raises(FgsnError, match="has no depth map"):
        next(from_depth(BOTH, DepthMaps(tmp_path, 0.01), "summer"))
