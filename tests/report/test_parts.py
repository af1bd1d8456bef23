"""The sections of the page, on the run of `conftest.py`."""

import base64
import io
import re
import shutil
from dataclasses import replace
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
from PIL import Image

from fgsn.config import LocalizeSettings, ReportSettings, from_yaml_values
from fgsn.files import read_yaml, write_yaml
from fgsn.inference.correspondence_labels import correspondence_labels
from fgsn.inference.label_maps import read_label_map, write_label_map
from fgsn.localization.localize import localize
from fgsn.report import matches as module
from fgsn.report.clusters import _patches, clusters
from fgsn.report.confusion import by_similarity, confusion
from fgsn.report.matches import match_pictures
from fgsn.report.pictures import hexadecimal, label_picture
from fgsn.report.places import DISTANCES, _one_of_each, places, three_distances
from fgsn.report.poses import map_view, recall_bars, scored
from fgsn.report.sources import open_sources

METHODS_OF_THE_RUN = ["SSMC, fine-grained", "P3P, all matches"]


@pytest.fixture(scope="module")
def sources(street_run):
    return open_sources(ReportSettings(run=street_run / "run", labels=street_run / "labels"))


def picture(uri):
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGB")


def test_label_pictures_contain_no_colour_but_the_labels(tmp_path):
    write_label_map(tmp_path / "map.png", np.arange(600).reshape(20, 30) % 2, 2, np.array([[255, 0, 0], [0, 0, 255]]))
    shown = picture(label_picture(tmp_path / "map.png", 11))
    assert {colour for _, colour in shown.getcolors()} == {(255, 0, 0), (0, 0, 255)}
    other = picture(label_picture(tmp_path / "map.png", 11, np.array([[0, 9, 0], [9, 0, 0]], np.uint8)))
    assert {colour for _, colour in other.getcolors()} == {(0, 9, 0), (9, 0, 0)}


def test_a_label_has_one_colour_on_all_of_the_page(sources):
    shown = places(sources, 10**7)
    colours = {hexadecimal(colour) for colour in sources.model.palette}
    for place in shown:
        assert [view.condition for view in place.images] == ["summer", "snow"]
        for view in place.images:
            seen = {hexadecimal(np.array(c, np.uint8)) for _, c in picture(view.labels[0]).getcolors()}
            assert seen <= colours
    points = correspondence_labels(sources.labels, sources.pairs)
    gallery = {cluster.name: cluster.colour for cluster in clusters(sources, points)}
    table = confusion(sources, points)
    for name, colour in zip(table["names"], table["colours"], strict=True):
        assert gallery[name] == colour == hexadecimal(sources.model.palette[int(name)])


def test_one_place_is_shown_from_three_distances_in_two_conditions(sources):
    shown = three_distances(sources)
    where = [f"{place}, {condition}" for condition in ("summer", "snow") for place in DISTANCES]
    assert [view.condition for view in shown] == where
    assert all(view.image and view.labels[0] for view in shown)
    pairs = [pair for number, pair in enumerate(sources.pairs) if number != 2]  # no three places in a row are left
    references = "".join(f"summer/c0/{number:03d}.jpg\n" for number in range(len(sources.pairs)))
    (sources.dataset.root / "reference_image_names.txt").write_text(references)
    try:
        assert three_distances(replace(sources, pairs=pairs)) == []
    finally:
        (sources.dataset.root / "reference_image_names.txt").unlink()


def test_many_places_stay_within_the_budget(sources):
    large, small = (
        sum(len(view.image) for place in places(sources, budget) for view in place.images)
        for budget in (10**9, 200_000)
    )
    assert small < large * 0.7


def test_clusters_agree_with_the_label_maps(sources, street_run):
    points = correspondence_labels(sources.labels, sources.pairs)
    found = clusters(sources, points)
    maps = [read_label_map(path)[0] for path in sorted((street_run / "labels").rglob("*.png"))]
    for cluster in found:
        label = int(cluster.name)
        assert cluster.share == pytest.approx(np.mean([np.mean(labels == label) for labels in maps]))
        mine = points.target[points.reference == label]
        assert cluster.points == len(mine)
        if len(mine):
            assert cluster.agreement == pytest.approx(np.mean(mine == label))
            for other in cluster.confused:
                assert other.share == pytest.approx(np.mean(mine == int(other.name)))
    assert [cluster.share for cluster in found] == sorted((cluster.share for cluster in found), reverse=True)
    assert any(cluster.stays for cluster in found)
    assert {patch.condition for cluster in found for patch in cluster.patches} == {"summer", "snow"}


