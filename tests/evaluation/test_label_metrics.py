import json
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from fgsn.errors import FgsnError
from fgsn.evaluation.label_metrics import collapse_note, label_metrics

LABELS = st.integers(1, 8).flatmap(
    lambda clusters: st.tuples(
        st.just(clusters),
        st.lists(
            st.tuples(st.integers(0, clusters - 1), st.integers(0, clusters - 1), st.integers(0, 6)),
            min_size=1,
            max_size=60,
        ),
    )
)


def channel(clusters, points, kept, seed=0):
    rng = np.random.default_rng(seed)
    a = rng.integers(0, clusters, points)
    return a, np.where(rng.random(points) < kept, a, rng.integers(0, clusters, points))


@pytest.mark.parametrize("clusters", [2, 19, 256, 1000, 4096])
def test_identical_labels(clusters):
    a, _ = channel(clusters, 30_000, 1.0)
    metrics = label_metrics(a, a, clusters)
    assert metrics["agreement"] == metrics["kappa"] == 1
    assert metrics["match_lift"] == pytest.approx(clusters, rel=0.2)
    assert metrics["information_bits_plain"] == pytest.approx(metrics["entropy_bits_reference"])
    assert metrics["information_bits_same_view"] == pytest.approx(metrics["entropy_bits_target"], abs=0.15)
    assert metrics["clusters_used"] == len(np.unique(a))
    assert metrics["perplexity"] == pytest.approx(clusters, rel=0.1)


@pytest.mark.parametrize("clusters", [2, 200, 1000, 4096])
def test_independent_labels(clusters):
    a, b = channel(clusters, 30_000, 0.0)
    metrics = label_metrics(a, b, clusters)
    assert metrics["kappa"] == pytest.approx(0, abs=0.02)
    assert metrics["match_lift"] == pytest.approx(1, abs=0.4)
    for key in ("information_bits_same_view", "information_bits_permutation", "information_bits_same_view"):
        assert metrics[key] == pytest.approx(0, abs=0.02)


def test_a_known_channel():
    a, b = channel(50, 30_000, 0.6)
    metrics = label_metrics(a, b, 50)
    same, other = 0.6 + 0.4 / 50, 0.4 / 50
    assert metrics["information_bits_same_view"] == pytest.approx(
        np.log2(50) + same * np.log2(same) + 49 * other * np.log2(other), abs=0.06
    )
    assert metrics["agreement"] == pytest.approx(same, abs=0.01)
    assert metrics["kappa"] == pytest.approx(cohen_kappa_score(a, b))
    assert metrics["match_lift"] == pytest.approx(same * 50, rel=0.02)


@settings(max_examples=80, deadline=None)
@given(drawn=LABELS)
def test_bounds(drawn):
    clusters, rows = drawn
    a, b, places = np.array(rows).T
    metrics = label_metrics(a, b, clusters, places, resamples=4)
    entropies = metrics["entropy_bits_reference"], metrics["entropy_bits_target"]
    assert -1e-9 <= metrics["information_bits_plain"] <= min(entropies) + 1e-9
    assert metrics["information_bits_same_view"] <= min(entropies) + 1e-9
    assert metrics["information_bits_permutation"] <= metrics["information_bits_plain"] + 1e-9
    assert metrics["kappa"] <= 1
    assert 1 - 1e-9 <= metrics["perplexity"] <= metrics["clusters_used"] + 1e-9
    json.dumps(metrics, allow_nan=False)


@settings(max_examples=40, deadline=None)
@given(drawn=LABELS, seed=st.integers(0, 1000))
def test_names_of_labels_do_not_matter(drawn, seed):
    clusters, rows = drawn
    a, b, places = np.array(rows).T
    names = np.random.default_rng(seed).permutation(clusters)
    before, after = label_metrics(a, b, clusters, places), label_metrics(names[a], names[b], clusters, places)
    for key in before.keys() - {"information_bits_permutation"}:
        assert before[key] == pytest.approx(after[key])


