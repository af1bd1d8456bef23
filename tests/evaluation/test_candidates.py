import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from sklearn.metrics import roc_auc_score

from fgsn.config import PrepareSettings
from fgsn.data.correspondences import Correspondences, read_correspondences, write_correspondences
from fgsn.data.dataset import Dataset
from fgsn.data.prepare import prepare
from fgsn.evaluation import candidates
from fgsn.evaluation.candidates import FEWEST, area_below, areas_under_curve, candidate_matcher, candidate_metrics

BOTH = ("candidates_auc", "candidates_auc_position_controlled")


def drawn(seed, right=2000, wrong=20_000):
    """Right candidates move little, wrong ones anywhere; flags and distances."""
    rng = np.random.default_rng(seed)
    apart = np.concatenate([rng.gamma(2, 0.02, right), rng.uniform(0, 0.8, wrong)])
    return np.arange(right + wrong) < right, apart, rng


@given(st.integers(0, 50))
def test_distance_in_the_image_wins_the_plain_figure_but_not_the_controlled_one(seed):
    right, apart, _ = drawn(seed)
    plain, controlled = (areas_under_curve(-apart, right, apart)[key] for key in BOTH)
    assert plain > 0.9
    assert controlled == pytest.approx(0.5, abs=0.03)


@given(st.integers(0, 2**16), st.integers(2, 40), st.integers(1, 8))
def test_the_area_is_that_of_scikit_learn(seed, count, values):
    rng = np.random.default_rng(seed)
    right = np.arange(count) < rng.integers(1, count)
    evidence, weights = rng.integers(0, values, count).astype(float), rng.uniform(0.1, 2, count)
    assert area_below(right, evidence, weights) == pytest.approx(roc_auc_score(right, evidence, sample_weight=weights))


def test_evidence_beside_the_distance_counts_in_both():
    right, apart, rng = drawn(1)
    # Two normal distributions one standard deviation apart: the area is Phi(1 / sqrt(2)).
    evidence = rng.normal(size=len(right)) + right
    for key in BOTH:
        assert areas_under_curve(evidence, right, apart)[key] == pytest.approx(0.7602, abs=0.03)
    assert areas_under_curve(right.astype(float), right, apart) == dict.fromkeys(BOTH, 1.0)
    assert areas_under_curve(np.zeros(len(right)), right, apart) == dict.fromkeys(BOTH, 0.5)


def test_too_few_candidates_give_no_figure():
    right, apart, _ = drawn(0, FEWEST - 1, 500)
    assert areas_under_curve(-apart, right, apart) == dict.fromkeys(BOTH)


def test_candidates_of_real_features_are_judged_by_correspondences(tmp_path, make_model):
    """The target is the reference shifted by 8 pixels, with its lower half replaced by something else."""
    rng = np.random.default_rng(0)
    noise, other = (
        np.asarray(Image.fromarray(rng.integers(0, 256, (60, 80, 3), dtype=np.uint8)).resize((320, 240)))
        for _ in range(2)
    )
    reference, target = noise, np.roll(noise, 8, axis=1).copy()
    target[120:] = other[120:]
    for name, pixels in (("reference/0.png", reference), ("snow/0.png", target)):
        (tmp_path / "images" / name).parent.mkdir(parents=True)
        Image.fromarray(pixels).save(tmp_path / "images" / name)
    points = np.stack(np.meshgrid(np.arange(4, 300, 8), np.arange(4, 236, 8)), -1).reshape(-1, 2).astype(float)
    path = tmp_path / "correspondence_data" / "pair.mat"
    write_correspondences(
        path, "reference/0.png", "snow/0.png", points, points + np.array([8, 0]), np.ones(len(points))
    )
    prepare(PrepareSettings(dataset=tmp_path, validation_share=0))
    dataset = Dataset.open(tmp_path)
    pairs = [read_correspondences(path, dataset.images)]
    model = make_model()
    found = candidate_metrics({"labels": model}, pairs, dataset, candidate_matcher("sift", "cpu"), tmp_path / "work")
    assert found["counts"]["right"] >= FEWEST
    assert found["counts"]["wrong"] >= FEWEST
    assert found["position"]["candidates_auc"] > 0.9
    assert 0 <= found["labels"]["candidates_auc"] <= 1
    again = candidate_metrics({"labels": model}, pairs, dataset, candidate_matcher("sift", "cpu"), tmp_path / "work")
    assert again == found


def test_an_image_may_be_in_pairs_on_either_side(tmp_path, monkeypatch, make_image):
    """Labels are the columns of a point: the evidence of a candidate is high exactly if both ends share it."""

    class Columns:
        def __init__(self, *_):
            pass

        def probabilities_at(self, pixels, points):
            return torch.nn.functional.one_hot(torch.from_numpy(points[:, 0]).long(), 4).float()

    monkeypatch.setattr(candidates, "Segmenter", Columns)
    a, b, c = (make_image(tmp_path / f"{name}.png") for name in "abc")
    points = np.array([[0.0, 0], [1, 0], [2, 0], [3, 0]])
    none = np.zeros((0, 2))
    pairs = [Correspondences(*ends, none, none, np.zeros(0)) for ends in ((a, b), (b, c), (c, a))]
    turned = points[::-1]
    found = [
        candidates.Candidates(points, points, np.ones(4, bool), np.zeros(4)),
        candidates.Candidates(turned, turned, np.ones(4, bool), np.zeros(4)),
        candidates.Candidates(points[:2], turned[:2], np.zeros(2, bool), np.zeros(2)),
    ]
    evidence = candidates._evidence(None, pairs, found)
    assert (evidence[:8] > 0).all()
    assert (evidence[8:] == candidates.LEAST_EVIDENCE).all()
