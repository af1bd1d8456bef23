"""From scores at cells to labels at pixels."""

import resource

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import interpolate

from fgsn.inference import upsample
from fgsn.inference.upsample import labels_at_pixels
from fgsn.models.layers import cells


def scores_of(classes, height, width, seed=0):
    return torch.randn(classes, height, width, generator=torch.Generator().manual_seed(seed))


def dense(scores, size, seen):
    """Labels and margins by interpolating every score at every pixel in float64, in another way than ours."""
    values = scores.double().numpy()
    for axis, (pixels, of) in enumerate(zip(size, seen, strict=True), start=1):
        at = ((np.arange(pixels) + 0.5) * of / pixels - 0.5) / 8
        grid = np.arange(values.shape[axis])
        values = np.apply_along_axis(lambda line, at=at, grid=grid: np.interp(at, grid, line), axis, values)
    order = np.sort(values, axis=0)
    return values.argmax(axis=0), order[-1] - order[-2]


@pytest.mark.parametrize("classes", [2, 19, 300])
@pytest.mark.parametrize(("height", "width"), [(2, 2), (9, 13), (1, 6)])
def test_at_8k_plus_1_pixels_it_is_align_corners(classes, height, width):
    scores = scores_of(classes, height, width)
    size = (8 * height - 7, 8 * width - 7)
    values = interpolate(scores[None].double(), size=size, mode="bilinear", align_corners=True)[0]
    best = values.topk(2, dim=0)
    clear = best.values[0] - best.values[1] > 1e-5
    labels = labels_at_pixels(scores, size)
    assert labels.dtype == torch.int64
    assert clear.float().mean() > 0.99
    assert torch.equal(labels[clear], best.indices[0][clear])


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 60), st.integers(1, 60), st.integers(2, 9))
def test_any_size_and_any_resizing(height, width, seen_height, seen_width, classes):
    scores = scores_of(classes, cells(seen_height), cells(seen_width), seed=height * 61 + width)
    labels = labels_at_pixels(scores, (height, width), (seen_height, seen_width))
    expected, margin = dense(scores, (height, width), (seen_height, seen_width))
    clear = margin > 1e-5
    np.testing.assert_array_equal(labels.numpy()[clear], expected[clear])


def test_a_label_between_two_that_dominate_is_seen():
    """The best label of a mixture may be the best of neither cell."""
    scores = torch.zeros(3, 1, 2)
    scores[:, 0, 0] = torch.tensor([1.0, 0.0, 0.8])
    scores[:, 0, 1] = torch.tensor([0.0, 1.0, 0.8])
    assert labels_at_pixels(scores, (1, 9))[0].tolist() == [0, 0, 2, 2, 2, 2, 2, 1, 1]


@pytest.mark.parametrize("band", [1, 700, 10**9])
def test_bands_change_nothing(monkeypatch, band):
    scores = scores_of(7, 9, 12)
    whole = labels_at_pixels(scores, (70, 95))
    monkeypatch.setattr(upsample, "BAND_VALUES", band)
    assert torch.equal(labels_at_pixels(scores, (70, 95)), whole)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (7, 300), (300, 7), (8, 8), (9, 9)])
def test_tiny_images(height, width):
    scores = scores_of(4, cells(height), cells(width))
    labels = labels_at_pixels(scores, (height, width))
    assert labels.shape == (height, width)
    assert torch.equal(labels[::8, ::8], scores.argmax(dim=0))


def test_a_thousand_labels_take_no_map_per_label(monkeypatch):
    """385 x 513 x 1000 interpolated values would be 790 MB; beside the scores only a band of them is held at once."""
    held = []
    real = upsample.argmax
    monkeypatch.setattr(upsample, "argmax", lambda values: (held.append(values.numel()), real(values))[1])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    labels = labels_at_pixels(scores_of(1000, 49, 65), (385, 513))
    assert labels.max() > 900
    assert max(held[1:]) <= max(upsample.BAND_VALUES, 1000 * 513)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000