@settings(max_examples=40, deadline=None)
@given(drawn=LABELS, seed=st.integers(0, 1000))
def test_plain_information_does_not_ask_which_label_answers_which(drawn, seed):
    clusters, rows = drawn
    a, b, _ = np.array(rows).T
    names = np.random.default_rng(seed).permutation(clusters)
    before, after = label_metrics(a, b, clusters), label_metrics(a, names[b], clusters)
    assert before["information_bits_plain"] == pytest.approx(after["information_bits_plain"])


def test_conditions_are_measured_each_for_itself():
    a, b = channel(10, 4000, 1.0)
    conditions = np.repeat(["snow", "autumn"], 2000)
    b[:2000] = np.roll(b[:2000], 1)
    metrics = label_metrics(a, b, 10, conditions=conditions)
    assert list(metrics["conditions"]) == ["autumn", "snow"]
    assert metrics["conditions"]["autumn"]["agreement"] == 1
    assert metrics["conditions"]["snow"]["kappa"] == pytest.approx(0, abs=0.1)
    assert metrics["conditions"]["snow"]["points"] == 2000
    assert 0 < metrics["agreement"] < 1


def test_the_interval_has_the_width_of_the_spread_between_samples():
    values, widths = [], []
    for seed in range(12):
        a, b = channel(20, 400, 0.5, seed)  # 20 places of 20 regions of 10 points
        a, b = np.repeat(a, 10), np.repeat(b, 10)
        metrics = label_metrics(a, b, 20, np.arange(4000) // 200, resamples=40)
        low, high = metrics["information_bits_same_view_interval"]
        assert low <= metrics["information_bits_same_view"] <= high
        values.append(metrics["information_bits_same_view"])
        widths.append((high - low) / 2 / 1.96)
    assert np.mean(widths) == pytest.approx(np.std(values), rel=0.5)


def test_the_same_seed_gives_the_same_metrics():
    a, b = channel(20, 1000, 0.5)
    places = [f"place {n}" for n in np.arange(1000) // 100]
    once, again = (label_metrics(a, b, 20, places, resamples=10, seed=3) for _ in range(2))
    assert once == again
    assert once["places"] == 10


@pytest.mark.parametrize("places", [None, ["here"] * 500])
def test_without_places_there_is_no_interval(places):
    a, b = channel(5, 500, 0.5)
    assert label_metrics(a, b, 5, places, resamples=20)["information_bits_same_view_interval"] is None


def test_one_point_and_one_label_are_no_numbers_beyond_reason():
    for a, b in (([2], [2]), ([2], [1]), ([1] * 50, [1] * 50), ([0] * 50, [1] * 50)):
        metrics = label_metrics(np.array(a), np.array(b), 3)
        assert all(np.isfinite(value) for value in metrics.values() if value is not None)
        assert metrics["kappa"] == metrics["information_bits_same_view"] == metrics["information_bits_permutation"] == 0


def test_no_point_at_all_is_an_error():
    with pytest.raises(FgsnError, match="no correspondences"):
        label_metrics(np.zeros(0, int), np.zeros(0, int), 5)


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [([0, 5], [0, 1], "range"), ([0, -1], [0, 1], "range"), ([0.5], [1], "integers"), ([0, 1], [0], "per point")],
)
def test_labels_that_do_not_fit_are_refused(a, b, message):
    with pytest.raises(FgsnError, match=message):
        label_metrics(np.array(a), np.array(b), 5)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"clusters": 5.5}, r"the number of labels should be a whole number, 1 to 65536, not 5\.5"),
        ({"clusters": 10**12}, "the number of labels should be"),
        ({"resamples": -1}, "resamples should be a whole number, 0 or more, not -1"),
        ({"seed": -1}, "seed should be"),
        ({"places": np.array(["a", None], object)}, "places of label metrics should be values of one type"),
    ],
)
def test_settings_that_do_not_fit_are_refused(wrong, message):
    with pytest.raises(FgsnError, match=message):
        label_metrics(np.array([0, 1]), np.array([0, 1]), **{"clusters": 5} | wrong)


def test_thousands_of_labels_take_little_time():
    a, b = channel(4096, 100_000, 0.5)
    start = time.process_time()
    label_metrics(a, b, 4096)
    assert time.process_time() - start < 10


def test_few_labels_are_told():
    assert collapse_note(34, 100) == ""
    assert collapse_note(33, 100).startswith("only 33 of 100 labels are used")
