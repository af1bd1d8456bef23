import numpy as np
import pytest

from fgsn.errors import FgsnError
from fgsn.localization.labelled_map import labels_at
from fgsn.localization.ssmc import probabilities_at, ssmc_weights

MAP_LABELS = np.array([3, 5, -1, 7])


def test_labels_are_those_of_the_nearest_pixel_and_none_outside():
    labels = np.arange(12, dtype=np.uint8).reshape(3, 4)
    pixels = [[0, 0], [1.4, 0.6], [3.49, 2.49], [-0.5, 0], [-0.51, 0], [3.5, 0], [0, 2.5], [np.nan, 1]]
    np.testing.assert_array_equal(labels_at(labels, np.array(pixels)), [0, 5, 11, 0, -1, -1, -1, -1])


def test_matches_hold_where_labels_agree_and_unknown_agrees_with_nothing():
    weights = ssmc_weights([0, 1, 2, 3, 0], MAP_LABELS, [3, 4, -1, 7, 3])
    np.testing.assert_array_equal(weights, [1, 0, 0, 1, 1])


def test_moving_things_can_be_left_out():
    weights = ssmc_weights([0, 1, 3], MAP_LABELS, [3, 5, 7], stationary=np.isin(np.arange(8), [3, 7]))
    np.testing.assert_array_equal(weights, [1, 0, 1])


def test_soft_votes_are_the_probability_of_the_map_label():
    probabilities = np.random.default_rng(0).dirichlet(np.ones(8), (4, 5)).transpose(2, 0, 1)
    points, pixels = np.array([0, 1, 2, 3]), np.array([[1, 2], [4, 3], [0, 0], [9, 0]])
    soft = probabilities_at(probabilities, pixels, MAP_LABELS[points])
    np.testing.assert_allclose(soft, [probabilities[3, 2, 1], probabilities[5, 3, 4], 0, 0])
    weights = ssmc_weights(points, MAP_LABELS, [0, 0, 0, 0], probabilities=soft, minimum=soft[:2].max())
    assert np.count_nonzero(weights) == 1
    assert weights.max() == soft.max()


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: ssmc_weights([0, 1], MAP_LABELS, [3]), "2 matches have 1 labels"),
        (lambda: ssmc_weights([4], MAP_LABELS, [3]), "a map of 4 labelled points does not have"),
        (lambda: ssmc_weights([0], MAP_LABELS, [3], probabilities=[0.1, 0.2]), "1 matches have 2 probabilities"),
        (lambda: ssmc_weights([3], MAP_LABELS, [7], stationary=np.ones(7, bool)), "label 7"),
    ],
)
def test_arrays_that_do_not_belong_together_are_refused(call, says):
    with pytest.raises(FgsnError, match=says):
        call()
