import json
from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from fgsn.config import LocalizeSettings, TrackSettings
from fgsn.errors import FgsnError, UsageError
from fgsn.geometry.camera import Camera
from fgsn.geometry.colmap import write_model
from fgsn.geometry.pose import Pose
from fgsn.geometry.visibility import Visibility
from fgsn.inference.label_maps import write_label_map
from fgsn.localization.label_histograms import LabelHistograms
from fgsn.localization.labelled_map import make_labelled_map
from fgsn.localization.map_folder import ARRAYS, FACTS, check_map, load_map, open_labelled_map, save_map
from localization.toy import CAMERA, read_or_refused, toy_model


@pytest.fixture
def labelled(tmp_path):
    rng = np.random.default_rng(0)
    for name in toy_model().names[:2]:
        labels = rng.integers(0, 300, (CAMERA.height, CAMERA.width))
        write_label_map(tmp_path / "labels" / name.replace(".jpg", ".png"), labels, 300)
    return make_labelled_map(toy_model(), tmp_path / "labels", stationary=rng.random(300) < 0.5, label_window=0.02)


def assert_same(one, two):
    for field in fields(one):
        a, b = getattr(one, field.name), getattr(two, field.name)
        if isinstance(a, Pose):
            np.testing.assert_array_equal(a.rotation, b.rotation)
            np.testing.assert_array_equal(a.translation, b.translation)
        elif isinstance(a, Visibility | LabelHistograms):
            assert_same(a, b)
        elif isinstance(a, np.ndarray):
            np.testing.assert_array_equal(a, b)
            assert a.dtype == b.dtype
        else:
            assert a == b


def test_round_trip(tmp_path, labelled):
    lens = Camera(64, 48, 50, 51, 31, 23, "OPENCV", (0.1, 0.0, 0.01, 0.0))
    for number, one in enumerate(
        (labelled, replace(labelled, stationary=None, cameras=[lens]), make_labelled_map(toy_model(), None))
    ):
        save_map(tmp_path / str(number), one)
        assert_same(one, load_map(tmp_path / str(number)))
    facts = json.loads((tmp_path / "0" / FACTS).read_text())
    assert facts["images"] == 3
    assert facts["points"] == facts["points_with_label"] == 20
    assert facts["clusters"] == 300
    assert json.loads((tmp_path / "2" / FACTS).read_text())["mean_confidence"] is None


def test_equal_maps_give_equal_bytes_and_arrays_go_to_torch(tmp_path, labelled):
    save_map(tmp_path / "a", labelled)
    save_map(tmp_path / "b", load_map(tmp_path / "a"))
    assert (tmp_path / "a" / ARRAYS).read_bytes() == (tmp_path / "b" / ARRAYS).read_bytes()
    assert torch.from_numpy(load_map(tmp_path / "a").points).shape == (20, 3)


def test_what_is_no_map(tmp_path, labelled):
    with pytest.raises(FgsnError, match="is not a map folder"):
        load_map(tmp_path)
    for content in (b"", b"\x00" * 100, b"\x80\x04", b"PK\x03\x04"):
        (tmp_path / ARRAYS).write_bytes(content)
        with pytest.raises(FgsnError, match="is damaged"):
            load_map(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"labels": np.full(20, 300, np.int32)},
        {"labels": np.full(20, -2, np.int32)},
        {"track_point": np.full(60, 20)},
        {"track_image": np.full(60, 3)},
        {"track_image": np.repeat([2, 1, 0], 20)},
        {"camera_of": np.array([0, 0, 1])},
        {"points": np.full((20, 3), np.nan)},
        {"axis": np.zeros((19, 3), np.float32)},
        {"stationary": np.ones(5, bool)},
        {"names": ["one"]},
        {"first": np.zeros(21, np.int64)},
        {"first": np.arange(20)[::-1]},
        {"labels": np.full(60, 300, np.uint16), "sums": np.ones(60, "f4"), "first": np.arange(0, 61, 3)},
        {"labels": np.zeros(60, np.int32), "sums": np.ones(60, "f4"), "first": np.arange(0, 61, 3)},
        {"sums": np.full(60, -1, "f4"), "labels": np.zeros(60, np.uint16), "first": np.arange(0, 61, 3)},
    ],
)
def test_parts_that_do_not_fit_are_refused(tmp_path, labelled, change):
    if "first" in change:
        change = {"histograms": replace(labelled.histograms, **change)}
    if "axis" in change:
        change = {"visibility": replace(labelled.visibility, **change)}
    save_map(tmp_path, replace(labelled, **change))
    with pytest.raises(FgsnError, match="is damaged"):
        load_map(tmp_path)


def test_an_error_of_a_camera_names_the_file(tmp_path, labelled):
    odd = replace(labelled.cameras[0], model="PIN\u2028HOLE")
    save_map(tmp_path, replace(labelled, cameras=[odd]))
    with pytest.raises(FgsnError, match=rf"cannot read {tmp_path}/{ARRAYS}: unknown camera model 'PIN\\u2028HOLE'"):
        load_map(tmp_path)


