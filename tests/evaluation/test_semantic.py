import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import normalized_mutual_info_score

from fgsn.evaluation.semantic import normalised_information


@given(seed=st.integers(0, 1000), classes=st.integers(1, 6), labels=st.integers(1, 9), noise=st.floats(0, 1))
def test_normalised_information_is_that_of_scikit_learn(seed, classes, labels, noise):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, 300)
    found = np.where(rng.random(300) < noise, rng.integers(0, labels, 300), truth % labels)
    counts = np.zeros((classes, labels), np.int64)
    np.add.at(counts, (truth, found), 1)
    if len(np.unique(truth)) == len(np.unique(found)) == 1:  # scikit-learn calls two constants equal, we nothing shared
        assert normalised_information(counts) == 0
    else:
        wanted = normalized_mutual_info_score(truth, found)
        assert normalised_information(counts) == pytest.approx(wanted, abs=1e-9)
