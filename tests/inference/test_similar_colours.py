import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fgsn.inference.colours import oklab, palette
from fgsn.inference.similar_colours import distances, similar_palette


def features(clusters, seed=0, dim=32):
    """Clusters in a few groups, as semantic classes are, with some spread within each."""
    rng = np.random.default_rng(seed)
    groups = rng.normal(size=(5, dim))
    return groups[rng.integers(0, 5, clusters)] + 0.3 * rng.normal(size=(clusters, dim))


def agreement(rows, colours):
    upper = np.triu_indices(len(rows), 1)
    return np.corrcoef(distances(rows)[upper], distances(oklab(colours))[upper])[0, 1]


@pytest.mark.parametrize("clusters", [20, 100, 300])
def test_clusters_with_similar_features_look_alike(clusters):
    rows = features(clusters)
    assert agreement(rows, palette(clusters)) < 0.2
    assert agreement(rows, similar_palette(rows)) > 0.5


@given(st.integers(1, 60), st.integers(1, 40), st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_the_colours_are_those_of_the_palette_dealt_anew(clusters, dim, seed):
    colours = similar_palette(np.random.default_rng(seed).normal(size=(clusters, dim)))
    np.testing.assert_array_equal(np.unique(colours, axis=0), np.unique(palette(clusters), axis=0))


def test_the_same_features_have_the_same_colours_however_they_are_turned():
    rows = features(40)
    turned = rows @ np.linalg.qr(np.random.default_rng(1).normal(size=(32, 32)))[0]
    np.testing.assert_array_equal(similar_palette(rows), similar_palette(turned))


def test_equal_features_and_very_many_clusters_have_distinct_colours():
    assert len(np.unique(similar_palette(np.zeros((30, 4))), axis=0)) == 30
    np.testing.assert_array_equal(similar_palette(np.zeros((1500, 2))), palette(1500))


def test_distances_are_those_of_the_rows():
    rows = np.random.default_rng(0).normal(size=(7, 3))
    expected = np.linalg.norm(rows[:, None] - rows, axis=2)
    np.testing.assert_allclose(distances(rows), expected, atol=1e-7)
