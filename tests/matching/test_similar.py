import numpy as np

from fgsn.matching.features import Features
from fgsn.matching.keypoints import Keypoints
from fgsn.matching.similar import centred_similarity, global_descriptors, most_similar, similar_pairs
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


def test_images_without_features(tmp_path):
    scene = make_scene(tmp_path, ["a.png", "b.png"])
    none = Keypoints(*(np.empty(shape, np.float32) for shape in ((0, 2), (0, 8), (0,))), size=(320, 240))
    features = Features(scene.images, KnowingMatcher([none, none]), tmp_path / "work", longest=0)
    assert not global_descriptors(features, ["a.png", "b.png"]).any()
    assert similar_pairs(features, ["a.png"], ["b.png"], 3) == [("a.png", "b.png")]


def test_what_a_condition_has_in_common_does_not_count():
    rng = np.random.default_rng(0)
    places = rng.normal(size=(9, 16))
    sides = [places + 5 * rng.normal(size=16) + rng.normal(0, 0.3, (9, 16)) for _ in range(2)]
    here, there = ((side / np.linalg.norm(side, axis=1, keepdims=True)).astype(np.float32) for side in sides)
    assert (centred_similarity(here, there).argmax(axis=1) == np.arange(9)).sum() > 7
    assert ((here @ there.T).argmax(axis=1) == np.arange(9)).sum() < 6
    assert np.array_equal(centred_similarity(here[:3], there), here[:3] @ there.T)  # too few for a mean


def test_the_most_similar_come_first():
    similarity = np.array([[0.1, 0.9, 0.5], [0.3, 0.2, 0.3]])
    found = most_similar(similarity, ["a", "b"], ["x", "y", "z"], 2)
    assert found == [("a", "y"), ("a", "z"), ("b", "x"), ("b", "z")]
