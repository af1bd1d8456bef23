"""Random changes of training images."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fgsn.data.augment import generator, jittered, padded, random_window, scaled


def picture(height=40, width=60):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_a_generator_is_a_pure_function_of_seed_and_keys():
    assert generator(1, 2, 3).random() == generator(1, 2, 3).random()
    numbers = {generator(*keys).random() for keys in [(1, 2, 3), (1, 3, 2), (2, 2, 3), (1, 2), (1, 2, 3, 0, 1)]}
    assert len(numbers) == 5


def test_no_strength_no_change():
    image = picture()
    np.testing.assert_array_equal(jittered(image, 0.0, generator(0)), image)


@pytest.mark.parametrize("strength", [0.2, 1.0])
def test_colours_change_but_not_the_picture(strength):
    """Every change keeps the order of brightness nearly everywhere, and never wraps around at black or white."""
    grey = np.repeat(np.linspace(0, 255, 64).astype(np.uint8)[None, :, None], 3, axis=2).repeat(4, axis=0)
    changes = []
    for seed in range(50):
        result = jittered(grey, strength, generator(seed))
        assert (result.shape, result.dtype) == (grey.shape, np.uint8)
        assert (np.diff(result.astype(int), axis=1) >= 0).all()
        changes.append(abs(result.astype(int) - grey).mean())
    assert np.mean(changes) > 10 * strength
    assert len({round(change, 3) for change in changes}) > 45


def test_jitter_depends_on_the_generator_only():
    one, same, other = (jittered(picture(), 0.7, generator(seed)) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


def test_jitter_is_about_neutral_on_average():
    image = np.full((8, 8, 3), 110, np.uint8)
    results = [jittered(image, 0.5, generator(seed)).mean() for seed in range(300)]
    assert np.median(results) == pytest.approx(110, abs=12)


@given(st.integers(1, 60), st.integers(1, 60), st.floats(0.1, 3))
def test_scaling(height, width, factor):
    result = scaled(picture(height, width), factor)
    assert abs(result.shape[0] - height * factor) <= 1
    assert abs(result.shape[1] - width * factor) <= 1
    assert result.shape[2] == 3


def test_labels_are_never_mixed():
    labels = np.array([[0, 200], [7, 255]], np.uint8).repeat(10, axis=0).repeat(10, axis=1)
    assert set(np.unique(scaled(labels, 1.37, nearest=True))) == {0, 7, 200, 255}
    assert scaled(labels, 1.37, nearest=True)[-1, -1] == 255


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 40))
def test_padding_is_below_and_to_the_right(height, width, side):
    result = padded(picture(height, width), side, 127)
    assert result.shape == (max(height, side), max(width, side), 3)
    np.testing.assert_array_equal(result[:height, :width], picture(height, width))
    assert (result[height:] == 127).all()
    assert (result[:, width:] == 127).all()
    assert padded(picture(height, width)[..., 0], side, 255).shape == result.shape[:2]


@given(st.integers(9, 60), st.integers(9, 60), st.integers(0, 2**32))
def test_windows_lie_inside(height, width, seed):
    rows, columns = random_window((height, width, 3), 9, generator(seed))
    assert 0 <= rows.start <= height - 9
    assert 0 <= columns.start <= width - 9
    assert (rows.stop - rows.start, columns.stop - columns.start) == (9, 9)


def test_windows_reach_every_position():
    found = {
        (rows.start, columns.start) for rows, columns in (random_window((11, 10), 9, generator(n)) for n in range(200))
    }
    assert found == {(row, column) for row in range(3) for column in range(2)}
