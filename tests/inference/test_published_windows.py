"""Label maps of imported models: windows, ramps, blending and colours are those of the authors' code."""

import itertools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fgsn.data.correspondences import Correspondences
from fgsn.data.images import read_image
from fgsn.data.resize import resized, resized_shape
from fgsn.evaluation.stationary import count_pixels
from fgsn.inference import published_windows as published
from fgsn.inference.colours import published_palette
from fgsn.inference.model import Model
from fgsn.inference.published_windows import published_labels, published_ramp, published_scores, published_starts
from fgsn.models import backbones
from fgsn.models.normalisation import CAFFE
from fgsn.models.pspnet import Architecture, PSPNet
from fgsn.models.resnet import DilatedResNet

FACTS = json.loads(Path(__file__).with_name("golden_label_maps.json").read_text())
GOLDEN = np.load(Path(__file__).with_name("golden_label_maps.npz"))
BLENDED = {
    "c31_61x47": (201, 6, 4, 31, 2, 1),
    "c31_20x47_padded": (202, 2, 4, 31, 2, 1),
    "c31_25x20_padded": (203, 1, 4, 31, 2, 1),
    "c97_200x150": (204, 6, 3, 97, 5, 2),
}
"""Seed of the windows' scores, their number, labels, side; every how many pixels scores and labels are kept here."""


def handed_out(values):
    """A "network" that gives these scores, whatever it sees."""
    left = iter(values)
    return lambda tiles: torch.stack([next(left) for _ in tiles])


@pytest.mark.parametrize(("width", "height", "side", "rows", "columns"), FACTS["windows"]["cases"])
def test_windows_start_where_theirs_do(width, height, side, rows, columns):
    assert published_starts(height, side) == rows
    assert published_starts(width, side) == columns


