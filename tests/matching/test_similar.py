import numpy as np
import pytest
import torch

from fgsn.clustering.kmeans import kmeans
from fgsn.matching import similar
from fgsn.matching.features import Features
from fgsn.matching.keypoints import Keypoints
from fgsn.matching.similar import (
    Similarity,
    global_descriptors,
    similar_pairs,
)
from matched_scene import KnowingMatcher, make_scene


def test_images_of_the_same_place_look_alike(tmp_path):
    rng = np.random.default_rng(0)
    names = [f"{season}/{place}.png" for season in ("summer", "winter") for place in range(9)]
    scene = make_scene(tmp_path, names)
    places = rng.normal(size=(9, 40, 16))
    found = []
    for name in names:
        look = places[int(name[-5])] + rng.normal(0, 0.3, (40, 16))
        look = np.concatenate([look, rng.normal(size=(20, 16))]).astype(np.float32)
        look /= np.linalg.norm(look, axis=1, keepdims=True)
        found.append(Keypoints(np.zeros((60, 2), np.float32), look, np.ones(60, np.float32), (320, 240)))
    features = Features(scene.images, KnowingMatcher(found), tmp_path / "work", longest=0)
    pairs = similar_pairs(features, names[:9], names[9:], 2)
    assert len(pairs) == 18
    assert [target[-5] for _, target in pairs[::2]] == list("012345678")
    described = global_descriptors(features, names)
    assert np.allclose(np.linalg.norm(described, axis=1), 1, atol=1e-5)
    assert np.array_equal(described, global_descriptors(features, names))


class Counted(dict):
    """Features of images in memory; counts how often each is asked for."""

    def __init__(self, counts, dim=8):
        rng = np.random.default_rng(0)
        given = {}
        for number, count in enumerate(counts):
            look = rng.normal(size=(count, dim)).astype(np.float32)
            scores = rng.random(count).astype(np.float32)
            given[f"{number}"] = Keypoints(np.zeros((count, 2), np.float32), look, scores, (320, 240))
        super().__init__(given)
        self.asked = []

    def __getitem__(self, name):
        self.asked.append(name)
        return super().__getitem__(name)


@pytest.mark.parametrize("samples", [7, 50, 1000])
def test_words_are_those_of_all_features_at_once(monkeypatch, samples):
    features = Counted([5, 0, 40, 1, 0, 33])
    monkeypatch.setattr(similar, "_SAMPLES", samples)
    monkeypatch.setattr(similar, "_FEATURES", 30)
    monkeypatch.setattr(similar, "_WORDS", 4)
    every = np.concatenate([one.best(30).descriptors for one in features.values()])
    generator = torch.Generator().manual_seed(3)
    chosen = torch.randperm(len(every), generator=generator)[:samples].numpy()
    words = kmeans(torch.from_numpy(every[chosen]), 4, 10, generator).centroids.numpy()
    for name, described in zip(features, global_descriptors(features, list(features), 3), strict=True):
        local = features[name].best(30).descriptors
        nearest = np.linalg.norm(local[:, None] - words, axis=2).argmin(axis=1)
        sums = np.stack([(local[nearest == k] - words[k]).sum(axis=0) for k in range(4)])
        sums /= np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)
        np.testing.assert_allclose(described, sums.ravel() / max(np.linalg.norm(sums), 1e-12), atol=1e-5)


def test_of_many_images_only_some_are_read_for_the_words(monkeypatch):
    features = Counted([6] * 20)
    monkeypatch.setattr(similar, "_SAMPLED", 3)
    monkeypatch.setattr(similar, "_WORDS", 2)
    described = global_descriptors(features, list(features))
    assert sorted(features.asked.count(name) for name in features) == [1] * 17 + [3] * 3
    assert np.allclose(np.linalg.norm(described, axis=1), 1, atol=1e-5)


def test_images_without_features(tmp_path):
    scene = make_scene(tmp_path, ["a.png", "b.png"])
    none = Keypoints(*(np.empty(shape, np.float32) for shape in ((0, 2), (0, 8), (0,))), size=(320, 240))
    features = Features(scene.images, KnowingMatcher([none, none]), tmp_path / "work", longest=0)
    assert not global_descriptors(features, ["a.png", "b.png"]).any()
    assert similar_pairs(features, ["a.png"], ["b.png"], 3) == [("a.png", "b.png")]


def centred(here, there):
    """The similarity of the images of one condition to those of another."""
    return Similarity.by_condition(here, [len(here)], there).matrix()


def test_what_a_condition_has_in_common_does_not_count():
    rng = np.random.default_rng(0)
    places = rng.normal(size=(9, 16))
    sides = [places + 5 * rng.normal(size=16) + rng.normal(0, 0.3, (9, 16)) for _ in range(2)]
    here, there = ((side / np.linalg.norm(side, axis=1, keepdims=True)).astype(np.float32) for side in sides)
    assert (centred(here, there).argmax(axis=1) == np.arange(9)).sum() > 7
    assert ((here @ there.T).argmax(axis=1) == np.arange(9)).sum() < 6
    assert centred(here[:3], there) == pytest.approx(here[:3] @ there.T, abs=1e-6)  # too few for a mean
    assert centred(here, there[:3]) == pytest.approx(here @ there[:3].T, abs=1e-6)


def test_the_most_similar_come_first():
    similarity = Similarity(np.array([[0.1, 0.9, 0.5], [0.3, 0.2, 0.3]]), np.eye(3))
    found = similarity.best(["a", "b"], ["x", "y", "z"], 2)
    assert found == [("a", "y"), ("a", "z"), ("b", "x"), ("b", "z")]


@pytest.mark.parametrize("block", [1, 20, 1000])
def test_the_most_similar_are_found_in_blocks(monkeypatch, block):
    monkeypatch.setattr(similar, "_VALUES_AT_ONCE", block)
    rng = np.random.default_rng(0)
    one, two = (Similarity(rng.normal(size=(13, dim)), rng.normal(size=(7, dim))) for dim in (3, 5))
    expected = one.here @ one.there.T + two.here @ two.there.T
    assert (one + two).matrix() == pytest.approx(expected)
    found = (one + two).best(list(range(13)), list(range(7)), 2)
    order = np.argsort(-expected, axis=1)[:, :2]
    assert found == [(row, other) for row in range(13) for other in order[row].tolist()]


def test_each_condition_loses_what_its_images_have_in_common():
    """Snow makes all images of a winter alike, and lists that are too short for a mean share one."""
    rng = np.random.default_rng(0)
    places, offsets = rng.normal(size=(10, 64)), 20 * rng.normal(size=(3, 64))
    there = places.astype(np.float32)
    here = np.concatenate([places + offsets[0], places + offsets[1], places[:4] + offsets[2], places[4:] + offsets[2]])
    here = (here / np.linalg.norm(here, axis=1, keepdims=True)).astype(np.float32)
    place = np.concatenate([np.arange(10)] * 3)
    found = Similarity.by_condition(here, [10, 10, 4, 6], there).matrix()
    assert np.array_equal(found.argmax(axis=1), place)
    assert (centred(here, there).argmax(axis=1) == place).mean() < 0.7
    assert found[:10] == pytest.approx(centred(here[:10], there), abs=1e-6)
    short = Similarity.by_condition(here[:24], [10, 10, 4], there).matrix()  # the last is too short, and alone
    assert short[:20] == pytest.approx(found[:20], abs=1e-6)
    assert short[20:] == pytest.approx(here[20:24] @ there.T, abs=1e-6)
