"""Augmented descriptors: what their dot products are, and what matching them finds."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from fgsn.matching.augmentation import Augmentation, augmented, fit_projection, position_vectors
from fgsn.matching.keypoints import Keypoints
from fgsn.matching.nearest import mutual_nearest


def unit(seed: int, points: int, dim: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(points, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def probabilities(seed: int, points: int, labels: int, sharpness: float = 1.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.dirichlet(np.full(labels, sharpness), points).astype(np.float32)


def nearest_by_hand(a: np.ndarray, b: np.ndarray) -> set[tuple[int, int]]:
    similarity = [[float(np.dot(one, other)) for other in b] for one in a]
    forth = [max(range(len(b)), key=lambda j: row[j]) for row in similarity]
    back = [max(range(len(a)), key=lambda i: similarity[i][j]) for j in range(len(b))]
    return {(i, j) for i, j in enumerate(forth) if back[j] == i}


weights = st.floats(0, 1, exclude_max=True)


@given(seed=st.integers(0, 1000), weight=weights, share=weights, labels=st.integers(2, 30))
def test_dot_products_are_weighted_sums(seed, weight, share, labels):
    """Of the cosine, the Bhattacharyya coefficient of the labels and that of the position."""
    position = (1 - weight) * share
    d = unit(seed, 8, 16)
    p, q = probabilities(seed, 8, labels), probabilities(seed + 1, 8, 5)
    found = augmented(d, (weight, np.sqrt(p)), (position, np.sqrt(q)))
    bhattacharyya = [np.array([[np.sqrt(a * b).sum() for b in x] for a in x]) for x in (p, q)]
    expected = (1 - weight - position) * (d @ d.T) + weight * bhattacharyya[0] + position * bhattacharyya[1]
    assert found @ found.T == pytest.approx(expected, abs=1e-5)
    assert np.linalg.norm(found, axis=1) == pytest.approx(1, abs=1e-5)


@given(seed=st.integers(0, 1000))
def test_weight_zero_gives_the_plain_matches(seed):
    a, b = unit(seed, 30, 4), unit(seed + 1, 25, 4)
    p, q = probabilities(seed, 30, 7), probabilities(seed + 1, 25, 7)
    plain = mutual_nearest(a, b)
    found = mutual_nearest(augmented(a, (0.0, np.sqrt(p))), augmented(b, (0.0, np.sqrt(q))))
    assert np.array_equal(found[0], plain[0])
    assert np.array_equal(found[1], plain[1])
    assert {tuple(row) for row in plain[0]} == nearest_by_hand(a, b)


@given(points=arrays.arrays(np.float32, (6, 2), elements=st.floats(0, 99, width=32)))
def test_positions_are_most_similar_where_they_are_equal(points):
    vectors = position_vectors(points, (100, 100))
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)
    similarity = vectors @ vectors.T
    assert (similarity <= np.diag(similarity)[:, None] + 1e-5).all()
    distance = np.linalg.norm(points[:, None] - points[None], axis=2)
    assert (similarity[distance < 3] > 0.9).all()
    assert (similarity[distance > 40] < 0.1).all()


def test_labels_find_matches_that_descriptors_confuse():
    """Descriptors that come in pairs of twins, whose labels differ."""
    rng = np.random.default_rng(0)
    looks = np.repeat(unit(0, 50, 16), 2, axis=0)
    labels = np.tile(np.eye(2, dtype=np.float32), (50, 1)) * 0.8 + 0.1
    sides = [looks + rng.normal(0, 0.05, looks.shape).astype(np.float32) for _ in range(2)]
    a, b = (side / np.linalg.norm(side, axis=1, keepdims=True) for side in sides)

    def right(weight: float) -> int:
        rows, _ = mutual_nearest(*(augmented(side, (weight, np.sqrt(labels))) for side in (a, b)))
        return int((rows[:, 0] == rows[:, 1]).sum())

    assert right(0.3) == 100 > 80 > right(0.0)


def test_a_projection_keeps_dot_products_where_labels_vary_little():
    rng = np.random.default_rng(0)
    bases = probabilities(1, 8, 200, 0.05)
    mixed = np.sqrt(rng.dirichlet(np.full(8, 0.2), 500).astype(np.float32) @ bases)
    projection = fit_projection(mixed, 32)
    assert projection.T @ projection == pytest.approx(np.eye(32), abs=1e-5)
    short = mixed @ projection
    assert np.abs(short @ short.T - mixed @ mixed.T).max() < 0.01
    singular = np.linalg.svd(mixed, compute_uv=False)
    left = np.linalg.norm(mixed - short @ projection.T)
    assert left == pytest.approx(np.sqrt((singular[32:] ** 2).sum()), rel=1e-3)  # no projection leaves less
    assert np.array_equal(projection, fit_projection(mixed, 32))


def test_names_tell_augmentations_apart():
    names = {Augmentation(None, weight, position).name for weight in (0.1, 0.2) for position in (0, 0.25)}
    assert len(names) == 4


def test_only_descriptors_change(tmp_path):
    plain = Keypoints(np.zeros((3, 2), np.float32), unit(0, 3, 8), np.ones(3, np.float32), (64, 48))
    found = Augmentation(None, 0.0, 0.5)("a.png", tmp_path / "a.png", plain)
    assert found.pixels is plain.pixels
    assert found.descriptors[:, :8] == pytest.approx(plain.descriptors * 0.5**0.5)
