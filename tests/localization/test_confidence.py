"""The confidence of poses: it grows with the inliers."""

from itertools import pairwise

from fgsn.localization.confidence import confidence


def test_confidence_grows_with_the_inliers():
    sure = [confidence(inliers) for inliers in (0, 1, 6, 15, 30, 100, 100_000)]
    assert all(0 <= less < more <= 1 for less, more in pairwise(sure))


def test_extremes_are_sure():
    assert confidence(100) > 0.99
    assert confidence(6) < 0.05
