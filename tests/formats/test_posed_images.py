import numpy as np
import pytest

from fgsn.errors import FgsnError
from fgsn.formats.posed_images import read_posed_images
from fgsn.geometry.posed import join

POSES = "# poses\na/c0/1.jpg 1 0 0 0 1 2 3\na/c1/with space.jpg 0 1 0 0 4 5 6\n"
CAMERAS = "c0 PINHOLE 96 72 77 76 48 36\na/c1/with space.jpg SIMPLE_RADIAL 640 480 400 320 240 -0.1\n"


@pytest.fixture
def files(tmp_path):
    (tmp_path / "poses.txt").write_text(POSES)
    (tmp_path / "cameras.txt").write_text(CAMERAS)
    return tmp_path / "poses.txt", tmp_path / "cameras.txt"


def test_lists_are_read(files):
    images = read_posed_images(*files)
    assert images.names == ["a/c0/1.jpg", "a/c1/with space.jpg"]
    assert [images.camera(row).model for row in range(2)] == ["PINHOLE", "SIMPLE_RADIAL"]
    assert images.camera(0).cx == 47.5
    assert images.camera_from_world.translation == pytest.approx(np.array([[1, 2, 3], [4, 5, 6]]))
    assert images.camera_from_world.rotation[1] == pytest.approx(np.diag([1, -1, -1]))
    pixels, depth = images.project(0, [[-1.0, -2.0, 7.0]])
    assert pixels == pytest.approx(np.array([[47.5, 35.5]]))
    assert depth == pytest.approx(10)


def test_sets_are_joined(files):
    images = read_posed_images(*files)
    with pytest.raises(FgsnError, match=r"image 'a/c0/1\.jpg' has 2 poses"):
        join([images, images])
    with pytest.raises(FgsnError, match="no images with poses"):
        join([])
    other = type(images)(["b/c0/1.jpg"], images.cameras, np.array([1]), images.camera_from_world[:1])
    joined = join([images, other])
    assert joined.camera_of.tolist() == [0, 1, 3]
    assert joined.camera(2).model == "SIMPLE_RADIAL"


@pytest.mark.parametrize(
    ("poses", "cameras", "said"),
    [
        (POSES + "b.jpg 1 0 0 0 1 2\n", CAMERAS, r"poses\.txt:4: expected 'name qw"),
        (POSES + "b.jpg 1 0 0 0 1 2 x\n", CAMERAS, r"poses\.txt:4: expected"),
        (POSES + "b.jpg 0 0 0 0 1 2 3\n", CAMERAS, r"poses\.txt:4: the quaternion 0 0 0 0 has length 0, not 1"),
        (POSES + "c0/b.jpg nan 0 0 0 1 2 3\n", CAMERAS, r"poses\.txt:4: expected 'name qw .* finite numbers"),
        (POSES + "b.jpg 1 0 0 0 1 2 3\n", CAMERAS, r"'b\.jpg' has no intrinsics in .*cameras\.txt"),
        (POSES + "a/c0/1.jpg 1 0 0 0 1 2 3\n", CAMERAS, r"poses\.txt:4: 'a/c0/1\.jpg' is already in line 2"),
        ("# nothing\n", CAMERAS, r"poses\.txt contains no line with an image"),
        (POSES, CAMERAS + "c2 PINHOLE 96 72 77 76 48\n", r"cameras\.txt:3: camera model PINHOLE has 4"),
        (POSES, CAMERAS + "c2 96 72 77 76 48\n", r"cameras\.txt:3: 'c2 96 72 77 76 48' has no intrinsics"),
        (POSES, CAMERAS + "c2\n", r"cameras\.txt:3: 'c2' has no intrinsics; expected 'name MODEL"),
        (POSES, CAMERAS + "c2 OPENCY 96 72 77 76 48 36\n", r"cameras\.txt:3: unknown camera model 'OPENCY'"),
        (POSES, CAMERAS + "c2 PINHOLE\n", r"cameras\.txt:3"),
    ],
)
def test_broken_lists_are_said_in_one_line(files, poses, cameras, said):
    files[0].write_text(poses)
    files[1].write_text(cameras)
    with pytest.raises(FgsnError, match=said) as error:
        read_posed_images(*files)
    assert "\n" not in str(error.value)


def test_intrinsics_of_images_with_another_ending_or_spaces(tmp_path):
    (tmp_path / "poses.txt").write_text("a  b/1.jpg 1 0 0 0 0 0 0\nc/2.jpg 1 0 0 0 0 0 0\n")
    lines = "a  b/1.png PINHOLE 64 48 50 51 32 24", "c PINHOLE 32 24 50 51 16 12"
    (tmp_path / "cameras.txt").write_text("\n".join(lines))
    found = read_posed_images(tmp_path / "poses.txt", tmp_path / "cameras.txt")
    assert [found.camera(row).width for row in range(2)] == [64, 32]


def test_two_lists_of_intrinsics_must_agree(files, tmp_path):
    (tmp_path / "more.txt").write_text("c0 PINHOLE 96 72 77 76 48 36\nc2 PINHOLE 96 72 77 76 48 36\n")
    assert read_posed_images(files[0], [files[1], tmp_path / "more.txt"]).camera(0).fx == 77
    (tmp_path / "more.txt").write_text("c0 PINHOLE 96 72 78 76 48 36\n")
    with pytest.raises(FgsnError, match=r"more\.txt: 'c0' has another camera than in an earlier list"):
        read_posed_images(files[0], [files[1], tmp_path / "more.txt"])
