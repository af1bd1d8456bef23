"""Pictures of correspondences: what is drawn where."""

import numpy as np
import pytest

from fgsn.data.pair_picture import HEIGHT, STRIP, WRONG, coverage_picture, pair_picture
from fgsn.errors import FgsnError

GREY = np.full((210, 280, 3), 128, np.uint8)


def test_points_are_drawn_at_their_places_in_both_images():
    wide = np.full((210, 420, 3), 128, np.uint8)
    picture = pair_picture([GREY, wide], [np.array([[20.0, 30.0]]), np.array([[400.0, 200.0]])])
    assert picture.shape == (HEIGHT, 560 + 6 + 840, 3)
    for x, y in ((41, 61), (566 + 801, 401)):
        colour = picture[y, x].astype(int)
        assert np.abs(colour - 128).max() > 40
        assert (picture[y, x] == picture[61, 41]).all()


def test_wrong_points_are_red_and_on_top():
    points = np.tile([[140.0, 105.0]], (50, 1))
    wrong = np.zeros(50, bool)
    wrong[7] = True
    picture = pair_picture([GREY, GREY], [points, points], wrong)
    assert (picture[211, 281] == WRONG).all()
    assert (pair_picture([GREY, GREY], [points, points])[211, 281] != WRONG).any()


def test_a_title_stands_above():
    points = np.empty((0, 2))
    with_title = pair_picture([GREY, GREY], [points, points], title="one | two")
    assert with_title.shape[0] == HEIGHT + STRIP
    assert (with_title[STRIP:] == pair_picture([GREY, GREY], [points, points])).all()
    assert with_title[:STRIP].max() > 200


def test_points_that_are_no_pairs_are_refused():
    with pytest.raises(FgsnError, match="3 points in one image and 2 in the other"):
        pair_picture([GREY, GREY], [np.zeros((3, 2)), np.zeros((2, 2))])


def test_coverage_is_bright_where_points_lie():
    share = np.zeros((3, 4))
    share[2, 3] = 1.0
    picture = coverage_picture([share, np.zeros((3, 4))], ["reference", "target"])
    left = picture[: picture.shape[0], : picture.shape[1] // 2].astype(int).sum(axis=2)
    row, column = np.unravel_index(left[STRIP + 4 :].argmax(), left[STRIP + 4 :].shape)
    assert row > 2 * 24
    assert column > 3 * 24
