"""Which features are clustered, and the frozen network that labels crops."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fgsn import Codebook
from fgsn.clustering.whitening import Whitening
from fgsn.config import TrainSettings
from fgsn.data.augment import generator
from fgsn.data.dataset import Dataset
from fgsn.data.images import read_image
from fgsn.training import clusters
from fgsn.training.batches import stacked
from fgsn.training.clusters import Labeller, cluster_features, sampled_cells
from fgsn.training.losses import at_cells


@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 80), st.integers(2, 60), st.integers(0, 1000))
def test_cells_are_half_at_points_each_once_and_inside(height, width, points, count, seed):
    at = np.random.default_rng(seed).uniform(-30, (8 * width + 30, 8 * height + 30), (points, 2))
    found = sampled_cells(at, (height, width), count, generator(seed))
    assert ((found >= 0) & (found < (width, height))).all()
    known = {(int(x), int(y)) for x, y in np.floor(at / 8 + 0.5) if 0 <= x < width and 0 <= y < height}
    share = min(len(known), count // 2)
    first, rest = [tuple(cell) for cell in found[:share]], [tuple(cell) for cell in found[share:]]
    assert set(first) <= known
    assert len(set(first)) == len(first)
    assert len(set(rest)) == len(rest) == min(count - share, height * width)


def test_every_cell_comes_up():
    seen = set()
    for seed in range(60):
        seen |= {tuple(cell) for cell in sampled_cells(np.zeros((0, 2)), (3, 5), 4, generator(seed))}
    assert seen == {(x, y) for x in range(5) for y in range(3)}


def test_features_are_taken_at_their_cells_of_all_reference_images(make_model, data, monkeypatch):
    settings = TrainSettings(
        data=(data,), init=data, out=data, clusters=4, features_per_image=24, pca_dim=8, kmeans_iterations=9, seed=5
    )
    model = make_model(names=False)
    taken = {}
    monkeypatch.setattr(
        clusters,
        "Codebook",
        type("Spy", (), {"fit": lambda features, *rest: taken.update(features=features, rest=rest)}),
    )
    cluster_features(model, [Dataset.open(data), Dataset.open(data)], settings, 30)
    # Two sets of three training images each, 24 features from each image.
    assert taken["features"].shape == (6 * 24, 16)
    assert taken["rest"] == (4, 35, 8, 9)
    for n, image in enumerate(Dataset.open(data).reference_images("train")):
        cells = {tuple(column) for column in np.round(model.features(image).reshape(16, -1).T, 3).tolist()}
        rows = np.round(taken["features"][24 * n : 24 * (n + 1)].numpy(), 3).tolist()
        assert sum(tuple(row) in cells for row in rows) >= 22  # rounding may differ


def test_crops_are_normalised_as_single_images_are(make_model):
    model = make_model()
    crops = [np.random.default_rng(n).integers(0, 256, (65, 65, 3), dtype=np.uint8) for n in range(3)]
    expected = torch.stack([model.normalisation(crop) for crop in crops])
    torch.testing.assert_close(stacked(model, crops), expected)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_labels_are_those_of_the_features(make_model, make_image, tmp_path, precision):
    pixels = read_image(make_image(tmp_path / "a.png", 65, 65))
    model = make_model(names=False)
    features = model.feature_map(pixels)
    model = replace(model, codebook=Codebook.fit(features.flatten(1).T.clone(), 6, pca_dim=8))
    labels = Labeller(model, precision)(stacked(model, [pixels]))
    expected = model.codebook.assign_map(features[None].clone())
    assert labels.shape == (1, 9, 9)
    assert len(labels.unique()) == 6
    assert (labels == expected).float().mean() > (0.98 if precision == "float32" else 0.7)


def test_labels_of_points_are_theirs(golden):
    """A map of 17 x 17 cells for 33 x 33 pixels; their cell of a pixel is trunc(x / 33 * 17 + 0.5)."""
    stored = np.load(Path(__file__).with_name("golden_points.npz"))
    projection, offset, centroids = (torch.from_numpy(stored[name]) for name in ("pca_A", "pca_b", "centroids"))
    mean = torch.linalg.lstsq(projection.T.double(), -offset.double()[:, None])[0][:, 0].float()
    codebook = Codebook(Whitening(mean, projection), centroids)
    labels = codebook.assign_map(torch.from_numpy(golden(750, (2, 8, 17, 17), -1, 1).astype(np.float32)))
    for pair in (0, 1):
        cells = np.trunc(stored[f"points_{pair}"].T / 33 * 17 + 0.5).astype(np.int64)
        cells = torch.from_numpy(cells[((cells >= 0) & (cells < 17)).all(axis=1)])
        found = at_cells(labels, torch.full((len(cells),), pair), cells)
        np.testing.assert_array_equal(found, stored[f"labels_{pair}"])
