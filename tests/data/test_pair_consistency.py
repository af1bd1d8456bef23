"""Do the points of a pair agree: points on moving planes, wrong ones among them, and too few."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fgsn.data.pair_consistency import FEWEST, outlier_mask, prediction_errors

SIZE = (640, 480)


def plane(count, seed, noise=0.0):
    """Points of a reference image, and where an affine motion takes them."""
    rng = np.random.default_rng(seed)
    points = rng.uniform((0, 0), SIZE, (count, 2))
    matrix = np.eye(2) + rng.uniform(-0.2, 0.2, (2, 2))
    return points, points @ matrix.T + rng.uniform(-60, 60, 2) + noise * rng.normal(size=(count, 2)), rng


@settings(max_examples=25, deadline=None)
@given(st.integers(FEWEST, 200), st.integers(0, 10_000))
@example(8, 2184)  # a point far outside of its neighbours, which lie almost on a line
def test_points_on_one_plane_agree_exactly(count, seed):
    points, moved, _ = plane(count, seed)
    off, around = prediction_errors(points, moved)
    assert off.max() < 1e-3
    assert around.max() < 1e-3
    assert not outlier_mask(points, moved, SIZE).any()


def test_the_disagreement_is_about_the_noise():
    """A point and the fit through its 12 neighbours are both noisy: a little above the noise of the point alone."""
    for noise in (0.5, 2.0, 5.0):
        points, moved, _ = plane(800, 0, noise)
        median = np.median(prediction_errors(points, moved)[0])
        alone = noise * np.sqrt(2 * np.log(2))  # median length of a two-dimensional normal vector
        assert alone < median < 1.7 * alone


def test_wrong_points_are_found_and_right_ones_are_not_blamed():
    points, moved, rng = plane(400, 1, noise=1.0)
    wrong = rng.random(400) < 0.15
    moved[wrong] = rng.uniform((0, 0), SIZE, (wrong.sum(), 2))
    found = outlier_mask(points, moved, SIZE)
    assert found[wrong].mean() > 0.85
    assert found[~wrong].mean() < 0.02


def test_where_nothing_agrees_everything_looks_wrong():
    points, moved, rng = plane(300, 2)
    assert outlier_mask(points, rng.permutation(moved), SIZE).mean() > 0.8


def test_equal_points_and_few_points_do_no_harm():
    same = np.zeros((40, 2))
    assert np.isfinite(prediction_errors(same, same)[0]).all()
    few = np.random.default_rng(0).uniform(0, 100, (FEWEST - 1, 2))
    assert np.isnan(prediction_errors(few, few)[0]).all()
    assert not outlier_mask(few, few, SIZE).any()
    assert len(prediction_errors(np.empty((0, 2)), np.empty((0, 2)))[0]) == 0


@pytest.mark.parametrize("count", [FEWEST, FEWEST + 3])
def test_fewer_points_than_neighbours(count):
    points, moved, _ = plane(count, 3)
    assert prediction_errors(points, moved)[0].max() < 0.01
