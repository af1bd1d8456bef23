import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fgsn.tracking.resampling import affordable_exponent, effective_size, systematic


@given(st.integers(0, 2**31), st.integers(1, 200), st.floats(0, 0.999))
def test_each_particle_is_drawn_as_often_as_it_weighs(seed, count, offset):
    weights = np.random.default_rng(seed).dirichlet(np.full(count, 0.2))
    rows = systematic(torch.from_numpy(weights), offset).numpy()
    assert len(rows) == count
    assert (np.diff(rows) >= 0).all()
    drawn = np.bincount(rows, minlength=count)
    assert (drawn >= np.floor(count * weights - 1e-9)).all()
    assert (drawn <= np.ceil(count * weights + 1e-9)).all()


def test_systematic_by_hand():
    weights = torch.tensor([0.1, 0.0, 0.65, 0.25])
    assert systematic(weights, 0.5).tolist() == [2, 2, 2, 3]  # bounds 0.1 0.1 0.75 1, steps 0.125 0.375 0.625 0.875
    assert systematic(weights, 0.0).tolist() == [0, 2, 2, 3]


def test_drawn_counts_are_right_on_average():
    weights = torch.tensor([0.05, 0.30, 0.20, 0.45])
    drawn = sum(torch.bincount(systematic(weights, n / 500), minlength=4) for n in range(500))
    assert (drawn / 500).numpy() == pytest.approx(4 * weights.numpy(), abs=0.02)


def test_effective_size():
    assert effective_size(torch.zeros(7)) == pytest.approx(7)
    assert effective_size(torch.tensor([0.0, -100.0, 0.0, -torch.inf])) == pytest.approx(2)
    assert effective_size(torch.full((3,), -1e5)) == pytest.approx(3)  # unnormalised


@given(st.integers(0, 2**31), st.floats(0.1, 100.0))
def test_portion_keeps_enough_particles(seed, scale):
    scores = scale * torch.randn(100, generator=torch.Generator().manual_seed(seed))
    portion = affordable_exponent(torch.zeros(100), scores, 1.0, 50.0)
    assert 0 < portion <= 1
    left = effective_size(portion * scores)
    assert left > 49
    assert portion == 1 or left < 51


def test_portion_moves_on_even_when_nothing_is_affordable():
    log_weights = torch.tensor([0.0, -50.0, -50.0])
    assert affordable_exponent(log_weights, torch.randn(3), 0.5, 2.0) == pytest.approx(5e-7)
