"""Crops of pairs: windows and points of the authors' code, and the two things that ours does better."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fgsn.data.pairs import _crop

GOLDEN = np.load(Path(__file__).with_name("golden_crops.npz"))
PLAIN = ["crop_mid", "crop_idx0", "crop_idx7", "crop_idx11", "crop_idx19", "crop_idx23", "crop_even"]
RESIZED = ["resize_up_crop", "resize_down_crop"]
PADDED = ["pad_img1_w", "pad_both_wh", "pad_img2_h"]


def given(case, image):
    name = f"{case}_pts{image}"
    return GOLDEN[name if name in GOLDEN else f"pts{image}"]


def cropped(case, image, folder):
    """Our crop of an image whose pixels tell where they are, and all points in it."""
    index, side, short_side = (int(number) for number in GOLDEN[case])
    width, height = GOLDEN[f"{case}_size{image}"]
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[..., 0], pixels[..., 1] = np.arange(width), np.arange(height)[:, None]
    Image.fromarray(pixels).save(folder / "image.png")
    return _crop(folder / "image.png", given(case, image), index, side, short_side, 1.0, np.zeros(2))[:2]


def both(case, folder):
    """The points that lie in both crops, as the authors' code counts them: from 0 to below side in each."""
    side = GOLDEN[case][1]
    points = [cropped(case, image, folder)[1] for image in (1, 2)]
    seen = np.all([((p >= 0) & (p < side)).all(axis=1) for p in points], axis=0)
    return [p[seen] for p in points]


@pytest.mark.parametrize("case", PLAIN)
def test_windows_and_points_are_theirs(case, tmp_path):
    for image, points in zip((1, 2), both(case, tmp_path), strict=True):
        np.testing.assert_allclose(points, GOLDEN[f"{case}_out{image}"], atol=1e-9)
        np.testing.assert_array_equal(np.trunc(points + 0.5), GOLDEN[f"{case}_int{image}"])
        crop, everywhere = cropped(case, image, tmp_path)
        # The pixels of the crop are those of the window: point minus window is the same for all points.
        offset = given(case, image) - everywhere
        np.testing.assert_allclose(offset, np.broadcast_to(crop[0, 0, :2], offset.shape), atol=1e-9)
        assert crop.shape == (GOLDEN[case][1], GOLDEN[case][1], 3)


@pytest.mark.parametrize("case", RESIZED)
def test_resizing_moves_points_with_the_centres_of_pixels(case, tmp_path):
    """Theirs are scaled about the corner of the image, x · f, while the picture is scaled about the corner of its first
    pixel: they are (f - 1) / 2 pixels off, 0.18 px for 768 → 1024. Ours follow the picture: (x + 0.5) · f - 0.5."""
    short = GOLDEN[case][2]
    for image in (1, 2):
        size = GOLDEN[f"{case}_size{image}"]
        factor = (size * short // size.min()) / size
        theirs = GOLDEN[f"{case}_out{image}"]
        _, ours = cropped(case, image, tmp_path)
        moved = ours + (0.5 - 0.5 * factor)
        for point in theirs:
            gaps = moved - point
            closest = gaps[np.abs(gaps).max(axis=1).argmin()]
            np.testing.assert_allclose(closest, np.round(closest), atol=1e-9)  # the window may be a pixel aside
            assert np.abs(closest).max() <= 1


@pytest.mark.parametrize("case", PADDED)
def test_padding_moves_nothing_in_ours(case, tmp_path):
    """Theirs pads small images on all sides but forgets that when it places the window, so that the point in the
    middle of the crop is another one; ours pads on the right and below."""
    side = GOLDEN[case][1]
    for image in (1, 2):
        _, ours = cropped(case, image, tmp_path)
        theirs = GOLDEN[f"{case}_out{image}"]
        gaps = theirs[:, None] - ours[None]
        shifts = np.unique(gaps.reshape(-1, 2).round(6), axis=0, return_counts=True)
        shift = shifts[0][shifts[1].argmax()]
        assert shifts[1].max() == len(theirs)  # theirs are ours, moved as one
        small = GOLDEN[f"{case}_size{image}"] < side
        assert (np.abs(shift) <= side - GOLDEN[f"{case}_size{image}"])[small].all()
