import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fgsn.matching.local import locally_consistent, predict


@given(st.integers(0, 2**31))
def test_an_affine_motion_is_carried_on_whatever_some_neighbours_say(seed):
    rng = np.random.default_rng(seed)
    points = rng.uniform(0, 200, (150, 2))
    turn, shift = np.eye(2) + rng.normal(0, 0.03, (2, 2)), rng.normal(0, 20, 2)
    moved = points @ turn + shift
    wrong = rng.permutation(150)[:10]
    moved[wrong] += rng.normal(0, 60, (10, 2))
    at = rng.uniform(40, 160, (30, 2))
    found = predict(points, moved, at, noise=1.5)
    off = np.linalg.norm(found.points - (at @ turn + shift), axis=1)
    assert np.median(off) < 0.5
    assert (found.reach > 0).all()
    assert found.surrounded.mean() > 0.8
    # Where all agree, the spread says so.
    right = np.setdiff1d(np.arange(150), wrong)
    assert predict(points[right], moved[right], at, noise=1.5).spread.max() < 1.0


def test_outside_nothing_surrounds():
    points = np.random.default_rng(0).uniform(0, 100, (60, 2))
    found = predict(points, points, np.array([[50.0, 50.0], [150.0, 50.0]]), noise=1.0)
    assert list(found.surrounded) == [True, False]
    assert found.points[0] == pytest.approx([50, 50], abs=1e-6)


def test_few_matches():
    points = np.array([[10.0, 10.0], [20.0, 10.0]])
    found = predict(points, points + 3, np.array([[15.0, 10.0]]), noise=1.0)
    assert found.points[0] == pytest.approx([18, 13], abs=1e-6)
    assert not locally_consistent(points, points, 50, 3, 1.0).any()
    assert locally_consistent(np.empty((0, 2)), np.empty((0, 2)), 50, 3, 1.0).shape == (0,)


def test_support_parts_right_from_wrong():
    rng = np.random.default_rng(1)
    points = rng.uniform(0, 500, (400, 2))
    moved = points * 1.05 + 20 + rng.normal(0, 1, points.shape)
    moved[:150] = rng.uniform(0, 500, (150, 2))
    found = locally_consistent(points, moved, 60, 3, 1.5)
    assert found[150:].mean() > 0.95
    assert found[:150].mean() < 0.05
