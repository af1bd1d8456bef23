"""Training samples: whatever is cropped, resized and padded, a match stays a match."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fgsn.data.augment import generator
from fgsn.data.correspondences import write_correspondences
from fgsn.data.pairs import STRIDE, cells_of, pair_sample
from fgsn.models import layers

SIDE = 65


def colour(number):
    """A colour of its own for every dot; far from black, which is the ground."""
    return np.array([60 + 3 * (number % 60), 60 + 30 * (number // 60), 255 - number % 50], np.uint8)


def dotted(size, points, radius=2):
    width, height = size
    pixels = np.zeros((height, width, 3), np.uint8)
    for number, (x, y) in enumerate(np.round(points).astype(int)):
        pixels[max(0, y - radius) : y + radius + 1, max(0, x - radius) : x + radius + 1] = colour(number)
    return pixels


def grid(size, step, offset):
    return np.array([(x, y) for y in range(offset[1], size[1], step) for x in range(offset[0], size[0], step)], float)


def make_pair(root, points_ref, points_tgt, size_ref, size_tgt):
    (root / "images").mkdir()
    Image.fromarray(dotted(size_ref, points_ref)).save(root / "images" / "a.png")
    Image.fromarray(dotted(size_tgt, points_tgt)).save(root / "images" / "b.png")
    path = root / "correspondence_data" / "pair.mat"
    write_correspondences(path, "a.png", "b.png", points_ref, points_tgt, np.zeros(len(points_ref)))
    return path


def sample(path, seed=0, side=SIDE, short_side=0, jitter=0.0):
    return pair_sample(path, path.parent.parent / "images", side, short_side, jitter, generator(seed))


def seen_at(crop, cells):
    """The colours of a crop at the pixels that cells stand for."""
    return crop[cells[:, 1] * 8, cells[:, 0] * 8].astype(int)


def test_the_stride_is_that_of_the_networks():
    assert STRIDE == layers.STRIDE


@given(st.integers(0, 200), st.integers(0, 200))
def test_cell_c_is_nearest_to_the_pixels_around_8_c(x, y):
    column, row = cells_of(np.array([[float(x), float(y)]]))[0]
    assert abs(8 * column - x) <= 4
    assert abs(8 * row - y) <= 4


def test_cells_at_the_golden_positions():
    """713 pixels have 90 cells, on the pixels 0, 8, …, 712, also the last ones."""
    points = np.array([[0.0, 712.0], [3.9, 708.0], [4.0, 707.9], [-4.1, 712.49]])
    assert cells_of(points).tolist() == [[0, 89], [0, 89], [1, 88], [-1, 89]]


@pytest.mark.parametrize("seed", range(8))
def test_matches_are_what_both_crops_show(tmp_path, seed):
    """Dots on every 16th pixel, another shift in each image: crops start at odd places, so dots are 9 pixels wide."""
    size = (160, 120)
    points_ref, points_tgt = grid(size, 16, (5, 3)), grid(size, 16, (5, 3)) * 0.9 + (6, 4)
    path = make_pair(tmp_path, points_ref, points_tgt, size, size)
    for name, points in (("a", points_ref), ("b", points_tgt)):
        Image.fromarray(dotted(size, points, radius=5)).save(tmp_path / "images" / f"{name}.png")
    made = sample(path, seed)
    assert made.reference.shape == made.target.shape == (SIDE, SIDE, 3)
    assert made.inside == (9, 9)
    assert len(made.cells_ref) >= 4
    one, other = seen_at(made.reference, made.cells_ref), seen_at(made.target, made.cells_tgt)
    np.testing.assert_array_equal(one, other)
    known = {tuple(colour(n)) for n in range(len(points_ref))}
    assert all(tuple(row) in known for row in one)
    assert len({tuple(row) for row in one}) == len(one)


@pytest.mark.parametrize("short_side", [90, 150])
def test_matches_stay_matches_when_images_are_resized(tmp_path, short_side):
    size_ref, size_tgt = (200, 140), (160, 160)
    points_ref = grid(size_ref, 26, (10, 10))
    points_tgt = points_ref * (size_tgt[0] / size_ref[0], size_tgt[1] / size_ref[1])
    path = make_pair(tmp_path, points_ref, points_tgt, size_ref, size_tgt)
    for name, points, size in (("a", points_ref, size_ref), ("b", points_tgt, size_tgt)):
        Image.fromarray(dotted(size, points, radius=9)).save(tmp_path / "images" / f"{name}.png")
    made = sample(path, short_side=short_side)
    assert len(made.cells_ref) >= 3
    one, other = seen_at(made.reference, made.cells_ref), seen_at(made.target, made.cells_tgt)
    clear = (one.min(axis=1) > 55) & (other.min(axis=1) > 55)
    assert clear.mean() > 0.5
    np.testing.assert_allclose(one[clear], other[clear], atol=2)


def test_the_crops_lie_around_one_common_match(tmp_path):
    """The match that decides is in the middle of both crops, unless the border is near."""
    points = np.array([[100.0, 80.0]])
    path = make_pair(tmp_path, points, points + np.array([30, 20]), (256, 192), (256, 192))
    made = sample(path)
    assert made.cells_ref.tolist() == made.cells_tgt.tolist() == [[4, 4]]
    np.testing.assert_array_equal(seen_at(made.reference, made.cells_ref)[0], colour(0))


def test_at_a_corner_the_crop_moves_inside(tmp_path):
    points = np.array([[255.0, 191.0]])
    path = make_pair(tmp_path, points, points * 0, (256, 192), (256, 192))
    made = sample(path)
    assert (made.cells_ref.tolist(), made.cells_tgt.tolist()) == ([[8, 8]], [[0, 0]])
    assert made.inside == (9, 9)
    assert (made.reference[..., 0] == 127).sum() == 0


def test_images_smaller_than_the_crop_are_padded_and_the_padding_is_known(tmp_path):
    points = grid((40, 30), 10, (4, 4))
    path = make_pair(tmp_path, points, points, (40, 30), (50, 80))
    made = sample(path)
    assert made.reference.shape == made.target.shape == (SIDE, SIDE, 3)
    assert made.inside == (4, 5)
    assert (made.reference[30:] == 127).all()
    assert (made.reference[:, 40:] == 127).all()
    assert (made.target[:, 50:] == 127).all()
    assert len(made.cells_ref) > 3


def test_points_that_lie_on_padding_are_no_matches(tmp_path):
    inside, outside = np.array([[20.0, 16.0]]), np.array([[20.0, 55.0]])
    both = np.concatenate([inside, outside])
    path = make_pair(tmp_path, both, both, (40, 30), (40, 64))
    assert sample(path).cells_ref.tolist() == [[3, 2]]
    other = tmp_path / "other"
    other.mkdir()
    path = make_pair(other, both, both, (40, 64), (40, 30))
    assert sample(path).cells_tgt[:, 1].max() <= 3


@pytest.mark.parametrize("count", [0, 1])
def test_few_correspondences(tmp_path, count):
    points = np.array([[100.0, 80.0]])[:count]
    path = make_pair(tmp_path, points, points, (256, 192), (256, 192))
    made = sample(path)
    assert made.cells_ref.shape == made.cells_tgt.shape == (count, 2)
    assert made.reference.shape == (SIDE, SIDE, 3)


def test_points_outside_of_the_images_do_no_harm(tmp_path):
    points = np.array([[-500.0, 3000.0], [1e6, -1e6], [20.0, 20.0]])
    path = make_pair(tmp_path, points, points[::-1].copy(), (100, 100), (100, 100))
    for seed in range(6):
        made = sample(path, seed)
        assert made.reference.shape == (SIDE, SIDE, 3)
        assert made.cells_ref.size == 0 or 0 <= made.cells_ref.min() <= made.cells_ref.max() <= 8


def test_a_sample_is_a_function_of_the_generator(tmp_path):
    points = grid((160, 120), 16, (5, 3))
    path = make_pair(tmp_path, points, points, (160, 120), (160, 120))
    one, same, other = (sample(path, seed, jitter=0.5) for seed in (1, 1, 2))
    for name in ("clean", "reference", "target", "cells_ref", "cells_tgt"):
        np.testing.assert_array_equal(getattr(one, name), getattr(same, name))
    assert one.clean.shape == other.clean.shape
    assert (one.clean != other.clean).any()


def test_only_what_is_learnt_from_is_tinted(tmp_path):
    points = grid((160, 120), 16, (5, 3))
    path = make_pair(tmp_path, points, points, (160, 120), (160, 120))
    plain, tinted = sample(path, 1), sample(path, 1, jitter=0.8)
    np.testing.assert_array_equal(plain.reference, plain.clean)
    np.testing.assert_array_equal(tinted.clean, plain.clean)
    assert (tinted.reference != plain.reference).any()
    assert (tinted.target != plain.target).any()
    np.testing.assert_array_equal(tinted.cells_tgt, plain.cells_tgt)


def test_every_match_is_a_centre_some_time(tmp_path):
    points = np.array([[60.0, 60.0], [130.0, 60.0], [130.0, 130.0]])
    path = make_pair(tmp_path, points, points, (200, 200), (200, 200))
    centres = {tuple(seen_at(sample(path, seed).reference, np.array([[4, 4]]))[0]) for seed in range(30)}
    assert centres == {tuple(colour(n)) for n in range(3)}
