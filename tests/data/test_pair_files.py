"""Correspondences that do not fit their images."""

import pytest
from PIL import Image

from fgsn.data.correspondences import read_correspondences
from fgsn.data.dataset import Dataset
from fgsn.data.pair_files import SAMPLED, require_inside, sampled
from fgsn.errors import FgsnError


def test_images_that_were_resized_are_told(make_dataset, tmp_path):
    dataset = Dataset.open(make_dataset(tmp_path / "set"))
    pairs = [read_correspondences(path, dataset.images) for path in dataset.correspondence_files()]
    require_inside(pairs)
    for number, image in enumerate(sorted((dataset.images / "snow").rglob("*.png"))):
        Image.new("RGB", (16, 12)).save(image)
        if number == 0:
            require_inside(pairs)  # one image of many
    for image in (dataset.images / "night").rglob("*.png"):
        Image.new("RGB", (16, 12)).save(image)
    with pytest.raises(
        FgsnError, match=r"most points lie outside their images, first .*\.png \(16 x 12\): were the images"
    ):
        require_inside(pairs)


def test_a_sample_is_even_and_bounded():
    assert list(sampled(range(7))) == list(range(7))
    assert len(sampled(range(1000))) == SAMPLED
    assert sampled(range(1001))[-1] > 940
    assert list(sampled([])) == []
