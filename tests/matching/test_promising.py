import numpy as np

from fgsn.matching.features import Features
from fgsn.matching.keypoints import Keypoints
from fgsn.matching.promising import OTHER_PLACE, OTHERS_BETTER, agreement, promising
from matched_scene import make_scene

SUMMER, WINTER = ["summer/0.png"], [f"winter/{n}.png" for n in range(4)]
PAIRS = [(SUMMER[0], name) for name in WINTER]


def blurred(keypoints, noise, seed=0):
    """The same key points, with descriptors that are less and less like those of the others."""
    random = np.random.default_rng(seed).normal(size=keypoints.descriptors.shape)
    mixed = keypoints.descriptors + noise * random / np.sqrt(random.shape[1])
    return Keypoints(keypoints.pixels, mixed.astype(np.float32), keypoints.scores, keypoints.size)


def test_other_places_and_worse_pairs_are_skipped(tmp_path):
    scene = make_scene(tmp_path, [*SUMMER, *WINTER], points=500)
    found = scene.matcher.found
    np.random.default_rng(1).shuffle(found[1].descriptors)  # another place
    found[2] = blurred(found[2], 2.0)
    found[4] = blurred(found[4], 1.0)
    features = Features(scene.images, scene.matcher, tmp_path / "work", longest=0)
    counts = [agreement(features[a], features[b])[0] for a, b in PAIRS]
    assert counts[0] < counts[1] < counts[3] < counts[2]
    chosen, skipped = promising(features, PAIRS, lambda a, b: a, 1)
    assert chosen == [PAIRS[2], PAIRS[3]]
    assert {(pair.target, pair.reason) for pair in skipped} == {(WINTER[0], OTHER_PLACE), (WINTER[1], OTHERS_BETTER)}
    assert scene.matcher.asked.count("match") == 0
    # In groups of their own, all but the other place are matched.
    chosen, skipped = promising(features, PAIRS, lambda a, b: b, 1)
    assert chosen == PAIRS[1:]
    assert len(skipped) == 1


def test_an_image_without_key_points_agrees_with_none():
    none = Keypoints(np.zeros((0, 2), np.float32), np.zeros((0, 8), np.float32), np.zeros(0, np.float32), (64, 48))
    assert agreement(none, none) == (0, 0.0)
