import numpy as np
import pytest
from sklearn.metrics import mutual_info_score
from sklearn.metrics.cluster import contingency_matrix, expected_mutual_information

from fgsn.evaluation import information


def corrected(a, b):
    return information.plug_in(a, b) - information.permutation_bias(a, b)


def noisy(labels, points, kept, seed=0):
    """Labels through a channel that keeps a label with this probability and else draws anew; and the true bits."""
    rng = np.random.default_rng(seed)
    a = rng.integers(0, labels, points)
    b = np.where(rng.random(points) < kept, a, rng.integers(0, labels, points))
    same, other = kept + (1 - kept) / labels, (1 - kept) / labels
    return a, b, np.log2(labels) + same * np.log2(same) + (labels - 1) * other * np.log2(max(other, 1e-300))


def in_regions(labels, points, kept, seed=0, size=20):
    """The same channel, but points come in regions that share their labels; 25 regions are a place."""
    a, b, bits = noisy(labels, points // size, kept, seed)
    return np.repeat(a, size), np.repeat(b, size), np.arange(points) // (25 * size), bits


@pytest.mark.parametrize("labels", [3, 40, 3000])
def test_plain_is_what_scikit_learn_says(labels):
    a, b, _ = noisy(labels, 5000, 0.6)
    assert information.plug_in(a, b) == pytest.approx(mutual_info_score(a, b) / np.log(2))


def test_permutation_floor_is_the_mean_over_all_permutations():
    a, b, _ = noisy(30, 1000, 0.5)
    b = b // 3
    expected = expected_mutual_information(contingency_matrix(a, b, sparse=True), len(a)) / np.log(2)
    assert information.permutation_bias(a, b) == pytest.approx(expected, rel=0.06)


def test_sparse_and_dense_counts_agree(monkeypatch):
    a, b, _ = noisy(50, 2000, 0.5)
    dense = corrected(a, b), information.held_out(a, b)
    monkeypatch.setattr(information, "DENSE_CELLS", 0)
    assert (corrected(a, b), information.held_out(a, b)) == pytest.approx(dense)


@pytest.mark.parametrize("kept", [0.2, 0.5, 0.8, 1.0])
@pytest.mark.parametrize("labels", [20, 200])
def test_held_out_knows_the_channel(labels, kept):
    a, b, bits = noisy(labels, 20_000, kept)
    assert information.held_out(a, b) == pytest.approx(bits, abs=0.06)


def test_held_out_stays_below_the_truth_where_points_repeat_each_other():
    a, b, places, bits = in_regions(100, 20_000, 0.5)
    assert bits - 0.6 < information.held_out(a, b, places) < bits + 0.1
    assert corrected(a, b) > bits + 0.5


def test_independent_labels_in_regions_share_nothing():
    a, b, places, _ = in_regions(1000, 20_000, 0.0)
    assert information.held_out(a, b, places) == pytest.approx(0, abs=0.01)
    assert information.plug_in(a, b) > 5


def test_names_of_labels_help_only_when_points_are_few():
    a, b, _ = noisy(50, 50_000, 0.7)
    known, unknown = information.held_out(a, b), information.held_out(a, b, same_names=False)
    assert known == pytest.approx(unknown, abs=0.1)
    renamed = information.held_out(a, (b + 7) % 50)
    assert renamed == pytest.approx(unknown, abs=0.01)


def test_one_place_splits_the_points_and_one_point_says_nothing():
    a, b, bits = noisy(20, 20_000, 0.5)
    assert information.held_out(a, b, np.zeros(len(a))) == pytest.approx(bits, abs=0.06)
    assert information.held_out(np.array([3]), np.array([3])) == 0
