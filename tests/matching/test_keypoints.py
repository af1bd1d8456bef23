import h5py
import numpy as np
import pytest

from fgsn.errors import FgsnError
from fgsn.matching.keypoints import Keypoints, read_keypoints, write_keypoints


def some(count: int = 5) -> Keypoints:
    rng = np.random.default_rng(count)
    pixels, descriptors = rng.uniform(0, 60, (count, 2)), rng.normal(size=(count, 8))
    scores = rng.uniform(size=count)
    return Keypoints(*(column.astype(np.float32) for column in (pixels, descriptors, scores)), size=(64, 48))


def test_best_first():
    found = some(6)
    best = found.best(3)
    assert list(best.scores) == sorted(found.scores, reverse=True)[:3]
    assert len(best) == 3
    assert best.size == (64, 48)


@pytest.mark.parametrize("count", [0, 1, 5])
def test_written_in_the_layout_of_hloc_and_read_again(tmp_path, count):
    path, found = tmp_path / "features.h5", some(count)
    write_keypoints(path, {"summer/c0/a.jpg": found, "b.jpg": some(2)}, stamp="7")
    with h5py.File(path) as file:
        group = file["summer/c0/a.jpg"]
        assert np.array_equal(group["keypoints"], found.pixels)
        assert group["descriptors"].shape == (8, count)
        assert list(group["image_size"]) == [64, 48]
    again = read_keypoints(path, "summer/c0/a.jpg", "7")
    assert again is not None
    assert again.size == found.size
    for column in ("pixels", "descriptors", "scores"):
        assert np.array_equal(getattr(again, column), getattr(found, column))


def test_other_stamp_or_name_or_no_file(tmp_path):
    path = tmp_path / "features.h5"
    assert read_keypoints(path, "a.jpg") is None
    write_keypoints(path, {"a.jpg": some()}, stamp="7")
    assert read_keypoints(path, "a.jpg", "8") is None
    assert read_keypoints(path, "b.jpg") is None
    assert read_keypoints(path, "a.jpg") is not None


def test_broken_files_are_one_line(tmp_path):
    path = tmp_path / "features.h5"
    path.write_bytes(b"no h5")
    with pytest.raises(FgsnError, match=r"features\.h5 contains no features of 'a\.jpg'"):
        read_keypoints(path, "a.jpg")
    with h5py.File(path, "w") as file:
        file["a.jpg/keypoints"] = np.zeros((3, 2))
    with pytest.raises(FgsnError, match="hloc's layout"):
        read_keypoints(path, "a.jpg")
    with h5py.File(path, "w") as file:
        for key, shape in (("keypoints", (3, 2)), ("descriptors", (8, 4)), ("scores", (3,)), ("image_size", (2,))):
            file[f"a.jpg/{key}"] = np.zeros(shape)
    with pytest.raises(FgsnError, match="do not fit together"):
        read_keypoints(path, "a.jpg")
