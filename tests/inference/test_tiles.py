"""Sliding windows: every cell is seen, by windows that lie inside the image, and blending changes nothing."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fgsn.inference.tiles import blended, ramp, starts
from fgsn.models.layers import cells

sides = st.integers(1, 12).map(lambda n: 8 * n + 1)
pixels = st.integers(1, 400)


def blended_one(predict, image, side, batch):
    [(_, result)] = blended(predict, [(None, image)], side, batch)
    return result


def every_eighth(tiles):
    """A "network" whose cell c knows the pixel 8 c."""
    return tiles[:, :, ::8, ::8]


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 3000), sides)
def test_windows_lie_inside_and_cover_every_cell(size, side):
    found = starts(size, side)
    assert found == sorted(set(found))
    assert all(first % 8 == 0 and first >= 0 for first in found)
    covered = np.zeros(cells(size), int)
    for first in found:
        assert first + min(side, size) <= size
        covered[first // 8 : first // 8 + cells(min(side, size))] += 1
    assert covered.min() >= 1


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 3000), st.integers(3, 100).map(lambda n: 8 * n + 1))
def test_windows_are_at_most_two_thirds_apart(size, side):
    found = starts(size, side)
    steps = np.diff([start // 8 for start in found])
    assert steps.size == 0 or steps.max() <= cells(side) * 2 / 3 + 1
    # No more windows than that takes: one fewer would leave larger steps.
    assert len(found) <= 1 + -(-(cells(size) - cells(side)) // (cells(side) * 2 // 3)) or len(found) == 1


@settings(max_examples=60, deadline=None)
@given(pixels, pixels, sides, st.integers(1, 5))
def test_blending_the_pixels_at_the_cells_gives_them_back(height, width, side, batch):
    image = torch.rand(3, height, width, generator=torch.Generator().manual_seed(height * width))
    result = blended_one(every_eighth, image, side, batch)
    assert result.shape == (3, cells(height), cells(width))
    torch.testing.assert_close(result, image[:, ::8, ::8], atol=1e-6, rtol=1e-6)


@settings(max_examples=30, deadline=None)
@given(pixels, pixels, sides)
def test_blending_a_constant_is_constant(height, width, side):
    image = torch.full((3, height, width), 0.7)
    result = blended_one(every_eighth, image, side, 2)
    torch.testing.assert_close(result, torch.full_like(result, 0.7))


def test_all_windows_of_a_batch_have_one_size_and_no_batch_is_larger_than_asked():
    seen = []

    def look(tiles):
        seen.append(tuple(tiles.shape))
        return every_eighth(tiles)

    blended_one(look, torch.zeros(3, 100, 333), 65, 4)
    assert {shape[1:] for shape in seen} == {(3, 65, 65)}
    assert max(shape[0] for shape in seen) == 4
    seen.clear()
    blended_one(look, torch.zeros(3, 40, 333), 65, 4)
    assert {shape[1:] for shape in seen} == {(3, 40, 65)}


def test_an_image_that_fits_is_one_window():
    seen = []

    def look(tiles):
        seen.append(tuple(tiles.shape))
        return every_eighth(tiles)

    for height, width in ((65, 65), (7, 65), (1, 1), (72, 72)):
        blended_one(look, torch.zeros(3, height, width), 65, 4)
        assert seen.pop() == (1, 3, height, width)
    assert not seen


def test_a_disagreement_is_blended_by_the_distance_to_the_borders():
    """Two windows that say 0 and 1: in their overlap the weights are the linear ramps of the authors."""
    answers = iter((0.0, 1.0))

    def number(tiles):
        return torch.full((len(tiles), 1, 9, 9), next(answers))

    left, right = starts(65 + 48, 65)
    result = blended_one(number, torch.zeros(3, 65, 65 + 48), 65, 1)[0]
    weights = ramp(9, 9)[0].numpy()
    first, second = np.zeros(15), np.zeros(15)
    first[left // 8 : left // 8 + 9], second[right // 8 : right // 8 + 9] = weights, weights
    np.testing.assert_allclose(result, np.tile(second / (first + second), (9, 1)), rtol=1e-6)
    assert result[0, 0] == 0
    assert result[0, -1] == 1


@pytest.mark.parametrize("side", [1, 2, 9, 12, 90])
def test_a_ramp_is_one_in_the_middle_third_and_never_zero(side):
    weights = ramp(side, 1)[:, 0]
    assert weights.min() > 0
    assert torch.equal(weights, weights.flip(0))
    assert (weights[side // 3 : side - side // 3] == 1).all()
    assert (weights.diff()[: side // 2 - 1] >= 0).all()


def test_half_precision_predictions_are_blended_in_float32():
    image = torch.rand(3, 200, 200)
    result = blended_one(lambda tiles: every_eighth(tiles).bfloat16(), image, 65, 4)
    assert result.dtype == torch.float32
    torch.testing.assert_close(result, image[:, ::8, ::8].bfloat16().float())


def test_windows_of_several_images_are_computed_together_and_kept_apart():
    sizes = [(100, 140), (100, 140), (40, 200), (60, 60), (60, 60), (60, 60), (130, 65)]
    images = [torch.rand(3, *size) for size in sizes]
    batches, taken = [], []

    def look(tiles):
        batches.append(len(tiles))
        return every_eighth(tiles)

    def numbered():
        for number, image in enumerate(images):
            taken.append(number)
            yield number, image

    found = []
    for key, values in blended(look, numbered(), 65, 3):
        found.append(key)
        assert taken[-1] <= key + 3
        torch.testing.assert_close(values, images[key][:, ::8, ::8])
    assert found == list(range(len(images)))
    windows = [len(starts(height, 65)) * len(starts(width, 65)) for height, width in sizes]
    assert sum(batches) == sum(windows)
    # Only where the size of the windows changes a batch is not full.
    assert batches == [3] * (2 * windows[0] // 3) + [2 * windows[0] % 3] * (2 * windows[0] % 3 > 0) + [3] * (
        windows[2] // 3
    ) + [windows[2] % 3] * (windows[2] % 3 > 0) + [3] + [windows[6]]
