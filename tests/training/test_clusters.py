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
from fgsn.data.pairs import PairSample
from fgsn.errors import FgsnError
from fgsn.models.model_file import write_model_file
from fgsn.training import clusters
from fgsn.training.batches import stacked
from fgsn.training.clusters import CropLabels, ImageLabels, cluster_features, sampled_cells, scene_features
from fgsn.training.losses import at_cells

PAPER = {"scales": (1.0,), "whitening": "pca", "labels_from": "crop", "zoom": 0.0, "shift": 0.0}
"""Settings of the published recipe."""


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
        data=(data,), init=data, out=data, clusters=4, features_per_image=24, pca_dim=8, kmeans_iterations=9, seed=5,
        **PAPER,
    )  # fmt: skip
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
    assert taken["rest"] == (4, 35, 8, 9, None)
    for n, image in enumerate(Dataset.open(data).reference_images("train")):
        cells = {tuple(column) for column in np.round(model.features(image).reshape(16, -1).T, 3).tolist()}
        rows = np.round(taken["features"][24 * n : 24 * (n + 1)].numpy(), 3).tolist()
        assert sum(tuple(row) in cells for row in rows) >= 22  # rounding may differ


def test_crops_are_normalised_as_single_images_are(make_model):
    model = make_model()
    crops = [np.random.default_rng(n).integers(0, 256, (65, 65, 3), dtype=np.uint8) for n in range(3)]
    expected = torch.stack(
        [model.normalisation.apply(torch.from_numpy(crop).permute(2, 0, 1).float()) for crop in crops]
    )
    torch.testing.assert_close(stacked(model, crops), expected)


def sample_of(pixels, image=Path("a.png"), corner=(0.0, 0.0), zoom=1.0):
    """A sample with this reference crop, without matches."""
    none = np.zeros((0, 2), np.int64)
    inside = ((pixels.shape[0] - 1) // 8 + 1, (pixels.shape[1] - 1) // 8 + 1)
    return PairSample(
        clean=pixels, reference=pixels, target=pixels, inside=inside, cells_ref=none, cells_tgt=none,
        weights=np.zeros(0), image=image, corner=corner, zoom=zoom, file=Path("pair.mat"),
    )  # fmt: skip


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_labels_are_those_of_the_features(make_model, make_image, tmp_path, precision):
    pixels = read_image(make_image(tmp_path / "a.png", 65, 65))
    model = make_model(names=False)
    features = model.feature_map(pixels)
    model = replace(model, codebook=Codebook.fit(features.flatten(1).T.clone(), 6, pca_dim=8))
    labels = CropLabels(model, precision)([sample_of(pixels)])
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


def test_labels_of_a_crop_are_looked_up_where_it_lies():
    """A label map whose label is the column of its cells of 4 pixels: a crop shows where its cells are."""
    maps = {Path("a.png"): torch.arange(40, dtype=torch.uint8)[None].expand(30, 40).contiguous()}
    labels = ImageLabels(maps, torch.device("cpu"))
    pixels = np.zeros((65, 65, 3), np.uint8)
    plain, moved, zoomed, small = labels(
        [
            sample_of(pixels),
            sample_of(pixels, corner=(16.0, 0.0)),
            sample_of(pixels, corner=(16.0, 0.0), zoom=2.0),
            sample_of(pixels, zoom=0.25),
        ]
    )
    assert plain.shape == (9, 9)
    assert plain[0].tolist() == [0, 2, 4, 6, 8, 10, 12, 14, 16]
    assert moved[3].tolist() == [4, 6, 8, 10, 12, 14, 16, 18, 20]
    assert zoomed[3].tolist() == [4, 5, 6, 7, 8, 9, 10, 11, 12]
    assert small[0].tolist() == [0, 8, 16, 24, 32, 39, 39, 39, 39], "beyond the image its last cell"
    with pytest.raises(FgsnError, match=r"b\.png could not be read when its features were clustered"):
        labels([sample_of(pixels, image=Path("b.png"))])


def test_scene_features_of_one_view_are_those_of_the_image(make_model, make_image, tmp_path, data):
    model, image = make_model(names=False), make_image(tmp_path / "a.png", 97, 81)
    settings = TrainSettings(data=(data,), init=data, out=data, **PAPER)
    assert np.allclose(scene_features(model, image, settings), model.features(image), atol=1e-5)


def test_scene_features_are_averaged_over_scales(make_model, make_image, tmp_path, data):
    model, image = make_model(names=False), make_image(tmp_path / "a.png", 97, 81)
    settings = TrainSettings(data=(data,), init=data, out=data)
    several = scene_features(model, image, replace(settings, scales=(0.5, 1.0, 2.0)))
    each = [scene_features(model, image, replace(settings, scales=(scale,), zoom=0.5)) for scale in (0.5, 2.0)]
    mirrored = 3 * several - each[0] - each[1]
    inner = mirrored[:, 3:-3, 3:-3].numpy(), model.features(image)[:, 3:-3, 3:-3]
    assert several.shape == (16, 11, 13)
    assert np.corrcoef(inner[0].ravel(), inner[1].ravel())[0, 1] > 0.9, "what is left is the view of scale 1"


def test_label_maps_are_named_by_set_and_image_and_read_back(data, tmp_path):
    sets = [Dataset.open(data)]
    images = sets[0].reference_images("train")
    maps = {image: torch.full((3, 5), n, dtype=torch.uint8) for n, image in enumerate(images)}
    names = clusters.label_map_names(maps, sets)
    assert list(names) == [f"0/{sets[0].name(image)}" for image in images]
    write_model_file(tmp_path / "labels.safetensors", names, {})
    found = clusters.read_label_maps(tmp_path / "labels.safetensors", sets)
    assert found.keys() == maps.keys()
    assert all(torch.equal(found[image], maps[image]) for image in images)
    write_model_file(tmp_path / "labels.safetensors", {"7/a.png": torch.zeros(2, 2)}, {})
    with pytest.raises(FgsnError, match="does not belong to these data sets"):
        clusters.read_label_maps(tmp_path / "labels.safetensors", sets)