def test_patches_of_a_label_come_from_different_places(sources):
    dataset = sources.dataset
    images = sorted({pair.reference for pair in sources.pairs})
    labels = [int(cluster.name) for cluster in clusters(sources, correspondence_labels(sources.labels, sources.pairs))]
    apart = _patches(sources.model, [(image, "summer", dataset.place(image)) for image in images], labels)
    together = _patches(sources.model, [(image, "summer", "here") for image in images], labels)
    assert all(len(patches) <= 1 for patches in together.values())
    assert any(len(patches) > 1 for patches in apart.values())
    for label, patches in together.items():  # the best of all is shown first either way
        assert patches[:1] == apart[label][:1]


def test_every_condition_is_shown(sources, tmp_path):
    names = [f"c{number:02d}" for number in range(12)]
    views = [sources.pairs[0].reference, *(tmp_path / name for name in names)]
    dataset = SimpleNamespace(condition=lambda image: "summer" if image == views[0] else image.name)
    shown = _one_of_each(SimpleNamespace(dataset=dataset), [*views, *views])
    assert shown == views


def test_the_confusion_matrix_agrees_with_the_points(sources):
    points = correspondence_labels(sources.labels, sources.pairs)
    table = confusion(sources, points)
    assert set(table["tables"]) == {"all"}  # there is one condition only
    shares = np.frombuffer(base64.b64decode(table["tables"]["all"]), np.uint8).reshape(2 * [len(table["names"])])
    for row, name in enumerate(table["names"]):
        mine = points.target[points.reference == int(name)]
        for column, other in enumerate(table["names"]):
            expected = 255 * np.mean(mine == int(other)) if len(mine) else 0
            assert abs(shares[row, column] - expected) <= 0.5 + 1e-6


def test_similar_rows_are_neighbours():
    rng = np.random.default_rng(0)
    group = rng.permutation(np.arange(40) % 4)
    order = by_similarity(10 * np.eye(4)[group] + 0.1 * rng.normal(size=(40, 4)))
    assert np.count_nonzero(np.diff(group[order])) == 3
    assert sorted(order) == list(range(40))
    assert by_similarity(np.zeros((2, 3))).tolist() == [0, 1]


def test_poses_are_scored_and_drawn(sources):
    found = scored(sources)
    assert [method.key for method in found] == ["p3p", "ssmc_fgsn"]
    bars = recall_bars(sources, found)
    assert list(bars) == ["all"]
    ssmc = bars["all"][1]
    assert ssmc.method == "SSMC, fine-grained"
    assert ssmc.recall[0] == 100
    assert ssmc.interval[0][0] < 100 == ssmc.interval[0][1]
    view = map_view(sources, found)
    assert len(view.true) == 5
    near = [one for one in view.found if one["method"] == "ssmc_fgsn"]
    assert len(near) == 5
    for one in near:  # found poses lie on the true ones, within the picture
        assert one["level"] == 0
        assert abs(one["x"] - one["tx"]) < 3
        assert 0 < one["x"] < view.width
    # The street leads along x: equal steps in the world are equal steps in the picture.
    steps = np.diff(sorted(one["x"] for one in view.true))
    assert np.ptp(steps) < 0.5
    assert 4 * view.bar / view.length == pytest.approx(steps.mean(), rel=0.02)


def test_lengths_are_metres_where_the_scale_is_known(sources):
    scaled = replace(sources, metres_per_unit=100.0)
    plain, metric = (map_view(one, scored(one)) for one in (sources, scaled))
    steps = np.diff(sorted(one["x"] for one in metric.true))  # 4 units, so 400 metres
    assert 400 * metric.bar / metric.length == pytest.approx(steps.mean(), rel=0.05)
    for one, other in zip(plain.found, metric.found, strict=True):
        assert other["distance"] == pytest.approx(100 * one["distance"])
    in_metres, in_units = (recall_bars(one, scored(one))["all"][0].recall[0] for one in (scaled, sources))
    assert in_metres < in_units


def test_recall_comes_from_the_results_where_there_are_no_files(sources):
    stored = {"pfsl_fgsn": {"snow": [1, 2, 3], "all": [4, 5, 6]}}
    bars = recall_bars(replace(sources, results={"localization": stored}), [])
    assert {name: bar.recall for name, (bar,) in bars.items()} == {"all": [4, 5, 6], "snow": [1, 2, 3]}
    assert list(bars) == ["all", "snow"]
    assert bars["all"][0].interval is None


def test_matches_that_are_rejected_are_mostly_wrong(sources):
    shown = match_pictures(sources, scored(sources))
    assert shown is not None
    assert shown.methods == METHODS_OF_THE_RUN
    assert len(shown.queries) == shown.of == 5
    for pair in shown.queries:
        assert pair.condition == "snow"
        assert pair.picture.startswith("data:image/jpeg")
        assert pair.reference in shown.references
        for accepted, right, rejected, lost in pair.counts:
            assert accepted + rejected >= len(pair.lines) > 20
            assert right / accepted > 0.8 > lost / rejected + 0.5
        for *ends, right, given, accepting in pair.lines:
            assert all(0 <= value <= 100 for value in ends)
            assert right in (0, 1)
            assert given == 2 ** len(shown.methods) - 1 >= accepting
        assert {accepting for *_, accepting in pair.lines} >= {0, 0b11}