@given(st.integers(1, 5000), st.integers(9, 800))
def test_windows_cover_the_image(pixels, side):
    starts = published_starts(pixels, side)
    assert starts[0] == 0
    assert starts[-1] + side == max(pixels, side)
    assert all(0 < b - a <= -(-2 * side // 3) for a, b in itertools.pairwise(starts))


def test_ramps_are_theirs():
    for side in (31, 60, 90, 97):
        np.testing.assert_allclose(published_ramp(side), GOLDEN[f"ramp_{side}"], atol=1e-6)
    np.testing.assert_allclose(published_ramp(9)[:, None] * published_ramp(12), GOLDEN["ramp_9x12"], atol=1e-6)
    np.testing.assert_allclose(published_ramp(90)[::7, None] * published_ramp(60), GOLDEN["ramp_90x60"], atol=1e-6)
    middle = published_ramp(713)
    np.testing.assert_allclose(middle[[1, 356], None] * middle[::8], GOLDEN["ramp_713"], atol=1e-6)


@pytest.mark.parametrize("band", [1 << 22, 500])
@pytest.mark.parametrize("case", BLENDED)
def test_blended_scores_and_labels_are_theirs(case, band, golden, monkeypatch):
    monkeypatch.setattr(published, "BAND_VALUES", band)
    seed, windows, labels, side, every, every_label = BLENDED[case]
    width, height = (int(part) for part in case.split("_")[1].split("x"))
    values = torch.from_numpy(golden(seed, (windows, labels, side, side), -3.0, 3.0).astype(np.float32))
    image = torch.zeros(3, height, width)
    scores = torch.cat(list(published_scores(handed_out(values), image, side, 2)), dim=1)
    np.testing.assert_allclose(scores[:, ::every, ::every], GOLDEN[case], atol=2e-6)
    found = published_labels(handed_out(values), image, side, 2, (height, width))
    np.testing.assert_array_equal(found[::every_label, ::every_label], GOLDEN[f"{case}_argmax"])


def test_blended_scores_of_full_windows_are_theirs(golden):
    values = torch.from_numpy(golden(205, (4, 2, 713, 713), -3.0, 3.0).astype(np.float32))
    scores = torch.cat(list(published_scores(handed_out(values), torch.zeros(3, 768, 1024), 713, 4)), dim=1)
    np.testing.assert_allclose(scores[:, ::32, ::32], GOLDEN["c713_1024x768"], atol=2e-6)
    total, squares = GOLDEN["c713_sums"]
    assert scores.double().sum().item() == pytest.approx(total, abs=1e-2)
    assert scores.double().square().sum().item() == pytest.approx(squares, rel=1e-6)


@pytest.mark.parametrize(("seed", "count", "width"), [(206, 6, 200), (207, 2, 97)])
def test_where_their_merged_features_differ_from_ours(seed, count, width, golden):
    """Theirs lie at round(pixel * 13 / 97) of the merged map, up to half a cell off and 27 cells for 25; ours on
    multiples of 8 pixels. Only clustering takes features, and ours clusters its own: there is no option for theirs."""
    windows = golden(seed, (count, 3, 97, 97), -3.0, 3.0)[:, :, ::8, ::8]
    theirs = GOLDEN[f"fe97_{width}x150"]
    total, share = np.zeros(theirs.shape), np.zeros(theirs.shape[1:])
    ramp = published_ramp(13).numpy()
    corners = [(top, left) for top in published_starts(150, 97) for left in published_starts(width, 97)]
    for values, (top, left) in zip(windows, corners, strict=True):
        rows, columns = (slice(first := round(start * 13 / 97), first + 13) for start in (top, left))
        total[:, rows, columns] += values * ramp[:, None] * ramp
        share[rows, columns] += ramp[:, None] * ramp
    np.testing.assert_allclose(total / share, theirs, atol=2e-6)


@settings(max_examples=25, deadline=None)
@given(st.integers(9, 120), st.integers(9, 120), st.integers(2, 8).map(lambda n: 8 * n + 1))
def test_any_size_gets_a_label_per_pixel_and_a_constant_stays(height, width, side):
    def predict(tiles):
        return torch.arange(4.0)[None, :, None, None].expand(len(tiles), 4, (side - 1) // 8 + 1, (side - 1) // 8 + 1)

    scores = torch.cat(list(published_scores(predict, torch.zeros(3, height, width), side, 3)), dim=1)
    torch.testing.assert_close(scores, torch.arange(4.0)[:, None, None].expand(4, height, width))
    assert published_labels(predict, torch.zeros(3, height, width), side, 3, (5, 7)).shape == (5, 7)


def test_images_become_input_as_theirs_do(golden):
    image = np.floor(256 * golden(401, (24, 32, 3))).astype(np.uint8)
    np.testing.assert_allclose(CAFFE(image), GOLDEN["transformed"], atol=1e-4)
    for side in (40, 12):
        ours, theirs = resized(image, side).astype(int), GOLDEN[f"resize{side}"].astype(int)
        assert ours.shape == theirs.shape
        assert np.abs(ours - theirs).max() <= 1
    for (width, height), (wanted_width, wanted_height) in FACTS["resized_sizes"]:
        assert resized_shape((height, width), 1024) == (wanted_height, wanted_width)


def test_colours_are_theirs():
    for clusters, first in FACTS["palette"].items():
        np.testing.assert_array_equal(published_palette(int(clusters))[:20], first)
    some = FACTS["colours_1000"]
    np.testing.assert_array_equal(published_palette(1000)[some["labels"]], some["rgb"])


def test_a_model_says_how_its_label_maps_are_made(make_model, make_image, tmp_path):
    image = make_image(tmp_path / "image.png", 150, 110)
    model = make_model()
    ours, theirs = model.segment(image), replace(model, tiling="published").segment(image)
    assert ours.shape == theirs.shape == (110, 150)
    assert 0.5 < (ours == theirs).mean() < 1.0  # the same scores, put together in another way


# Prefixes of our names and of those of the authors' code, whose order decides the golden weights.
THEIRS = {"backbone": "fcn", "head.pooling": "ppm", "head": "final", "aux_classifier": "conv6_1", "classifier": "conv6"}


def fill_as_golden(network, golden):
    def their_name(name):
        ours = next((prefix for prefix in THEIRS if name.startswith(f"{prefix}.")), "")
        return name.replace(ours, THEIRS[ours], 1) if ours else name

    state = {their_name(name): value for name, value in network.state_dict().items() if "num_batches" not in name}
    for seed, name in enumerate(sorted(state)):
        value, kind = state[name], name.rpartition(".")[2]
        bound = (6 / max(1, value[0].numel())) ** 0.5
        ranges = {"running_var": (0.5, 1.5), "running_mean": (-0.2, 0.2), "weight": (0.4, 0.8), "bias": (-0.2, 0.2)}
        low, high = (-bound, bound) if value.ndim == 4 else ranges[kind]
        value.copy_(torch.from_numpy(golden(seed, tuple(value.shape), low, high)))


# ImageCollection of golden 11 (samples of scikit-image, CC0 or public domain), and what the authors' code made of them.
PHOTOGRAPHS = Path(__file__).with_name("golden_photographs")


@pytest.fixture
def segmenter(golden, monkeypatch):
    """The golden network of five labels, one or two blocks a stage, and the numbers that belong to it."""
    stored = np.load(PHOTOGRAPHS / "numbers.npz")
    monkeypatch.setitem(backbones._BUILDERS, "mini", lambda: DilatedResNet((1, 1, 2, 1)))
    network = PSPNet(Architecture("mini", 5))
    fill_as_golden(network, golden)
    with torch.no_grad():
        network.backbone.layer1.conv1.conv.weight.div_(64)
        network.classifier.bias.copy_(torch.from_numpy(stored["bias"]))
    return Model(network.eval().requires_grad_(False), CAFFE, 1024, 713, tiling="published"), stored


@pytest.mark.slow
def test_the_label_map_of_a_photograph_is_theirs(segmenter):
    model, stored = segmenter
    pixels, windows = read_image(PHOTOGRAPHS / "b.jpg"), []
    model.network.register_forward_hook(lambda network, given, output: windows.extend(output.logits))
    equal = model.segment(pixels) == stored["labels"]
    assert equal.mean() >= 0.99
    assert equal[np.unpackbits(stored["clear"], count=equal.size).reshape(equal.shape) == 1].all()  # margin > 0.01
    bands = published_scores(handed_out(windows), model.prepared(pixels), 713, 4)
    scores = torch.cat(list(bands), dim=1)
    np.testing.assert_allclose(scores[:, ::64, ::64], stored["scores"], atol=0.01)


@pytest.mark.slow
def test_pixels_with_a_correspondence_are_counted_as_theirs(segmenter):
    model, stored = segmenter
    image, points = PHOTOGRAPHS / "pair.jpg", stored["points"]
    pair = Correspondences(image, image, points, points, np.ones(len(points)))
    pixels, carrying = count_pixels(model.segment, [pair], 5)
    assert pixels.sum() == stored["with_point"].sum() + stored["without"].sum()
    assert carrying.sum() == stored["with_point"].sum() == len(points)
    # A label map may differ from theirs in one pixel of a hundred.
    assert np.abs(carrying - stored["with_point"]).sum() <= 2
    assert np.abs(pixels - carrying - stored["without"]).sum() <= 0.01 * pixels.sum()