def test_a_newer_version_is_named(tmp_path, labelled, monkeypatch):
    monkeypatch.setattr("fgsn.localization.map_folder.VERSION", 2)
    save_map(tmp_path, labelled)
    monkeypatch.undo()
    with pytest.raises(FgsnError, match="newer fgsn"):
        load_map(tmp_path)


def test_damaged_bytes_never_raise_anything_else(tmp_path, labelled):
    save_map(tmp_path, labelled)
    path, rng = tmp_path / ARRAYS, np.random.default_rng(0)
    whole = path.read_bytes()
    for _ in range(300):
        content = bytearray(whole[: rng.integers(1, len(whole) + 1)] if rng.random() < 0.2 else whole)
        for at in rng.integers(0, min(len(content), 3000), rng.integers(1, 4)):
            content[at] = rng.integers(0, 256)
        path.write_bytes(bytes(content))
        read_or_refused(lambda: load_map(tmp_path))


def test_a_map_folder_stands_in_for_model_and_label_maps(tmp_path, labelled):
    write_model(tmp_path / "sparse", toy_model())
    made = open_labelled_map(tmp_path / "sparse", tmp_path / "labels", labelled.stationary)
    assert made.clusters == labelled.clusters
    save_map(tmp_path / "map", made)
    loaded = open_labelled_map(tmp_path / "map", None)
    np.testing.assert_array_equal(loaded.labels, made.labels)
    stays = np.arange(made.clusters) > 0
    assert open_labelled_map(tmp_path / "map", None, stays).stationary is stays
    with pytest.raises(FgsnError, match="use one model for both"):
        open_labelled_map(tmp_path / "map", None, stays[:-1])


def test_histograms_of_a_map_folder_are_used_or_made_again(tmp_path, labelled):
    save_map(tmp_path / "map", labelled)
    save_map(tmp_path / "old", replace(labelled, histograms=None))
    (tmp_path / "none").mkdir()
    same = open_labelled_map(tmp_path / "map", tmp_path / "none", label_window=0.02)  # needs no label map
    assert_same(same, labelled)
    assert open_labelled_map(tmp_path / "map", None).histograms is None
    made = open_labelled_map(tmp_path / "old", tmp_path / "labels", label_window=0.02)
    assert_same(made, labelled)
    wider = open_labelled_map(tmp_path / "map", tmp_path / "labels", label_window=0.1)
    assert wider.histograms.window == 0.1
    assert len(wider.histograms.labels) > len(labelled.histograms.labels)
    for name, window in (("old", 0.02), ("map", 0.1)):
        with pytest.raises(UsageError, match=f"{name} has no label histograms for --label-window {window}: give"):
            open_labelled_map(tmp_path / name, None, label_window=window)
    for image in toy_model().names[:2]:
        write_label_map(
            tmp_path / "other" / image.replace(".jpg", ".png"), np.zeros((CAMERA.height, CAMERA.width), int), 7
        )
    with pytest.raises(FgsnError, match=r"has 300 labels, but the label maps in .*other 7"):
        open_labelled_map(tmp_path / "old", tmp_path / "other", label_window=0.02)


def test_what_is_needed_depends_on_what_the_map_is(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / ARRAYS).touch()
    given = {"queries": (tmp_path,), "query_labels": tmp_path, "out": tmp_path}
    tracked = given | {"odometry": (tmp_path,), "start": tmp_path, "data": tmp_path, "data_labels": tmp_path}
    localized = given | {"hloc": tmp_path}
    check_map(TrackSettings(map=tmp_path / "folder", **tracked))
    check_map(TrackSettings(map=tmp_path, map_labels=tmp_path, **tracked))
    with pytest.raises(UsageError, match=f"--map-labels is required: {tmp_path} is not a map folder"):
        check_map(TrackSettings(map=tmp_path, **tracked))
    check_map(LocalizeSettings(map=tmp_path / "folder", label_window=0, **localized))
    check_map(LocalizeSettings(map=tmp_path / "folder", method="gsmc", priors=(tmp_path,), **localized))
    check_map(LocalizeSettings(map=tmp_path, method="p3p", **localized))
    for where in (tmp_path, tmp_path / "folder"):
        check_map(LocalizeSettings(map=where, map_labels=tmp_path, **localized))
    with pytest.raises(UsageError, match="--method ssmc requires --map-labels and --query-labels"):
        check_map(LocalizeSettings(map=tmp_path, **localized))
    check_map(LocalizeSettings(map=tmp_path / "folder", **localized))  # its histograms may do
    with pytest.raises(UsageError, match="is a map folder, without images: give --hloc"):
        check_map(LocalizeSettings(map=tmp_path / "folder", images=tmp_path, method="p3p", **given))
