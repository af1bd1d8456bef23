import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial import KDTree

from fgsn.matching.matcher import make_matcher

pytest.importorskip("pycolmap")


def texture(width: int, height: int) -> np.ndarray:
    grey = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(height, width)), 2)
    grey = np.clip((grey - grey.min()) / np.ptp(grey) * 255, 0, 255).astype(np.uint8)
    return np.repeat(grey[:, :, None], 3, axis=2)


def test_pixel_centres_lie_at_integers_and_nothing_is_printed(capfd):
    matcher = make_matcher("sift", 400)
    image = texture(160, 120)
    a, b = matcher.extract(image), matcher.extract(np.ascontiguousarray(image[::-1, ::-1]))
    assert 50 < len(a) <= 400
    assert (np.diff(a.scores) <= 0).all()
    turned = (159, 119) - b.pixels
    apart, nearest = KDTree(turned).query(a.pixels)
    same = apart < 1.5
    assert same.mean() > 0.8
    assert np.abs((turned[nearest] - a.pixels)[same].mean(axis=0)).max() < 0.05  # it were 1 with centres at +0.5
    assert capfd.readouterr() == ("", "")


def test_matches_a_shifted_image():
    matcher = make_matcher("sift", 400)
    image = texture(200, 150)
    a, b = matcher.extract(image[:120, :160]), matcher.extract(image[17:137, 23:183])
    rows, scores = matcher.match(a, b)
    shift = a.pixels[rows[:, 0]] - b.pixels[rows[:, 1]]
    assert np.mean(np.abs(shift - (23, 17)).max(axis=1) < 0.5) > 0.95
    assert len(rows) > 40
    assert (scores > 0.5).all()
    blank = matcher.extract(np.zeros((60, 60, 3), np.uint8))
    assert len(blank) == 0
    assert len(matcher.match(blank, a)[0]) == 0
