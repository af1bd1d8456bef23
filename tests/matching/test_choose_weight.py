"""Right matches by the weight of labels, judged by given correspondences."""

from pathlib import Path

import numpy as np

from fgsn.data.correspondences import Correspondences
from fgsn.matching.choose_weight import best_weight, count_right
from fgsn.matching.feature_matches import no_matches
from fgsn.matching.keypoints import Keypoints


def keypoints(pixels: list[tuple[float, float]]) -> Keypoints:
    count = len(pixels)
    return Keypoints(
        np.array(pixels, np.float32), np.eye(count, dtype=np.float32), np.ones(count, np.float32), (1000, 800)
    )


def pair(reference: list[tuple[float, float]], target: list[tuple[float, float]]) -> Correspondences:
    return Correspondences(Path("a"), Path("b"), np.array(reference), np.array(target), np.ones(len(reference)))


def test_a_right_match_moves_as_the_correspondence_beside_it():
    given = pair([(100, 100), (500, 500)], [(130, 100), (500, 560)])
    a = keypoints([(104, 100), (100, 95), (500, 508), (300, 300)])
    b = keypoints([(134, 102), (137, 95), (500, 568), (300, 300)])
    rows = np.stack([np.arange(4)] * 2, axis=1)
    # The second is 7 px off, with 5 allowed; the last is far from any correspondence.
    assert count_right(given, a, b, (rows, np.ones(4, np.float32))) == 2
    assert count_right(given, a, b, (rows[[1, 3]], np.ones(2, np.float32))) == 0
    assert count_right(given, a, b, no_matches()) == 0
    assert count_right(pair([], []), a, b, (rows, np.ones(4, np.float32))) == 0


def test_the_best_weight_has_most_right_matches_and_is_small():
    assert best_weight({"0": 3.0, "0.1": 5.0, "0.3": 5.0, "0.5": 4.0}) == 0.1
    assert best_weight({"0": 3.0, "0.5": 3.0}) == 0.0
