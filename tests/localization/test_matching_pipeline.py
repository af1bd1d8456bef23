"""The matching pipeline: labels are appended for queries only, and never mixed with plain matches."""

from itertools import product

import numpy as np
import pytest

from fgsn.config import LocalizeSettings
from fgsn.errors import UsageError
from fgsn.formats.queries import Query
from fgsn.geometry.posed import PosedImages
from fgsn.localization import matching_pipeline
from fgsn.localization.labelled_map import make_labelled_map
from fgsn.localization.matching_pipeline import PipelineMatches, extract_and_match, triangulated_map
from fgsn.matching.features import Features
from fgsn.matching.similar import Similarity
from matched_scene import CAMERA

MAP, QUERY, OTHER = [f"summer/{n}.png" for n in range(3)], "winter/0.png", "winter/1.png"


def matched(scene, tmp_path, queries=(QUERY,), **given):
    settings = LocalizeSettings(
        map=tmp_path, queries=(tmp_path,), out=tmp_path / "poses.txt", method="p3p", images=tmp_path / "images",
        matcher="sift", workers=0, **given,
    )  # fmt: skip
    images = PosedImages(MAP, [CAMERA], np.zeros(3, np.int64), scene.poses[np.arange(3)])
    return extract_and_match(images, [[Query(name, CAMERA) for name in queries]], settings, "cpu")


def test_only_queries_are_matched_by_labels(scene, tmp_path, make_model):
    make_model(5).save(tmp_path / "model.safetensors")
    plain = matched(scene, tmp_path)
    found = matched(scene, tmp_path, augment=0.4, model=tmp_path / "model.safetensors")
    pair = QUERY, found.retrieved[QUERY][0]
    assert plain.query_features.match(*pair)[1] == pytest.approx(1, abs=1e-4)
    # All images are of one colour each: labels differ between images only.
    vectors = [found.query_features.augmentation.labels.at(n, scene.images[n], found.features[n].pixels) for n in pair]
    rows, scores = found.query_features.match(*pair)
    expected = 0.6 + 0.4 * (vectors[0][rows[:, 0]] * vectors[1][rows[:, 1]]).sum(axis=1)
    assert scores == pytest.approx(expected, abs=2e-3)
    assert found.features.match(*found.map_pairs[0])[1] == pytest.approx(1, abs=1e-4)
    folders = {path.name for path in (tmp_path / "work").iterdir() if path.name.startswith("matches")}
    assert len(folders) == 2
    # Another matcher on the same folder has other key points, at the same time perhaps.
    assert len(list((tmp_path / "work" / scene.matcher.features).glob("labels-*"))) == 1


@pytest.mark.parametrize(("compares", "given", "weight"), [(True, None, 0.2), (True, 0.0, 0.0), (False, None, 0.0)])
def test_a_model_is_used_where_descriptors_are_compared(scene, tmp_path, make_model, compares, given, weight):
    make_model(5).save(tmp_path / "model.safetensors")
    scene.matcher.compares_descriptors = compares
    found = matched(scene, tmp_path, augment=given, model=tmp_path / "model.safetensors")
    appended = found.query_features.augmentation
    assert (appended.weight if appended else 0.0) == weight


def test_nothing_is_matched_again(scene, tmp_path, make_model):
    make_model(5).save(tmp_path / "model.safetensors")
    given = {"augment": 0.4, "model": tmp_path / "model.safetensors"}
    matched(scene, tmp_path, **given)
    asked = len(scene.matcher.asked)
    matched(scene, tmp_path, **given)
    assert len(scene.matcher.asked) == asked
    matched(scene, tmp_path, **given | {"augment": 0.3})
    assert scene.matcher.asked[asked:] == ["match"] * 3  # the query with the map; features and map stay
    make_model(5, seed=1).save(tmp_path / "model.safetensors")
    matched(scene, tmp_path, **given)
    assert scene.matcher.asked[asked + 3 :] == ["match"] * 3  # another model in the same file


