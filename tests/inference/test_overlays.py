import numpy as np
import pytest

from fgsn.errors import FgsnError
from fgsn.inference import overlays
from fgsn.inference.colours import class_palette, palette
from fgsn.inference.overlays import overlay


@pytest.fixture
def scene():
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), 60)[:, None] * np.ones((1, 320), int)
    return rng.integers(0, 256, (240, 320, 3), dtype=np.uint8), labels


def blended(image, labels, colours):
    return (1 - overlays.ALPHA) * image + overlays.ALPHA * colours[labels]


@pytest.mark.parametrize("alpha", [0, 0.5, overlays.ALPHA, 1])
def test_alpha_runs_from_the_image_to_the_labels(scene, monkeypatch, alpha):
    image, labels = (part[::6] for part in scene)  # too small for a legend
    monkeypatch.setattr(overlays, "ALPHA", alpha)
    shown = overlay(image, labels, palette(4))
    assert shown.dtype == np.uint8
    np.testing.assert_allclose(shown, blended(image, labels, palette(4)), atol=0.51 if alpha % 1 else 0)


def test_the_legend_stands_at_the_bottom_in_the_colours_of_the_labels(scene, monkeypatch):
    image, labels = scene
    colours = class_palette(["sky", "building", "road", "gondola"])
    picture = overlay(image, labels, colours, ["sky", "building", "road", "gondola"])
    assert picture.shape == image.shape
    np.testing.assert_allclose(picture[:200], blended(image, labels, colours)[:200], atol=0.51)
    strip = picture[-19:].reshape(-1, 3)
    shown = [(strip == colour).all(axis=1).any() for colour in colours]
    assert shown == sorted(shown, reverse=True)  # the others have no room
    assert sum(shown) == 3
    assert (picture[-19, 0] == (24, 24, 27)).all()
    monkeypatch.setattr(overlays, "LEGEND", 1)
    one = overlay(image, labels, colours)[-19:].reshape(-1, 3)
    assert [(one == colour).all(axis=1).any() for colour in colours] == [True, False, False, False]


def test_long_names_and_small_images_stay_inside(scene):
    image, labels = scene
    overlay(image, labels, palette(4), ["an endless name " * 9] * 4)
    image, labels = image[:20, :30], labels[:20, :30]
    np.testing.assert_allclose(overlay(image, labels, palette(4)), blended(image, labels, palette(4)), atol=0.51)


def test_what_does_not_fit_is_refused(scene):
    image, labels = scene
    with pytest.raises(FgsnError, match="does not match"):
        overlay(image[1:], labels, palette(4))
    with pytest.raises(FgsnError, match="no colour"):
        overlay(image, labels, palette(3))
