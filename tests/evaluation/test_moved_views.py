import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fgsn.evaluation.moved_views import CROP, centre_crop, moved_view


def gradient(width, height):
    """An image whose red is the column and whose green is the row, over the whole range."""
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return np.stack([x, y, np.zeros_like(x)], axis=-1).astype(np.uint8)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 1000), st.integers(80, 300), st.integers(80, 300))
def test_points_of_a_view_show_what_they_show_in_the_image(seed, width, height):
    image = gradient(width, height)
    view = moved_view(image, "snow/c0/1.jpg", seed)
    points = np.random.default_rng(seed).random((200, 2)) * (width - 1, height - 1)
    inside = view.contains(points)
    there = view.points(points[inside])
    assert min(view.pixels.shape[:2]) >= 65
    size = np.array(view.pixels.shape[1::-1])
    assert ((there >= -0.51 * size / view.size) & (there <= size - 1 + 0.51 * size / view.size)).all()
    x, y = np.clip(np.rint(there), 0, size - 1).astype(int).T
    shown = view.pixels[y, x, :2].astype(float)
    expected = points[inside] / (width - 1, height - 1) * 255
    assert np.abs(shown - expected).max(initial=0) < 255 * 2.5 / min(size.min(), width, height)


def test_a_view_depends_on_name_and_seed_only():
    image = gradient(120, 90)
    same, again = moved_view(image, "a.jpg", 1), moved_view(image, "a.jpg", 1)
    assert np.array_equal(same.pixels, again.pixels)
    others = [moved_view(image, "b.jpg", 1), moved_view(image, "a.jpg", 2)]
    assert all((one.corner, one.pixels.shape) != (same.corner, same.pixels.shape) for one in others)


def test_the_centre_crop_is_enlarged_back():
    view = centre_crop(gradient(200, 100))
    assert view.pixels.shape == (100, 200, 3)
    assert view.size == (round(CROP * 200), round(CROP * 100))
    middle = np.array([[99.5, 49.5]])
    assert view.points(middle) == pytest.approx(middle, abs=0.01)
