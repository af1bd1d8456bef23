"""Resizing images, and where their points land."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fgsn.data.resize import resized, resized_shape, scaled_points

sides = st.integers(1, 2000)


@given(sides, sides, sides)
def test_the_shorter_side_gets_the_wanted_length(height, width, short):
    new_height, new_width = resized_shape((height, width, 3), short)
    assert min(new_height, new_width) == short
    assert max(new_height, new_width) == max(height, width) * short // min(height, width)
    assert (new_height >= new_width) == (height >= width) or new_height == new_width


@given(sides, sides)
def test_zero_leaves_the_image(height, width):
    assert resized_shape((height, width), 0) == (height, width)


def test_an_image_that_has_the_size_is_not_touched():
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    assert resized(pixels, 30) is pixels
    assert resized(pixels, 0) is pixels


@given(st.integers(20, 400), st.integers(20, 400), st.integers(10, 400))
def test_corners_stay_corners_and_points_come_back(height, width, short):
    before, after = (height, width), resized_shape((height, width), short)
    corners = np.array([[-0.5, -0.5], [width - 0.5, height - 0.5], [width / 2 - 0.5, height / 2 - 0.5]])
    moved = scaled_points(corners, before, after)
    expected = [[-0.5, -0.5], [after[1] - 0.5, after[0] - 0.5], [after[1] / 2 - 0.5, after[0] / 2 - 0.5]]
    np.testing.assert_allclose(moved, expected, atol=1e-9)
    np.testing.assert_allclose(scaled_points(moved, after, before), corners, atol=1e-9)


@pytest.mark.parametrize(("size", "short"), [((60, 80), 30), ((60, 80), 47), ((90, 50), 120)])
def test_what_is_seen_moves_with_its_point(size, short):
    """The centre of mass of a bright spot is where the point says."""
    height, width = size
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[20:27, 30:37] = 255
    small = resized(pixels, short)[..., 0].astype(float)
    rows, columns = np.mgrid[: small.shape[0], : small.shape[1]]
    centre = [(small * columns).sum() / small.sum(), (small * rows).sum() / small.sum()]
    np.testing.assert_allclose(scaled_points(np.array([[33.0, 23.0]]), size, small.shape)[0], centre, atol=0.05)


def test_fine_texture_is_smoothed_and_not_sampled():
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 200
    small = resized(stripes, 16)
    assert small.shape == (16, 16, 3)
    assert np.ptp(small[:, 2:-2].astype(int)) <= 2
    assert abs(small[:, 2:-2].mean() - 100) <= 2
