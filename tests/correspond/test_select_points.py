import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fgsn.correspond.select_points import FEWEST_POINTS, PARTS, covered_parts, select_points, spread_rows
from fgsn.geometry.camera import Camera
from fgsn.matching.pair import MatchedPair, RefusedPair

CAMERA = Camera(96, 72, 77.0, 76.0, 47.5, 35.5)
NAMES, SIZES = ("a/1.jpg", "b/1.jpg"), (CAMERA.size, CAMERA.size)


def some(count: int, seed: int = 0, high: tuple[float, float] = (95, 71)) -> np.ndarray:
    return np.random.default_rng(seed).uniform((0, 0), high, (count, 2))


@given(st.integers(0, 400), st.integers(1, 120), st.integers(0, 99))
def test_rows_are_spread_and_no_pixel_comes_twice(count, expected, seed):
    pixels = some(count, seed)
    errors = np.random.default_rng(seed).uniform(0, 2, count)
    errors[::7] = np.nan
    rows = spread_rows(pixels, errors, (96, 72), expected)
    assert len(rows) <= expected
    assert (np.diff(rows) > 0).all()
    rounded = np.rint(pixels).astype(int)
    assert len(np.unique(rounded[rows], axis=0)) == len(rows)
    assert len(rows) == min(expected, len(np.unique(rounded, axis=0)))
    # Among points on one pixel the best is kept, and unknown is worse than any.
    for row in rows:
        rivals = errors[(rounded == rounded[row]).all(axis=1)]
        assert np.nan_to_num(errors[row], nan=9) == np.nan_to_num(rivals, nan=9).min()


def test_a_crowd_does_not_push_out_the_others():
    pixels = np.concatenate([some(2000, high=(20, 20)), some(50, 1)])
    rows = spread_rows(pixels, np.zeros(len(pixels)), (96, 72), 100)
    outside = (pixels > 20).any(axis=1)
    assert outside[rows].sum() > 0.9 * outside.sum()
    assert covered_parts(pixels[rows], (96, 72)) == covered_parts(pixels, (96, 72))


def test_what_lies_outside_or_is_unknown_is_left_out():
    here, there = some(200), some(200, 1)
    here[0], there[1], there[2], here[3] = (-0.1, 5), (95.1, 5), (np.nan, 5), (3, np.inf)
    pair = select_points(NAMES, SIZES, here, there, np.zeros(200))
    assert isinstance(pair, MatchedPair)
    assert (pair.reference, pair.target) == NAMES
    assert len(pair.points_ref) == len(pair.points_tgt) == len(pair.errors) <= 196
    assert CAMERA.contains(pair.points_ref).all()
    assert CAMERA.contains(pair.points_tgt).all()
    rows = [int(np.nonzero((here == point).all(axis=1))[0][0]) for point in pair.points_ref]
    assert (there[rows] == pair.points_tgt).all()
    assert len(select_points(NAMES, SIZES, here, there, np.zeros(200), points=50).errors) == 50


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (some(0), f"only 0 points, fewer than {FEWEST_POINTS}"),
        (some(19), "only 19 points"),
        (some(300, high=(20, 15)), f"cover only 4 of {PARTS**2} parts"),
    ],
)
def test_sparse_and_one_sided_is_refused(points, message):
    refused = select_points(NAMES, SIZES, points, points, np.zeros(len(points)))
    assert isinstance(refused, RefusedPair)
    assert message in refused.reason
