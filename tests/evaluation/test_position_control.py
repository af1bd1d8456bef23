import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fgsn.evaluation import position_control
from fgsn.evaluation.information import entropy
from fgsn.evaluation.position_control import (
    blind_grid,
    find_false_partners,
    grid_shape,
    held_out_bits,
    position_controlled_metrics,
    within_image_kappa,
)

PLACES = 12
HEIGHT = 0.75


def drive(rng, per_place=4000, displacement=0.03):
    """Corresponding points of a drive with one camera: near each other in both images, at PLACES places."""
    count = PLACES * per_place
    target = rng.random((count, 2)) * (1, HEIGHT)
    reference = np.clip(target + displacement * rng.normal(size=(count, 2)), 0, (1 - 1e-9, HEIGHT - 1e-9))
    return reference, target, np.repeat(np.arange(PLACES), per_place)


def scene_labels(rng, target, places, labels, keep):
    """Labels that depend on place and position: every place has its own random labelling of a grid of cells."""
    cell = blind_grid(target, 400, HEIGHT)
    true = rng.integers(0, labels, (PLACES, cell.max() + 1))[places, cell]
    return true, np.where(rng.random(len(true)) < keep, true, rng.integers(0, labels, len(true)))


@pytest.mark.parametrize("side", [4, 10, 20, 30])
def test_a_blind_grid_scores_nothing(side):
    rng = np.random.default_rng(side)
    reference, target, places = drive(rng)
    a, b = (blind_grid(points, side * side, HEIGHT) for points in (reference, target))
    partners = find_false_partners(target, places)
    metrics = position_controlled_metrics(a, b, places, partners)
    assert metrics["points_position_controlled"] > 0.9 * len(a)
    assert abs(metrics["kappa_position_controlled"]) < 0.02
    assert metrics["information_bits_position_controlled"] < 0.05
    assert metrics["match_lift_position_controlled"] == pytest.approx(1, abs=0.05)
    assert np.mean(a == b) > 2 * (1 / side**2), "and yet its labels agree across the seasons"


def test_a_noisy_grid_scores_nothing():
    rng = np.random.default_rng(0)
    reference, target, places = drive(rng)
    a, b = (
        np.where(rng.random(len(points)) < 0.5, blind_grid(points, 100, HEIGHT), rng.integers(0, 100, len(points)))
        for points in (reference, target)
    )
    metrics = position_controlled_metrics(a, b, places, find_false_partners(target, places))
    assert abs(metrics["kappa_position_controlled"]) < 0.01
    assert metrics["information_bits_position_controlled"] < 0.05


@pytest.mark.parametrize(("labels", "keep"), [(4, 1.0), (8, 0.7), (20, 0.5)])
def test_labels_of_the_scene_score_what_they_share(labels, keep):
    """Uniform labels that survive with a known probability: kappa and information have closed forms."""
    rng = np.random.default_rng(labels)
    _, target, places = drive(rng)
    a, b = scene_labels(rng, target, places, labels, keep)
    metrics = position_controlled_metrics(a, b, places, find_false_partners(target, places), resamples=50)
    agreement = keep + (1 - keep) / labels
    assert metrics["kappa_position_controlled"] == pytest.approx((agreement - 1 / labels) / (1 - 1 / labels), abs=0.03)
    assert metrics["match_lift_position_controlled"] == pytest.approx(agreement * labels, rel=0.1)
    row = np.full(labels, (1 - keep) / labels)
    row[0] += keep
    bits = np.log2(labels) - entropy(1e9 * row)
    assert metrics["information_bits_position_controlled"] == pytest.approx(bits, abs=0.15 * bits)
    assert metrics["information_bits_position_controlled"] < bits + 0.05, "a lower bound"
    low, high = metrics["kappa_position_controlled_interval"]
    assert low <= metrics["kappa_position_controlled"] <= high


def test_false_partners_lie_at_the_same_position_of_other_places(monkeypatch):
    monkeypatch.setattr(position_control, "REACH", 0.01)
    rng = np.random.default_rng(3)
    _, target, places = drive(rng, per_place=500)
    partners = find_false_partners(target, places)
    assert len(partners.true) > 1000
    assert (places[partners.true] != places[partners.false]).all()
    assert np.linalg.norm(target[partners.true] - target[partners.false], axis=1).max() <= 0.01
    assert np.bincount(partners.true).max() <= 8
    assert partners.weights().sum() == pytest.approx(len(np.unique(partners.true)))
    again = find_false_partners(target, places)
    assert np.array_equal(partners.false, again.false)


def test_of_very_many_points_some_lend_their_target(monkeypatch):
    rng = np.random.default_rng(5)
    reference, target, places = drive(rng)
    monkeypatch.setattr(position_control, "MOST_CANDIDATES", 20_000)
    partners = find_false_partners(target, places)
    assert len(np.unique(partners.false)) <= 20_000 < len(np.unique(partners.true))
    assert (places[partners.true] != places[partners.false]).all()
    assert np.linalg.norm(target[partners.true] - target[partners.false], axis=1).max() <= position_control.REACH
    a, b = (blind_grid(points, 100, HEIGHT) for points in (reference, target))
    assert abs(position_controlled_metrics(a, b, places, partners)["kappa_position_controlled"]) < 0.02


def test_without_other_places_there_is_no_control():
    rng = np.random.default_rng(4)
    _, target, _ = drive(rng, per_place=100)
    one = np.zeros(len(target), int)
    labels = rng.integers(0, 5, len(target))
    metrics = position_controlled_metrics(labels, labels, one, find_false_partners(target, one))
    assert metrics["points_position_controlled"] == 0
    assert metrics["kappa_position_controlled"] is None
    assert metrics["information_bits_position_controlled"] is None


def test_within_an_image_the_grid_wins():
    rng = np.random.default_rng(5)
    reference, target, places = drive(rng, per_place=300)
    grid = [blind_grid(points, 100, HEIGHT) for points in (reference, target)]
    assert within_image_kappa(*grid, places) > 0.3
    noise = rng.integers(0, 10, len(places))
    assert abs(within_image_kappa(noise, rng.permutation(noise), places)) < 0.05
    assert within_image_kappa(noise[:3], noise[:3], np.arange(3)) is None


@settings(deadline=None)
@given(st.integers(1, 2000), st.floats(0.2, 5))
def test_a_grid_has_at_most_as_many_cells_as_labels(clusters, height):
    columns, rows = grid_shape(clusters, height)
    assert 1 <= columns * rows <= clusters
    corners = np.array([[0, 0], [1 - 1e-9, height * (1 - 1e-9)], [1, height]])
    cells = blind_grid(corners, clusters, height)
    assert cells[0] == 0
    assert (cells[1:] == columns * rows - 1).all()


def test_bits_of_one_place_are_none():
    a = np.random.default_rng(0).integers(0, 3, 50)
    partners = find_false_partners(np.random.default_rng(1).random((50, 2)), np.zeros(50, int))
    assert held_out_bits(a, a, np.zeros(50, int), partners) is None
