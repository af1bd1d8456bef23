import numpy as np
import pytest

from fgsn.errors import FgsnError
from fgsn.inference.label_lookup import labels_at
from fgsn.localization.ssmc import consistent

MAP_LABELS = np.array([3, 5, -1, 7])


def test_labels_are_those_of_the_nearest_pixel_and_none_outside():
    labels = np.arange(12, dtype=np.uint8).reshape(3, 4)
    pixels = [[0, 0], [1.4, 0.6], [3.49, 2.49], [-0.5, 0], [-0.51, 0], [3.5, 0], [0, 2.5], [np.nan, 1]]
    np.testing.assert_array_equal(labels_at(labels, np.array(pixels)), [0, 5, 11, 0, -1, -1, -1, -1])


def test_matches_hold_where_labels_agree_and_unknown_agrees_with_nothing():
    holds = consistent([0, 1, 2, 3, 0], MAP_LABELS, [3, 4, -1, 7, 3])
    np.testing.assert_array_equal(holds, [1, 0, 0, 1, 1])


def test_moving_things_can_be_left_out():
    holds = consistent([0, 1, 3], MAP_LABELS, [3, 5, 7], stationary=np.isin(np.arange(8), [3, 7]))
    np.testing.assert_array_equal(holds, [1, 0, 1])


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: consistent([0, 1], MAP_LABELS, [3]), "2 matches have 1 labels"),
        (lambda: consistent([4], MAP_LABELS, [3]), "points outside a map of 4 points"),
        (lambda: consistent([3], MAP_LABELS, [7], stationary=np.ones(7, bool)), "label 7"),
    ],
)
def test_arrays_that_do_not_belong_together_are_refused(call, says):
    with pytest.raises(FgsnError, match=says):
        call()