@pytest.mark.parametrize(("retrieval", "best"), [("local", 0), ("labels", 1), ("both", 2)])
def test_map_images_are_found_by_labels(scene, tmp_path, make_model, monkeypatch, retrieval, best):
    """The images here have no content: the similarities are given."""
    make_model(5).save(tmp_path / "model.safetensors")
    for name, values in (("label_similarity", [0.0, 0.9, 0.8]), ("local_similarity", [0.9, 0.0, 0.8])):
        given = Similarity(np.array([values]), np.eye(3))
        monkeypatch.setattr(matching_pipeline, name, lambda *_, given=given: given)
    found = matched(scene, tmp_path, retrieval=retrieval, model=tmp_path / "model.safetensors", retrieved=1)
    assert found.retrieved[QUERY] == [MAP[best]]


def test_a_network_that_compares_images_is_refused(scene, tmp_path, make_model):
    make_model(5).save(tmp_path / "model.safetensors")
    scene.matcher.compares_descriptors = False
    with pytest.raises(UsageError, match=r"--augment does not apply to sift, .* use sift-unfiltered"):
        matched(scene, tmp_path, augment=0.4, model=tmp_path / "model.safetensors")
    assert scene.matcher.asked == []


QUICK = {("local", MAP[1], 0), ("labels", QUERY, 60), ("labels", MAP[1], 60), ("both", QUERY, 0)}


@pytest.mark.parametrize(
    ("retrieval", "name", "left"),
    [
        pytest.param(*one, marks=[pytest.mark.slow] * (one not in QUICK))
        for one in product(["local", "labels", "both"], [MAP[1], QUERY], [0, 60])
    ],
)
def test_an_image_that_breaks_after_its_features_is_listed(
    scene, tmp_path, make_model, monkeypatch, retrieval, name, left
):
    make_model(5).save(tmp_path / "model.safetensors")
    path, extract = scene.images[name], Features.extract

    def extract_and_break(*given):
        broken = extract(*given)
        damaged = path.read_bytes()[:left]
        path.write_bytes(damaged) if left else path.unlink()
        return broken

    monkeypatch.setattr(Features, "extract", extract_and_break)
    given = {"augment": 0.4, "model": tmp_path / "model.safetensors", "retrieval": retrieval}
    found = matched(scene, tmp_path, queries=(QUERY, OTHER), **given)
    assert list(found.broken) == [name]
    assert str(path) in found.broken[name]
    map_images = {image for image in MAP if image != name}
    assert {image for pair in found.map_pairs for image in pair} == map_images
    assert set(found.retrieved[OTHER]) == map_images
    assert set(found.retrieved.get(QUERY, [])) == (set() if name == QUERY else map_images)


def test_an_image_that_breaks_after_its_labels_loses_its_pairs_only(scene, tmp_path, make_model, monkeypatch):
    make_model(5).save(tmp_path / "model.safetensors")
    monkeypatch.setattr(Features, "match_all", lambda *_: scene.images[MAP[1]].unlink(missing_ok=True))
    found = matched(scene, tmp_path, augment=0.4, model=tmp_path / "model.safetensors")
    images = PosedImages(MAP, [CAMERA], np.zeros(3, np.int64), scene.poses[np.arange(3)])
    source = PipelineMatches(make_labelled_map(triangulated_map(images, found), None), found)
    assert len(source.of(QUERY)) > 100
    assert [str(scene.images[MAP[1]]) in line for line in source.lacking] == [True]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"augment": 0.3, "images": "i"}, "--augment requires --model"),
        ({"retrieval": "labels", "images": "i"}, "--retrieval labels requires --model"),
        ({"augment": 1.0, "images": "i"}, "--augment must be at least 0 and below 1, not 1"),
        ({"retrieval": "both", "hloc": "h", "model": "m"}, "for --hloc, write the pairs with fgsn retrieve"),
        ({"augment_position": 0.3, "hloc": "h"}, "for --hloc, match the file of fgsn augment"),
    ],
)
def test_settings_that_do_not_fit(tmp_path, given, message):
    paths = {key: tmp_path if key in ("images", "hloc") else value for key, value in given.items()}
    with pytest.raises(UsageError, match=message):
        LocalizeSettings(map=tmp_path, queries=(tmp_path,), out=tmp_path, method="p3p", **paths)
