import numpy as np
import pytest

from fgsn.errors import FgsnError
from fgsn.inference.colours import class_palette, palette
from fgsn.inference.overlays import overlay


@pytest.fixture
def scene():
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), 60)[:, None] * np.ones((1, 320), int)
    return rng.integers(0, 256, (240, 320, 3), dtype=np.uint8), labels


def test_alpha_runs_from_the_image_to_the_labels(scene):
    image, labels = scene
    np.testing.assert_array_equal(overlay(image, labels, palette(4), 0, legend=0), image)
    np.testing.assert_array_equal(overlay(image, labels, palette(4), 1, legend=0), palette(4)[labels])
    half = overlay(image, labels, palette(4), 0.5, legend=0)
    assert half.dtype == np.uint8
    np.testing.assert_allclose(half, (image / 2 + palette(4)[labels] / 2), atol=0.51)


def test_the_legend_stands_at_the_bottom_in_the_colours_of_the_labels(scene):
    image, labels = scene
    colours = class_palette(["sky", "building", "road", "gondola"])
    picture = overlay(image, labels, colours, 0.5, classes=["sky", "building", "road", "gondola"])
    assert picture.shape == image.shape
    np.testing.assert_array_equal(picture[:200], overlay(image, labels, colours, 0.5, legend=0)[:200])
    strip = picture[-19:].reshape(-1, 3)
    shown = [(strip == colour).all(axis=1).any() for colour in colours]
    assert shown == sorted(shown, reverse=True)  # the others have no room
    assert sum(shown) == 3
    assert (picture[-19, 0] == (24, 24, 27)).all()
    one = overlay(image, labels, colours, legend=1)[-19:].reshape(-1, 3)
    assert [(one == colour).all(axis=1).any() for colour in colours] == [True, False, False, False]


def test_long_names_and_small_images_stay_inside(scene):
    image, labels = scene
    overlay(image, labels, palette(4), classes=["an endless name " * 9] * 4)
    small = overlay(image[:20, :30], labels[:20, :30], palette(4), 0.5)
    np.testing.assert_array_equal(small, overlay(image[:20, :30], labels[:20, :30], palette(4), 0.5, legend=0))


def test_what_does_not_fit_is_refused(scene):
    image, labels = scene
    with pytest.raises(FgsnError, match="does not match"):
        overlay(image[1:], labels, palette(4))
    with pytest.raises(FgsnError, match="no colour"):
        overlay(image, labels, palette(3))
