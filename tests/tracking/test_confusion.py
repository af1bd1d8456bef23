from pathlib import Path

import numpy as np
import pytest
import torch

from fgsn.data.correspondences import Correspondences
from fgsn.errors import FgsnError
from fgsn.tracking.confusion import Confusion


def pairs_with_labels(labels: int, seed: int = 0) -> tuple[dict[Path, np.ndarray], list[Correspondences]]:
    rng = np.random.default_rng(seed)
    names = [Path(name) for name in "abc"]
    maps = {name: rng.integers(0, labels, (12, 16)) for name in names}
    pairs = [
        Correspondences(names[0], target, rng.uniform(-1, 16, (40, 2)), rng.uniform(-1, 16, (40, 2)), np.ones(40))
        for target in names[1:]
    ]
    return maps, pairs


def test_counts_are_those_of_a_loop():
    maps, pairs = pairs_with_labels(5)
    maps[Path("c")][:3] = 255  # ignored
    expected = np.zeros((5, 5), int)
    for pair in pairs:
        for one, other in zip(pair.points_ref, pair.points_tgt, strict=True):
            (x, y), (u, v) = np.floor(one + 0.5).astype(int), np.floor(other + 0.5).astype(int)
            if 0 <= x < 16 and 0 <= y < 12 and 0 <= u < 16 and 0 <= v < 12 and maps[pair.target][v, u] < 5:
                expected[maps[pair.reference][y, x], maps[pair.target][v, u]] += 1
    assert np.array_equal(Confusion.count(maps.__getitem__, pairs, 5).counts, expected)


@pytest.mark.parametrize("labels", [2, 19, 1000])
def test_rows_are_probabilities(labels):
    maps, pairs = pairs_with_labels(labels)
    confusion = Confusion.count(maps.__getitem__, pairs, labels)
    rows = confusion.probabilities()
    assert rows.shape == (labels, labels)
    assert rows.dtype == torch.float32
    assert rows.sum(dim=1).numpy() == pytest.approx(np.ones(labels), abs=1e-5)
    assert float(rows.min()) > 0


def test_a_label_never_seen_says_nothing():
    counts = np.array([[80, 10, 10], [0, 100, 0], [0, 0, 0]])
    rows = Confusion(counts).probabilities(10.0).numpy()
    assert rows[2] == pytest.approx(np.array([80, 110, 10]) / 200, abs=2e-3)
    assert rows[0] == pytest.approx((np.array([80, 10, 10]) + 10 * rows[2]) / 110, abs=1e-5)


def test_no_correspondences_with_labels():
    maps, pairs = pairs_with_labels(3)
    with pytest.raises(FgsnError, match="no labelled correspondences to count"):
        Confusion.count(maps.__getitem__, [], 3)
    with pytest.raises(FgsnError, match="no labelled correspondences to count"):
        Confusion.count(lambda image: np.full_like(maps[image], 255), pairs, 3)
    assert Confusion.count(maps.__getitem__, pairs, 3).labels == 3
    rows = Confusion.count(maps.__getitem__, pairs, 3).probabilities(strength=0.5)
    assert rows.shape == (3, 3)
    assert torch.allclose(rows.sum(dim=1), torch.ones(3))
    assert (rows > 0).all()
