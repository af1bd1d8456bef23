import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from fgsn.geometry import rotations


def quaternions(rotation: Rotation) -> torch.Tensor:
    return torch.from_numpy(np.atleast_2d(rotation.as_quat())[:, [3, 0, 1, 2]].astype(np.float32))


def angle(a: torch.Tensor, b: Rotation) -> np.ndarray:
    return (Rotation.from_quat(np.atleast_2d(a.numpy())[:, [1, 2, 3, 0]]) * b.inv()).magnitude()


@given(st.integers(0, 2**31), st.floats(1e-9, 3.1))
def test_agrees_with_scipy(seed, size):
    rng = np.random.default_rng(seed)
    a, b = Rotation.random(6, random_state=seed), Rotation.random(6, random_state=seed + 1)
    assert angle(rotations.multiply(quaternions(a), quaternions(b)), a * b).max() < 1e-5
    assert angle(rotations.inverse(quaternions(a)), a.inv()).max() < 1e-5
    assert rotations.to_matrix(quaternions(a)).numpy() == pytest.approx(a.as_matrix(), abs=1e-5)
    vector = rng.normal(size=(6, 3))
    vector *= size / np.linalg.norm(vector, axis=1, keepdims=True)
    made = rotations.from_vector(torch.from_numpy(vector.astype(np.float32)))
    assert angle(made, Rotation.from_rotvec(vector)).max() < 1e-5
    assert rotations.to_vector(made).numpy() == pytest.approx(vector, abs=1e-4)
    assert rotations.to_vector(-made).numpy() == pytest.approx(vector, abs=1e-4)


@given(st.integers(0, 2**31))
def test_weighted_mean_is_scipys(seed):
    rng = np.random.default_rng(seed)
    spread = Rotation.from_rotvec(0.4 * rng.normal(size=(30, 3))) * Rotation.random(random_state=seed)
    weights = rng.uniform(0, 1, 30)
    signs = torch.from_numpy(rng.choice([-1.0, 1.0], (30, 1)).astype(np.float32))
    found = rotations.mean(signs * quaternions(spread), torch.from_numpy(weights))
    assert angle(found, spread.mean(weights)).max() < 1e-5
