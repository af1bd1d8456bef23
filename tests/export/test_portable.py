"""The network that is exported gives what `Model` gives, whatever the sizes."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fgsn.errors import UsageError
from fgsn.export.portable import Portable, _Resize


def picture(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def model(make_model):
    return make_model(classes=40, window=33)


@given(st.integers(12, 120), st.integers(12, 120), st.sampled_from([0, 0, 20, 50]), st.sampled_from([17, 33, 65]))
@settings(max_examples=25, deadline=None)
def test_the_same_labels_scores_and_features(model, height, width, short_side, window):
    model = replace(model, short_side=short_side, window=window)
    image = picture(height, width)
    found = Portable(model, ["features", "labels", "scores"], (height, width))(torch.from_numpy(image))
    features, labels, scores = (value.numpy() for value in found)
    assert labels.dtype == np.int32
    assert (labels == model.segment(image)).mean() > 0.99
    assert scores == pytest.approx(model.scores(image).numpy(), rel=1e-4, abs=1e-3)
    assert features == pytest.approx(model.features(image), rel=1e-4, abs=1e-3)


@given(st.integers(41, 130), st.integers(41, 130))
@settings(max_examples=10, deadline=None)
def test_any_size_above_the_window(model, height, width):
    image = picture(height, width)
    (labels,) = Portable(model, ["labels"], None)(torch.from_numpy(image))
    assert (labels.numpy() == model.segment(image)).mean() > 0.99


@given(st.integers(1, 90), st.integers(1, 90), st.integers(0, 9))
@settings(max_examples=40, deadline=None)
def test_resizing_is_pillows_to_the_bit(before, after, seed):
    row = np.random.default_rng(seed).integers(0, 256, (3, before), dtype=np.uint8)
    wanted = np.asarray(Image.fromarray(row).resize((after, 3), Image.Resampling.BILINEAR))
    assert (_Resize(before, after)(torch.from_numpy(row)).numpy() == wanted).all()


def test_a_model_that_resizes_wants_the_size(model):
    with pytest.raises(UsageError, match="shorter side of 50 px, so specify their --size, such as"):
        Portable(replace(model, short_side=50), ["labels"], None)


def test_an_image_smaller_than_a_cell_is_refused(model):
    with pytest.raises(UsageError, match="--size must be at least 8 x 8 pixels"):
        Portable(model, ["labels"], (7, 50))
