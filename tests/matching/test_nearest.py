import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fgsn.matching import nearest
from fgsn.matching.nearest import mutual_nearest


def unit(rng: np.random.Generator, count: int) -> np.ndarray:
    vectors = rng.normal(size=(count, 3)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@given(st.integers(0, 12), st.integers(0, 12), st.sampled_from([-2.0, 0.5]), st.sampled_from([None, 0.5, 0.8]))
@pytest.mark.parametrize("at_once", [1, 30, 1000])
def test_they_are_what_loops_find(at_once, m, n, least, ratio):
    """In one piece as in several."""
    rng = np.random.default_rng(1000 * m + n)
    a, b = unit(rng, m), unit(rng, n)
    cosine = a @ b.T
    angle = np.arccos(np.clip(cosine, -1, 1))

    def distinct(angles: np.ndarray) -> bool:
        return len(angles) > 1 and np.sort(angles)[0] < ratio * np.sort(angles)[1]

    expected = {
        (i, j)
        for i in range(m)
        for j in range(n)
        if cosine[i, j] == cosine[i].max() == cosine[:, j].max() and cosine[i, j] > least
        if ratio is None or (distinct(angle[i]) and distinct(angle[:, j]))
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nearest, "_VALUES_AT_ONCE", at_once)
        pairs, scores = mutual_nearest(a, b, least_cosine=least, largest_ratio=ratio)
    assert set(map(tuple, pairs.tolist())) == expected
    assert scores == pytest.approx([cosine[i, j] for i, j in pairs], abs=1e-6)
