"""Models made ready for many images."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fgsn.bench.segmentation import baseline_labels
from fgsn.inference import segmenter as fast
from fgsn.inference.segmenter import chosen_precision, faster, window_bytes
from fgsn.models.pspnet import Architecture


@pytest.fixture
def pictures():
    random = np.random.default_rng(0)
    return [random.integers(0, 256, (120, 160, 3), dtype=np.uint8) for _ in range(2)]


@pytest.mark.parametrize("short_side", [0, 90])
def test_label_maps_are_those_of_the_plain_way(make_model, pictures, short_side):
    model = replace(make_model(classes=30, names=False), short_side=short_side)
    for pixels in pictures:
        plain = baseline_labels(model, pixels)
        assert len(np.unique(plain)) > 5
        assert (model.segment(pixels) == plain).mean() >= 0.999
        assert (faster(model, "float32").segment(pixels) == plain).mean() >= 0.999
        assert 0.5 < (faster(model, "bfloat16").segment(pixels) == plain).mean() < 1


def test_a_faster_model_is_saved_as_the_model_it_came_from(make_model, tmp_path):
    model = make_model()
    model.save(tmp_path / "one.safetensors")
    faster(model, "bfloat16").save(tmp_path / "other.safetensors")
    assert (tmp_path / "one.safetensors").read_bytes() == (tmp_path / "other.safetensors").read_bytes()


@pytest.mark.parametrize("has", [True, False])
def test_auto_takes_16_bits_where_they_are_fast_and_allowed(make_model, monkeypatch, has):
    monkeypatch.setattr(fast, "computes_bfloat16", lambda device: has)
    model = make_model()
    assert chosen_precision(model, "auto") == ("bfloat16" if has else "float32")
    assert chosen_precision(replace(model, windows="published"), "auto") == "float32"
    assert chosen_precision(replace(model, windows="published"), "bfloat16") == "bfloat16"
    assert chosen_precision(model, "float32") == "float32"
    assert faster(model).predictor.dtype == (torch.bfloat16 if has else torch.float32)


def test_memory_says_how_many_windows_are_computed_at_once(make_model):
    model = make_model()
    one = window_bytes(model.network.architecture, model.window, torch.float32) / 2**30
    assert [faster(model, "float32", memory).batch for memory in (one / 9, 1.01 * one, 2.5 * one, 1e6)] == [1, 1, 2, 4]
    assert faster(model, "bfloat16", 1.01 * one).batch == 2


def test_a_window_takes_the_memory_that_its_largest_maps_take():
    """At 65 pixels the stem of `tiny` makes 16 channels of 33 x 33, which its activation reads and writes."""
    architecture = Architecture("tiny", 5, feature_dim=16, aux_dim=8)
    assert window_bytes(architecture, 65, torch.float32) >= 2 * 16 * 33 * 33 * 4
    larger = window_bytes(architecture, 129, torch.float32) / window_bytes(architecture, 65, torch.float32)
    assert 3.5 < larger < 4.1
