"""The benchmark of the training step: it runs, and counts the operations of a pair."""

import pytest

from fgsn.bench import measure
from fgsn.bench.training import _operations, training_step
from fgsn.models.pspnet import Architecture


def test_both_are_measured():
    row = training_step("tiny", side=65, batch=2, clusters=8, precision="float32", rounds=1, device="cpu")
    assert row["ratio"] == pytest.approx(row["baseline_s"] / row["ours_s"])
    assert min(value for name, value in row.items() if name != "shapes") > 0
    assert row["shapes"] == "2 pairs of crops of 65 in 1 micro-batches, tiny, 8 labels, float32"


def test_ours_alone(monkeypatch):
    monkeypatch.setattr(measure, "matmul_rate", lambda device, dtype: 1e9)
    row = training_step("tiny", side=65, batch=2, accumulate=2, clusters=8, rounds=1, device="cpu", ours_only=True)
    assert row.keys() == {"shapes", "ours_s", "roofline_s", "over_roofline"}
    assert row["roofline_s"] == _operations(Architecture("tiny", 8), 65) / 1e9


def test_a_pair_of_the_paper_needs_four_times_the_forward_pass():
    """1.03 TFLOP for a crop of 713 pixels; a gradient takes twice as many as the pass forward."""
    assert _operations(Architecture("resnet101", 100), 713) == pytest.approx(4 * 1.03e12, rel=0.05)
