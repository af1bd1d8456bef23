"""Images of a map and of its queries: found before any work, and compared with their cameras."""

import pytest

from fgsn.data.camera_images import find_images
from fgsn.errors import FgsnError
from fgsn.geometry.camera import Camera

CAMERA = Camera(64, 48, 50.0, 50.0, 31.5, 23.5)
NAMES = [f"ref/{number}.jpg" for number in range(4)]


def test_what_cannot_be_used_is_listed_and_the_rest_is_found(tmp_path, make_image):
    make_image(tmp_path / "ref" / "0.jpg")
    make_image(tmp_path / "ref" / "1.PNG")  # another ending than in the model
    make_image(tmp_path / "ref" / "2.jpg", 48, 64)
    found = find_images(tmp_path, dict.fromkeys(NAMES, CAMERA), "map")
    assert {name: path.name for name, path in found.files.items()} == {NAMES[0]: "0.jpg", NAMES[1]: "1.PNG"}
    assert list(found.broken) == NAMES[2:]
    assert "the camera of 'ref/2.jpg' is 64 x 48 pixels, but the image is 48 x 64; use" in found.broken[NAMES[2]]
    assert "ref/3.jpg does not exist" in found.broken[NAMES[3]]


def test_a_wrong_folder_is_one_line_with_the_right_one(tmp_path, make_image):
    make_image(tmp_path / "images" / "ref" / "0.jpg")
    make_image(tmp_path / "depth" / "ref" / "0.png")  # of the same stem, in a folder that comes first
    for wrong in (tmp_path, tmp_path / "images" / "ref"):
        with pytest.raises(FgsnError, match=rf"none of the 4 images of the map .* mean --images {tmp_path}/images\?"):
            find_images(wrong, dict.fromkeys(NAMES, CAMERA), "map")
    with pytest.raises(FgsnError, match="nowhere is not a folder"):
        find_images(tmp_path / "nowhere", dict.fromkeys(NAMES, CAMERA), "map")


def test_images_that_all_have_another_size_are_one_line(tmp_path, make_image):
    for name in NAMES:
        make_image(tmp_path / name, 32, 24)
    with pytest.raises(FgsnError, match=r"none of the 4 images of the queries can be used: the camera of 'ref/0\.jpg'"):
        find_images(tmp_path, dict.fromkeys(NAMES, CAMERA), "queries")


def test_names_that_leave_the_folder_are_refused(tmp_path):
    with pytest.raises(FgsnError, match="leaves its root folder"):
        find_images(tmp_path, {"../secret.jpg": CAMERA}, "map")
