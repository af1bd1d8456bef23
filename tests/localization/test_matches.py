import sqlite3
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fgsn.geometry.colmap import read_model
from fgsn.geometry.colmap_files import read_text_model
from fgsn.localization.labelled_map import make_labelled_map
from fgsn.localization.matches import points_at, unique_matches

FOLDER = "shared/data/colmap_maupertuis"
SHARED = next((folder / FOLDER for folder in Path(__file__).parents if (folder / FOLDER).exists()), None)
PIXELS = np.arange(20.0).reshape(10, 2)


def resolve(*proposals):
    table = np.array(proposals, float).reshape(-1, 3)
    found = unique_matches(PIXELS, table[:, 0].astype(int), table[:, 1].astype(int), table[:, 2])
    return [
        (int(pixel[0] // 2), int(point), float(score))
        for pixel, point, score in zip(found.pixels, found.points, found.similarity, strict=True)
    ]


def test_the_point_that_most_images_propose_wins_then_the_most_similar():
    assert resolve((0, 7, 0.9), (0, 8, 0.2), (0, 8, 0.3)) == [(0, 8, 0.3)]
    assert resolve((0, 7, 0.9), (0, 8, 0.2)) == [(0, 7, 0.9)]
    assert resolve((0, 8, 0.5), (0, 7, 0.5)) == [(0, 7, 0.5)]


def test_a_point_keeps_one_key_point():
    assert resolve((3, 7, 0.4), (1, 7, 0.6), (2, 9, 0.1)) == [(1, 7, 0.6), (2, 9, 0.1)]
    assert resolve() == []


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 5), st.sampled_from([0.1, 0.5, 0.9])), max_size=25))
def test_nothing_occurs_twice_and_the_order_of_proposals_does_not_matter(proposals):
    found = resolve(*proposals)
    assert found == resolve(*proposals[::-1])
    key_points, points = [one[0] for one in found], [one[1] for one in found]
    assert key_points == sorted(set(key_points))
    assert len(set(points)) == len(points)
    assert {(k, p) for k, p, _ in found} <= {(k, p) for k, p, _ in proposals}
    assert bool(found) == bool(proposals)


def test_matches_can_be_selected():
    found = unique_matches(PIXELS, np.arange(4), np.arange(4), np.ones(4))
    kept = found[np.array([True, False, True, False])]
    assert (len(kept), kept.points.tolist()) == (2, [0, 2])


def test_the_nearest_observation_within_reach():
    observed = np.array([[10.0, 10], [11, 10], [30, 30]])
    key_points = np.array([[10.2, 10], [10.7, 10], [10, 11.5], [30, 30.999]])
    found = points_at(key_points, observed, np.array([5, 6, 2]), np.ones(7, np.int32))
    assert found.tolist() == [5, 6, -1, 2]
    assert points_at(key_points, observed[:0], np.zeros(0, int), np.ones(7, np.int32)).tolist() == [-1] * 4
    assert points_at(key_points[:0], observed, np.array([5, 6, 2]), np.ones(7, np.int32)).shape == (0,)


def test_of_two_points_at_one_pixel_the_better_supported_one():
    observed, support = np.array([[10.0, 10], [10, 10], [10, 10]]), np.array([2, 5, 3], np.int32)
    assert points_at(np.array([[10.0, 10]]), observed, np.array([0, 1, 2]), support).tolist() == [1]
    assert points_at(np.array([[10.0, 10]]), observed, np.array([2, 1, 0]), support).tolist() == [1]


def test_against_a_slow_search():
    rng = np.random.default_rng(0)
    observed, key_points = rng.uniform(0, 30, (200, 2)), rng.uniform(0, 30, (300, 2))
    points = rng.permutation(200)
    found = points_at(key_points, observed, points, np.ones(200, np.int32))
    distance = np.linalg.norm(key_points[:, None] - observed, axis=2)
    slow = np.where(distance.min(axis=1) < 1, points[distance.argmin(axis=1)], -1)
    assert (found == slow).all()
    assert 0 < (slow < 0).sum() < 300
    assert found == pytest.approx(slow)


@pytest.mark.skipif(SHARED is None, reason="needs the small COLMAP model")
def test_sift_key_points_find_the_points_that_colmap_numbers(tmp_path):
    """Key points of the database, half a pixel off as hloc stores them, against the numbers in the model's images."""
    assert SHARED is not None
    files = read_text_model(SHARED / "reconstruction")
    labelled = make_labelled_map(read_model(SHARED / "reconstruction"), None)
    rows = {int(number): row for row, number in enumerate(files.point_ids)}
    (tmp_path / "colmap.db").write_bytes((SHARED / "colmap.db").read_bytes())
    database = sqlite3.connect(tmp_path / "colmap.db")
    for image, name in enumerate(labelled.names):
        query = "SELECT rows, cols, data FROM keypoints JOIN images USING (image_id) WHERE name = ?"
        count, columns, data = database.execute(query, (name,)).fetchone()
        key_points = np.frombuffer(data, np.float32).reshape(count, columns)[:, :2].astype(float) - 0.5
        first, last = files.first_keypoint[image : image + 2]
        numbered = np.array([rows.get(int(number), -1) for number in files.keypoint_ids[first:last]])
        found = points_at(key_points, labelled.pixels_of(image), labelled.points_of(image), labelled.observations)
        has_point = numbered >= 0
        assert has_point.sum() > 500
        assert (found[has_point] >= 0).all()
        assert np.mean(found[has_point] == numbered[has_point]) > 0.9
        # The others have several orientations at one pixel, each with a point of its own at nearly the same place.
        centre = labelled.camera_from_world[image].centre
        apart = labelled.points[found[has_point]] - labelled.points[numbered[has_point]]
        distance = np.linalg.norm(labelled.points[numbered[has_point]] - centre, axis=1)
        assert (np.linalg.norm(apart, axis=1) / distance).max() < 0.003
    database.close()
