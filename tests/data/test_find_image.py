import time

import pytest

from fgsn.data import find_image as module
from fgsn.data.find_image import MissingImageError, find_image


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test moves."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_the_folder_is_listed_once_for_all_names(tmp_path, make_image, monkeypatch, clock):
    listed = []
    walk = module.walk_images
    monkeypatch.setattr(module, "walk_images", lambda folder: listed.append(folder) or walk(folder))
    for number in range(30):
        make_image(tmp_path / f"slice6/query/{number}.jpg", 4, 4)
    for number in range(30):
        clock[0] += 1000
        assert find_image(tmp_path, f"run13/c0/{number}.jpg") == tmp_path / f"slice6/query/{number}.jpg"
    assert listed == [tmp_path]


def test_an_image_that_arrives_later_is_found_after_a_minute(tmp_path, make_image, clock):
    make_image(tmp_path / "slice6/query/1.jpg", 4, 4)
    with pytest.raises(MissingImageError, match=r"'run13/2\.jpg' is not in"):
        find_image(tmp_path, "run13/2.jpg")
    late = make_image(tmp_path / "slice6/query/2.jpg", 4, 4)
    with pytest.raises(MissingImageError):
        find_image(tmp_path, "run13/2.jpg")
    clock[0] += 61
    assert find_image(tmp_path, "run13/2.jpg") == late


def test_an_image_that_has_gone_is_missing(tmp_path, make_image, clock):
    image = make_image(tmp_path / "slice6/query/1.jpg", 4, 4)
    assert find_image(tmp_path, "run13/1.jpg") == image
    image.unlink()
    with pytest.raises(MissingImageError):
        find_image(tmp_path, "run13/1.jpg")
