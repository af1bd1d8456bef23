"""Pixels to network input."""

from dataclasses import asdict

import numpy as np
import pytest
import torch

from fgsn.errors import FgsnError
from fgsn.models.normalisation import CAFFE, SIGNED, Normalisation

PIXEL = torch.tensor([10.0, 20.0, 250.0])[:, None, None]  # red, green, blue


def test_the_authors_networks_want_bgr_minus_the_mean():
    assert CAFFE.apply(PIXEL).flatten().tolist() == pytest.approx([250 - 103.939, 20 - 116.779, 10 - 123.68], abs=1e-4)


def test_ours_want_rgb_between_minus_one_and_one():
    assert SIGNED.apply(PIXEL).flatten().tolist() == pytest.approx([-117 / 128, -107 / 128, 123 / 128])


def test_a_batch_is_normalised_as_its_images_are():
    images = torch.randint(0, 256, (3, 3, 5, 7), generator=torch.Generator().manual_seed(0)).float()
    for normalisation in (SIGNED, CAFFE):
        one_by_one = np.stack([normalisation.apply(image).numpy() for image in images])
        np.testing.assert_array_equal(normalisation.apply(images).numpy(), one_by_one)


def test_mirrored_images_are_read_as_they_are():
    image = torch.randint(0, 256, (3, 5, 7), generator=torch.Generator().manual_seed(0)).float()
    np.testing.assert_array_equal(SIGNED.apply(image.flip(2)), SIGNED.apply(image).flip(2))


def test_plain_values_and_back():
    assert Normalisation.from_dict(asdict(CAFFE)) == CAFFE


@pytest.mark.parametrize(
    "change",
    [
        {"mean": [1, 2]},
        {"std": [1, 2, 0]},
        {"std": [1, 2, float("nan")]},
        {"mean": [1, 2, float("inf")]},
        {"order": "rbg"},
        {"order": ["rgb"]},
        {"mean": None},
        {"mean": "abc"},
    ],
)
def test_values_that_make_no_sense_are_refused(change):
    with pytest.raises(FgsnError, match=r"the input normalisation .* (is invalid|cannot be read)"):
        Normalisation.from_dict(asdict(SIGNED) | change)


def test_a_missing_value_is_refused():
    with pytest.raises(FgsnError, match="cannot be read"):
        Normalisation.from_dict({"order": "rgb"})
