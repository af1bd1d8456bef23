import numpy as np
import pytest

from fgsn.matching.densify import densify, largest_good_error, smoothed
from fgsn.matching.two_view import verify

pytest.importorskip("poselib")
SIZES = ((640, 480), (640, 480))


def ground(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Pixels of a wavy ground, seen from two places, with key points that are off by a pixel in both images."""
    rng = np.random.default_rng(seed)
    ref = rng.uniform((60, 60), (580, 420), (count, 2))
    return ref, move(ref) + rng.normal(0, 1.0, ref.shape)


def move(points: np.ndarray) -> np.ndarray:
    """Displacement along a common epipolar direction, by a smooth inverse depth."""
    inverse_depth = 20 + 0.05 * points[:, 1] + 6 * np.sin(points[:, 0] / 90)
    return points + inverse_depth[:, None] * (0.8, 0.6)


def test_settled_matches_are_more_exact_and_know_it():
    ref, tgt = ground(700)
    view = verify(ref, tgt, SIZES)
    assert view.refusal == ""
    same, settled, errors = smoothed(ref, tgt, view, SIZES)
    before, after = (np.linalg.norm(points - move(ref), axis=1) for points in (tgt, settled))
    assert np.array_equal(same, ref)
    assert np.median(after) < 0.5 * np.median(before)
    assert 0.5 < np.mean(after < errors) <= 1.0


def test_the_grid_lies_where_matches_surround_it():
    ref, tgt = ground(700)
    hole = np.linalg.norm(ref - (320, 240), axis=1) < 70
    ref, tgt = ref[~hole], tgt[~hole]
    view = verify(ref, tgt, SIZES)
    points, moved, errors = densify(ref, tgt, view, SIZES)
    assert len(points) > 300
    assert len(points) == len(moved) == len(errors)
    assert np.percentile(np.linalg.norm(moved - move(points), axis=1), 90) < 2.0
    assert (errors < largest_good_error(SIZES)).all()
    assert points.min() > 40
    assert (points < (600, 440)).all()
    assert np.linalg.norm(points - (320, 240), axis=1).min() > 20  # none in the middle of nothing
    assert len(np.unique(points, axis=0)) == len(points)
    assert np.array_equal(points, np.rint(points))


def test_where_matches_disagree_there_is_no_field():
    ref, tgt = ground(500)
    view = verify(ref, tgt, SIZES)
    wild = np.random.default_rng(0).normal(0, 25, tgt.shape)
    assert len(densify(ref, tgt + wild, view, SIZES)[0]) == 0
    assert (smoothed(ref, tgt + wild, view, SIZES)[2] > largest_good_error(SIZES)).mean() > 0.95


def test_too_few():
    ref, tgt = ground(400)
    view = verify(ref, tgt, SIZES)
    assert [len(column) for column in densify(ref[:9], tgt[:9], view, SIZES)] == [0, 0, 0]
    assert [len(column) for column in smoothed(ref[:0], tgt[:0], view, SIZES)] == [0, 0, 0]
