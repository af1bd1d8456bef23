"""Label probabilities at key points, and their files."""

import os
from dataclasses import replace

import h5py
import numpy as np
import pytest
from scipy.special import softmax

from fgsn.data.images import read_image
from fgsn.errors import FgsnError
from fgsn.formats.hdf5 import stamp_of
from fgsn.inference.model import load
from fgsn.matching.label_vectors import LabelVectors

POINTS = {"a/1.png": np.array([(16.0, 24.0), (20.0, 24.0), (63.0, 47.0)]), "b.png": np.zeros((0, 2))}


@pytest.fixture
def given(tmp_path, make_model, make_image):
    make_model(7).save(tmp_path / "model.safetensors")
    images = {name: make_image(tmp_path / "images" / name, seed=n) for n, name in enumerate(POINTS)}
    return LabelVectors.of_model(tmp_path / "model.safetensors", tmp_path / "work"), images


def test_vectors_are_roots_of_the_softmax(given):
    labels, images = given
    assert labels.compute(images, POINTS, "cpu") == {}
    scores = load(labels.model, "cpu").scores(read_image(images["a/1.png"])).numpy()
    found = labels.at("a/1.png", images["a/1.png"], POINTS["a/1.png"])
    for row, cell in enumerate((scores[:, 3, 2], (scores[:, 3, 2] + scores[:, 3, 3]) / 2)):
        assert found[row] ** 2 == pytest.approx(softmax(cell), abs=2e-3)
    assert np.linalg.norm(found, axis=1) == pytest.approx(1, abs=1e-3)
    assert labels.at("b.png", images["b.png"], POINTS["b.png"]).shape == (0, 7)


def test_histograms_are_means_over_parts_of_the_image(given):
    labels, images = given
    labels.compute(images, POINTS, "cpu")
    scores = load(labels.model, "cpu").scores(read_image(images["b.png"])).numpy()  # 6 x 8 cells
    found = labels.pyramid("b.png", images["b.png"], POINTS["b.png"]).reshape(7, 4, 4)
    for row, rows in ((0, slice(0, 2)), (3, slice(4, 6))):  # the first and the last of four overlapping parts
        expected = softmax(scores, axis=0)[:, rows, 2 * row : 2 * row + 2].mean(axis=(1, 2))
        assert found[:, row, row] ** 2 * 16 == pytest.approx(expected, abs=2e-3)
    assert np.linalg.norm(found) == pytest.approx(1, abs=1e-3)


def test_points_lie_on_the_resized_image(given, tmp_path):
    """Half as large an image has half as many cells, and a point between them is the same place."""
    labels, images = given
    image = images["a/1.png"]
    small = replace(load(labels.model, "cpu"), short_side=24)
    small.save(tmp_path / "small.safetensors")
    other = LabelVectors.of_model(tmp_path / "small.safetensors", tmp_path / "work")
    place = np.array([(16.5, 32.5)])  # (pixel + 0.5) / 2 - 0.5 = a cell
    other.compute(images, {"a/1.png": place}, "cpu")
    expected = softmax(small.scores(read_image(image)).numpy()[:, 2, 1])
    assert other.at("a/1.png", image, place)[0] ** 2 == pytest.approx(expected, abs=2e-3)
    assert other.folder != labels.folder


def test_computed_once_and_again_when_image_or_points_change(given, monkeypatch):
    labels, images = given
    labels.compute(images, POINTS, "cpu")
    file = labels.folder / "a/1.png.h5"
    before = file.stat().st_mtime_ns
    labels.compute(images, POINTS, "cpu")
    assert file.stat().st_mtime_ns == before
    moved = POINTS | {"a/1.png": POINTS["a/1.png"] + 1}
    with pytest.raises(FgsnError, match=r"1\.png\.h5 has no labels at the current key points of 'a/1\.png'"):
        labels.at("a/1.png", images["a/1.png"], moved["a/1.png"])
    labels.compute(images, moved, "cpu")
    assert file.stat().st_mtime_ns > before
    os.utime(images["a/1.png"], ns=(1, 1))
    with pytest.raises(FgsnError, match="has no labels at the current"):
        labels.at("a/1.png", images["a/1.png"], moved["a/1.png"])
    with h5py.File(file, "a") as opened:
        del opened["a/1.png/label_vectors"]
        opened["a/1.png/label_vectors"] = np.zeros((1, 7))
        stamp = stamp_of(opened)
    monkeypatch.setattr("fgsn.matching.label_vectors._stamp", lambda *_: stamp)
    with pytest.raises(FgsnError, match=r"1\.png\.h5 is damaged"):
        labels.at("a/1.png", images["a/1.png"], moved["a/1.png"])


def test_what_cannot_be_read_is_named(given, tmp_path):
    labels, images = given
    with pytest.raises(FgsnError, match=r"cannot read .*none"):
        LabelVectors.of_model(tmp_path / "none.safetensors", tmp_path)
    images["a/1.png"].unlink()
    broken = labels.compute(images, POINTS, "cpu")
    assert list(broken) == ["a/1.png"]
    assert f"cannot read {images['a/1.png']}" in broken["a/1.png"]
    assert labels.at("b.png", images["b.png"], POINTS["b.png"]).shape == (0, 7)
