"""Matched pairs become files of a data set, and an honest account of them."""

import csv

import numpy as np
import pytest

from fgsn.correspond.write import PairWriter, link_images, spread
from fgsn.data.correspondences import centre_distance, read_correspondences, stored_paths
from fgsn.errors import FgsnError
from fgsn.matching.pair import MatchedPair, RefusedPair

SIZES = {"summer/c0/a.png": (64, 48), "summer/c1/a.png": (64, 48), "snow/c0/b.png": (80, 60)}


def pair(reference="summer/c0/a.png", target="snow/c0/b.png", count=60, error=1.0, width=63, seed=0):
    rng = np.random.default_rng(seed)
    points = rng.uniform((0, 0), (width, 47), (count, 2))
    return MatchedPair(reference, target, points, points * 1.2, np.full(count, error))


def test_pairs_are_written_as_files_that_can_be_read(tmp_path, make_image):
    for name, size in SIZES.items():
        make_image(tmp_path / "mine" / name, *size)
    writer = PairWriter(tmp_path / "set", SIZES)
    pairs = [pair(), pair("summer/c1/a.png", error=float("nan"))]
    writer.write(pairs)
    link_images(tmp_path / "mine", tmp_path / "set", ["summer", "snow"])
    files = sorted((tmp_path / "set" / "correspondence_data").iterdir())
    assert [file.name for file in files] == [
        "correspondence_snow_c0-a_c0-b.mat", "correspondence_snow_c1-a_c0-b.mat",
    ]  # fmt: skip
    for file, expected in zip(files, pairs, strict=True):
        found = read_correspondences(file)
        assert found.reference == tmp_path / "set" / "images" / expected.reference
        np.testing.assert_array_equal(found.points_ref, expected.points_ref)
        np.testing.assert_array_equal(found.points_tgt, expected.points_tgt)
        np.testing.assert_allclose(found.weights, np.exp(-centre_distance(expected.points_ref, (64, 48))))
    with (tmp_path / "set" / "pairs.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["reference"], row["points"], row["error_px"]) for row in rows] == [
        ("summer/c0/a.png", "60", "1.0"), ("summer/c1/a.png", "60", ""),
    ]  # fmt: skip


def test_the_account(tmp_path):
    writer = PairWriter(tmp_path, SIZES)
    writer.write(
        [
            pair(count=200, error=2.0),
            RefusedPair("summer/c1/a.png", "snow/c0/b.png", "only 7 points"),
            RefusedPair("summer/c1/a.png", "snow/c0/b.png", "only 12 points"),
            RefusedPair("summer/c1/a.png", "night", "no image looks at the same place"),
            pair(target="snow/c0/lost.png"),
        ]
    )
    results = writer.results(references=2)
    assert (results["pairs"], results["points"], results["refused_pairs"]) == (1, 200, 4)
    assert results["refused"] == {
        "only 7 to 12 points": 2,
        "no image looks at the same place": 1,
        "an image is missing or cannot be read": 1,
    }
    assert results["by_condition"] == {
        "snow": {
            "pairs": 1,
            "reference_images": 1,
            "points": 200,
            "points_per_pair": 200,
            "error_px": 2.0,
            "spread": 1.0,
        }
    }
    assert results["doubts"] == ["night: no pair is reliable"]
    with (tmp_path / "refused.csv").open() as file:
        assert [row["reason"] for row in csv.DictReader(file)][:2] == ["only 7 points", "only 12 points"]


def test_sparse_and_one_sided_results_are_reported(tmp_path):
    writer = PairWriter(tmp_path, SIZES)
    writer.write([pair(count=20, width=12)])
    doubts = writer.results(references=9)["doubts"]
    assert [doubt.split(",")[0] for doubt in doubts] == [
        "snow: sparse", "snow: one-sided", "snow: only 1 of 9 reference images have a partner",
    ]  # fmt: skip


def test_spread_counts_parts_of_the_image():
    assert spread(np.array([[0.0, 0.0], [1.0, 1.0]]), (64, 48)) == 1 / 16
    corners = np.array([[-0.5, -0.5], [63.5, 47.5], [63.5, -0.5]])
    assert spread(corners, (64, 48)) == 3 / 16
    assert centre_distance(np.array([[31.5, 23.5], [-0.5, -0.5]]), (64, 48)) == pytest.approx([0, 1])


def test_links_are_made_once_and_nothing_is_overwritten(tmp_path, make_image):
    make_image(tmp_path / "mine" / "snow" / "b.png")
    for _ in range(2):
        link_images(tmp_path / "mine", tmp_path / "set", ["snow"])
    assert (tmp_path / "set" / "images" / "snow" / "b.png").is_file()
    (tmp_path / "other" / "images" / "snow").mkdir(parents=True)
    with pytest.raises(FgsnError, match="cannot link"):
        link_images(tmp_path / "mine", tmp_path / "other", ["snow"])


def test_pairs_whose_names_would_share_a_file_or_are_too_long_have_their_own(tmp_path):
    names = ("a/p-q.jpg", "a/p/q.jpg", "a/1.jpg", "a/1.png", f"a/{'x' * 240}.jpg", f"a/{'x' * 240}.png")
    points = np.random.default_rng(0).uniform(0, 90, (60, 2))
    writer = PairWriter(tmp_path, dict.fromkeys((*names, "b/u.jpg"), (128, 96)))
    writer.write([MatchedPair(name, "b/u.jpg", points, points, np.ones(60)) for name in names])
    stored = {path.name: stored_paths(path)[0] for path in (tmp_path / "correspondence_data").iterdir()}
    assert sorted(stored.values()) == sorted(names)
    assert {row["file"]: row["reference"] for row in writer.rows} == stored


def test_a_condition_that_went_in_and_did_not_come_out_is_a_doubt(tmp_path):
    points = np.random.default_rng(0).uniform(0, 90, (60, 2))
    writer = PairWriter(tmp_path, dict.fromkeys(("a/1.jpg", "snow/1.jpg", "summer/1.jpg"), (128, 96)))
    writer.write([MatchedPair("a/1.jpg", "snow/1.jpg", points, points, np.ones(60))])
    assert "summer: no pair is reliable" in writer.results(1)["doubts"]
    assert not any(doubt.startswith("a:") for doubt in writer.results(1)["doubts"])
