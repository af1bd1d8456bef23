import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from fgsn.inference.label_lookup import read_image_labels
from fgsn.inference.label_maps import read_label_map, write_label_map
from fgsn.localization import label_histograms as module
from fgsn.localization import labelled_map
from fgsn.localization.label_histograms import HistogramSums, label_histograms
from fgsn.localization.labelled_map import make_labelled_map
from localization.toy import toy_model

K = 5
ALL = np.ones(K, bool)


@pytest.fixture(name="folder")
def _folder(tmp_path):
    rng = np.random.default_rng(0)
    model = toy_model()
    for row, name in enumerate(model.names):
        camera = model.camera(row)
        labels = rng.integers(0, K, (camera.height, camera.width)).astype(np.uint8)
        write_label_map((tmp_path / name).with_suffix(".png"), labels, K, np.zeros((K, 3), np.uint8))
    return tmp_path


def test_without_a_window_the_pixel_alone_counts():
    labels = np.arange(12).reshape(3, 4) % K
    shares = label_histograms(labels, np.array([[1.4, 0.6], [3.0, 2.0], [-2.0, 0.0]]), 0.0, K)
    np.testing.assert_array_equal(shares, [*np.eye(K)[[0, 1]], np.zeros(K)])


def test_shares_are_those_of_a_gaussian_window():
    labels = np.random.default_rng(1).integers(0, K, (60, 80))
    labels[20:40, 20:50] = 2
    pixels = np.array([[30.0, 30.0], [50.0, 30.0], [20.0, 20.0]])
    shares = label_histograms(labels, pixels, 3.0, K)
    smooth = np.stack([gaussian_filter((labels == k).astype(float), 3.0, truncate=2.0) for k in range(K)], axis=1)
    x, y = pixels.astype(int).T
    np.testing.assert_allclose(shares, smooth.transpose(0, 2, 1)[y, x], atol=0.06)  # round, not square


@settings(max_examples=30, deadline=None)
@given(st.floats(0, 20), st.integers(0, 2**32 - 1))
def test_shares_sum_to_one_inside_and_to_less_at_the_border(deviation, seed):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, K, (90, 120))
    pixels = np.array([[60.0, 45.0], [0.0, 0.0], [1e6, 3.0], [np.nan, 5.0], [5.0, -np.inf]])
    totals = label_histograms(labels, pixels, deviation, K).sum(axis=1)
    assert totals[0] == pytest.approx(1, abs=1e-5)
    assert totals[1] <= 1 + 1e-5
    assert (totals[2:] == 0).all()


def test_without_a_window_similarity_is_the_root_of_the_share_of_votes(folder):
    model = toy_model()
    labelled = make_labelled_map(model, folder, label_window=0.0)
    labels = read_image_labels(folder, model.names[0], model.camera(0).size, K)
    pixels, points = labelled.pixels_of(0), labelled.points_of(0)
    similarity = labelled.histograms.similarity(labels, pixels, points, ALL)
    own = np.sqrt([(labelled.track_labels[labelled.track_point == p] == labels[round(y), round(x)]).mean()
                   for p, (x, y) in zip(points, pixels, strict=True)])  # fmt: skip
    np.testing.assert_allclose(similarity, own, atol=1e-6)
    assert (labelled.histograms.similarity(np.full_like(labels, K), pixels, points, ALL) == 0).all()


def test_labels_that_do_not_stay_do_not_count(folder):
    labelled = make_labelled_map(toy_model(), folder, label_window=0.05)
    threes = np.full((labelled.camera(0).height, labelled.camera(0).width), 3)
    seen = labelled.pixels_of(0), labelled.points_of(0), np.arange(K) != 3
    assert (labelled.histograms.similarity(threes, *seen) == 0).all()
    assert (labelled.histograms.similarity(np.zeros_like(threes), *seen) > 0).any()


def test_every_label_map_is_read_once(folder, monkeypatch):
    files = []
    monkeypatch.setattr(labelled_map, "read_label_map", lambda file: files.append(file) or read_label_map(file))
    assert make_labelled_map(toy_model(), folder, label_window=0.05).histograms is not None
    assert len(files) == len(set(files)) == len(toy_model().names)


@settings(max_examples=40, deadline=None)
@given(
    points=st.integers(1, 9), clusters=st.integers(1, 7), window=st.sampled_from([0.0, 0.03, 0.2]),
    images=st.lists(st.integers(0, 12), max_size=6), sizes=st.tuples(st.integers(1, 30), st.integers(1, 30)),
    seed=st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_sums_are_those_of_dense_histograms(points, clusters, window, images, sizes, seed):
    cells, waiting = sizes
    rng = np.random.default_rng(seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_CELLS", cells)
        patch.setattr(module, "_DENSE", cells)  # many blocks, several times added up
        patch.setattr(module, "_WAITING", waiting)
        sums, dense = HistogramSums(points, clusters, window), np.zeros((points, clusters), np.float32)
        for count in images:
            label_map = rng.integers(-1, clusters, (24, 32))
            pixels, rows = rng.uniform(-4, 36, (count, 2)), rng.integers(0, points, count)
            sums.add(label_map, pixels, rows)
            np.add.at(dense, rows, label_histograms(label_map, pixels, window * 32, clusters))
        found = sums.total()
        sparse = np.zeros_like(dense)
        sparse[np.repeat(np.arange(points), np.diff(found.first)), found.labels] = found.sums
        np.testing.assert_array_equal(sparse, dense)
        assert found.sums.all()
        stationary, query = rng.random(clusters) < 0.7, rng.integers(0, clusters, (20, 30))
        pixels, rows = rng.uniform(0, 30, (11, 2)), rng.integers(0, points, 11)
        similarity = found.similarity(query, pixels, rows, stationary)
    roots = np.sqrt(dense * stationary / np.maximum((dense * stationary).sum(axis=1, keepdims=True), 1e-9))
    own = np.sqrt(label_histograms(query, pixels, window * 30, clusters))
    np.testing.assert_allclose(similarity, (own * roots[rows]).sum(axis=1), rtol=1e-5, atol=1e-7)
