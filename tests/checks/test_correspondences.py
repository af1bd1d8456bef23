"""The closer look of `fgsn check`: an estimate of the error, pairs that look wrong, pictures."""

import numpy as np
import pytest
from PIL import Image

from fgsn.checks.check import check
from fgsn.config import CheckSettings, PrepareSettings
from fgsn.data.correspondences import read_correspondences, write_correspondences
from fgsn.data.prepare import prepare


@pytest.fixture
def dataset(make_dataset, tmp_path):
    root = make_dataset(tmp_path / "set")
    prepare(PrepareSettings(dataset=root))
    return root


def spoil(root, name):
    """Shuffle the points of the target, so that nothing fits."""
    path = root / "correspondence_data" / name
    pair = read_correspondences(path)
    names = (file.relative_to(root / "images").as_posix() for file in (pair.reference, pair.target))
    moved = np.random.default_rng(0).permutation(pair.points_tgt)
    write_correspondences(path, *names, pair.points_ref, moved, -np.log(pair.weights))


def test_a_good_data_set_agrees_with_itself(dataset):
    results = check(CheckSettings(path=dataset))
    assert results["problems"] == []
    assert results["disagreement_px"] < 0.05
    assert results["wrong_looking"] == 0
    assert results["covered_reference"] > 0.5
    assert results["covered_target"] < results["covered_reference"]  # the points of targets lie in the middle


def test_a_pair_that_looks_wrong_is_named_and_drawn_first(dataset, tmp_path):
    spoil(dataset, "correspondence_night_002.mat")
    results = check(CheckSettings(path=dataset, pictures=tmp_path / "pictures", pairs=4))
    (line,) = results["problems"]
    assert "correspondence_night_002.mat: " in line
    assert "do not move like the points around them" in line
    assert sorted(file.name for file in (tmp_path / "pictures").iterdir()) == [
        "coverage.png", "random_00.png", "random_01.png", "suspect_00.png", "suspect_01.png",
    ]  # fmt: skip
    red = [
        (np.asarray(Image.open(tmp_path / "pictures" / f"suspect_0{n}.png")) == (255, 40, 40)).all(axis=2).sum()
        for n in (0, 1)
    ]
    assert red[0] > 100
    assert red[1] == 0


def test_a_broken_file_is_skipped(dataset):
    (dataset / "correspondence_data" / "correspondence_snow_000.mat").write_bytes(b"nothing")
    results = check(CheckSettings(path=dataset))
    assert any("not a readable correspondence file" in line for line in results["problems"])
    assert results["disagreement_px"] < 0.05
