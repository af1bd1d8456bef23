"""Right and wrong matches, judged by given correspondences."""

from pathlib import Path

import numpy as np
import pytest

from fgsn.data.correspondences import Correspondences
from fgsn.matching.truth import distance_from_truth

SIZES = (1000, 750), (500, 375)
"""The target is half as large as the reference."""


def pair(reference: np.ndarray, target: np.ndarray) -> Correspondences:
    return Correspondences(Path("a"), Path("b"), reference, target, np.ones(len(reference)))


def test_a_right_match_moves_as_the_correspondences_around_it():
    known = np.stack(np.meshgrid(np.arange(0, 400, 10.0), np.arange(0, 400, 10.0)), axis=-1).reshape(-1, 2)
    given = pair(known, known / 2 + 30)
    reference = np.array([(104.0, 100), (203, 207), (300, 300), (900, 700)])
    target = reference / 2 + 30 + np.array([(0, 0), (0, 6.25), (100, 0), (0, 0)])
    # The last is far from all correspondences; the diagonal of the target is 625 pixels.
    found = distance_from_truth(given, reference, target, SIZES)
    assert found == pytest.approx([0, 0.01, 0.16, np.nan], abs=1e-3, nan_ok=True)
    assert len(distance_from_truth(given, reference[:0], target[:0], SIZES)) == 0
    assert np.isnan(distance_from_truth(pair(known[:0], known[:0]), reference, target, SIZES)).all()


def test_correspondences_on_a_line_do_not_surround_a_point():
    line = np.stack([np.arange(100.0), np.arange(100.0)], axis=1)
    assert np.isnan(distance_from_truth(pair(line, line), np.array([(50.0, 60.0)]), np.array([(50.0, 60.0)]), SIZES))
