"""Queries are matched with all points of a map at once; the map's images and labels count as in pairs."""

import numpy as np
import pytest
from scipy.spatial import KDTree

from fgsn.config import LocalizeSettings
from fgsn.errors import NoMatchesError, UsageError
from fgsn.formats.queries import Query
from fgsn.geometry.posed import PosedImages
from fgsn.localization.labelled_map import make_labelled_map
from fgsn.localization.matching_pipeline import extract_and_match, triangulated_map
from fgsn.localization.whole_map import WholeMapMatches
from matched_scene import CAMERA, Scene

MAP, QUERY, OTHER = [f"summer/{n}.png" for n in range(3)], "winter/0.png", "winter/1.png"


def whole_map(scene: Scene, tmp_path, **given) -> WholeMapMatches:
    settings = LocalizeSettings(
        map=tmp_path, queries=(tmp_path,), out=tmp_path / "poses.txt", method="p3p", images=tmp_path / "images",
        matcher="sift", workers=0, retrieved=0, **given,
    )  # fmt: skip
    images = PosedImages(MAP, [CAMERA], np.zeros(3, np.int64), scene.poses[np.arange(3)])
    found = extract_and_match(images, [[Query(name, CAMERA) for name in (QUERY, OTHER)]], settings, "cpu")
    return WholeMapMatches(make_labelled_map(triangulated_map(images, found), None), found)


def test_matches_are_those_of_the_points_of_the_map(scene, tmp_path):
    source = whole_map(scene, tmp_path)
    found = source.of(QUERY)
    points = len(source.map.points)
    assert len(found) > 0.8 * points > 100
    assert len(np.unique(found.points)) == len(np.unique(found.pixels, axis=0)) == len(found)
    assert found.similarity == pytest.approx(1, abs=1e-4)
    _, true = KDTree(scene.points).query(source.map.points[found.points])
    assert np.median(np.linalg.norm(scene.pixels[3][true] - found.pixels, axis=1)) < 1
    assert not list((tmp_path / "work").glob("matches*/winter")), "no query is matched with an image"


def test_partners_are_the_images_that_observe_most_of_the_matched_points(scene, tmp_path):
    source = whole_map(scene, tmp_path)
    matched = set(source.of(QUERY).points.tolist())
    common = [len(matched & set(source.map.points_of(row).tolist())) for row in range(3)]
    assert source.partners(QUERY) == [MAP[row] for row in np.argsort(np.negative(common), kind="stable")]


def test_a_point_has_the_mean_of_its_descriptors_and_labels(scene, tmp_path, make_model):
    make_model(5).save(tmp_path / "model.safetensors")
    source = whole_map(scene, tmp_path, augment=0.4, model=tmp_path / "model.safetensors")
    found, features = source.of(QUERY), source.images.query_features
    row = int(np.flatnonzero(source.map.observations[found.points] == 3)[0])
    seen = [
        features.to_match(name).descriptors[source._points_of(name) == found.points[row]].sum(axis=0) for name in MAP
    ]
    total = np.sum(seen, axis=0)
    here = features.to_match(QUERY)
    (at,) = np.flatnonzero((here.pixels == found.pixels[row]).all(axis=1))
    assert here.descriptors.shape[1] == 64 + 5
    assert found.similarity[row] == pytest.approx(here.descriptors[at] @ total / np.linalg.norm(total), abs=1e-5)


@pytest.mark.parametrize("name", [QUERY, MAP[1]])
def test_an_image_that_cannot_be_read_takes_nothing_else_with_it(scene, tmp_path, make_model, name):
    scene.images[name].write_bytes(b"")
    source = whole_map(scene, tmp_path)
    if name == QUERY:
        with pytest.raises(NoMatchesError, match=r"winter.0\.png"):
            source.of(QUERY)
    assert len(source.of(OTHER)) > 100
    assert name not in source.partners(OTHER)


@pytest.mark.parametrize("name", [QUERY, MAP[1]])
def test_an_image_that_breaks_later_is_listed(scene, tmp_path, make_model, name):
    make_model(5).save(tmp_path / "model.safetensors")
    source = whole_map(scene, tmp_path, augment=0.4, model=tmp_path / "model.safetensors")
    scene.images[name].unlink()
    if name == QUERY:
        with pytest.raises(NoMatchesError, match=r"winter.0\.png"):
            source.of(QUERY)
    assert len(source.of(OTHER)) > 100
    assert [name in problem for problem in source.problems()] == [True] * (name in MAP)


def test_a_network_that_compares_images_is_refused(scene, tmp_path):
    scene.matcher.compares_descriptors = False
    with pytest.raises(UsageError, match=r"--retrieved 0 does not apply to sift, .* use sift-unfiltered"):
        whole_map(scene, tmp_path)
    assert scene.matcher.asked == []


def test_retrieval_and_none_contradict_each_other(tmp_path):
    with pytest.raises(UsageError, match=r"--retrieval both, or --retrieved 0, which looks for no images"):
        whole_map(None, tmp_path, model=tmp_path, retrieval="both")