def test_methods_with_other_labels_filter_the_same_matches(sources, street_run, tmp_path):
    """As in a demo, where the classes of the base network filter as well."""
    classes = 2
    for file in (street_run / "labels").rglob("*.png"):
        labels, _ = read_label_map(file)
        write_label_map(tmp_path / "labels" / file.relative_to(street_run / "labels"), labels % classes, classes)
    shutil.copytree(street_run / "run" / "localization", tmp_path / "found")
    settings = read_yaml(tmp_path / "found" / "ssmc_fgsn.config.yaml")
    settings |= {"map_labels": str(tmp_path / "labels"), "query_labels": str(tmp_path / "labels")}
    settings |= {"out": str(tmp_path / "found" / "ssmc_base.txt")}
    localize(LocalizeSettings(**from_yaml_values(LocalizeSettings, settings, "")))
    both = replace(sources, localization=tmp_path / "found", left_out=[])
    shown = match_pictures(both, scored(both))
    assert (both.left_out, shown is not None) == ([], True)
    assert len(shown.methods) == 3
    base = next(number for number, name in enumerate(shown.methods) if name not in METHODS_OF_THE_RUN)
    for pair in shown.queries:
        assert pair.counts[base][0] > pair.counts[0][0]  # two classes reject less than five labels


def test_methods_that_are_given_other_matches_show_their_own(sources, street_run, tmp_path):
    """Such as those of other descriptors: here half of the matches of every pair."""
    shutil.copytree(street_run / "run" / "localization", tmp_path / "found")
    shutil.copytree(street_run / "hloc", tmp_path / "hloc")
    with h5py.File(tmp_path / "hloc" / "matches.h5", "r+") as file:
        file.visititems(lambda name, stored: stored.write_direct(np.where(np.arange(len(stored)) % 2, -1, stored))
                        if name.endswith("matches0") else None)  # fmt: skip
    settings = read_yaml(tmp_path / "found" / "p3p.config.yaml")
    settings |= {"hloc": str(tmp_path / "hloc"), "out": str(tmp_path / "found" / "p3p_fgsn.txt")}
    localize(LocalizeSettings(**from_yaml_values(LocalizeSettings, settings, "")))
    both = replace(sources, localization=tmp_path / "found", left_out=[])
    shown = match_pictures(both, scored(both))
    assert (both.left_out, shown is not None) == ([], True)
    other = next(number for number, name in enumerate(shown.methods) if name not in METHODS_OF_THE_RUN)
    for pair in shown.queries:
        totals = [accepted + rejected for accepted, _, rejected, _ in pair.counts]
        assert 0.3 * totals[0] < totals[other] < 0.7 * totals[0]
        given = [line[5] for line in pair.lines]
        assert set(given) == {2**other, 0b111 - 2**other}
        assert given.count(2**other) < 0.7 * (len(given) - given.count(2**other))
        assert all(accepting & ~mask == 0 for *_, mask, accepting in pair.lines)


def test_a_method_whose_matches_are_gone_leaves_the_others(sources, street_run, tmp_path):
    shutil.copytree(street_run / "run" / "localization", tmp_path / "found")
    file = tmp_path / "found" / "p3p.config.yaml"
    write_yaml(file, read_yaml(file) | {"hloc": str(tmp_path / "gone")})
    both = replace(sources, localization=tmp_path / "found", left_out=[])
    shown = match_pictures(both, scored(both))
    assert shown is not None
    assert len(shown.methods) == len(METHODS_OF_THE_RUN) - 1
    (line,) = both.left_out
    assert re.match("matches of “P3P, all matches” on images: .*gone", line)


def test_the_queries_shown_fit_the_page_and_lie_all_along_the_drive(sources, monkeypatch):
    monkeypatch.setattr("fgsn.report.matches.BUDGET", 10)
    shown = match_pictures(sources, scored(sources))
    assert shown is not None
    assert (len(shown.queries), shown.of) == (1, 5)
    order = module._spread_order([(number, None) for number in range(8)])
    assert [number for number, _ in order] == [0, 4, 2, 6, 1, 5, 3, 7]


def test_matches_that_are_gone_leave_the_rest(sources, street_run):
    there = street_run / "hloc" / "matches.h5"
    there.rename(there.with_suffix(".away"))
    try:
        shown = replace(sources, left_out=[])
        assert match_pictures(shown, scored(shown)) is None
        assert "matches.h5" in shown.left_out[0]
    finally:
        there.with_suffix(".away").rename(there)
