"""Maps in the colours of their labels, read back by readers that are not ours."""

import numpy as np
import pytest
import trimesh

from fgsn.config import ExportSettings
from fgsn.errors import FgsnError, UsageError
from fgsn.export.export import export
from fgsn.geometry.colmap import read_model, write_model
from fgsn.inference.colours import palette
from fgsn.inference.label_maps import write_label_map
from fgsn.localization.labelled_map import make_labelled_map
from localization.toy import CAMERA, toy_model

K = 5


@pytest.fixture
def given(tmp_path, make_model):
    """A model, a map and label maps of two of its three images; one point is seen by the third alone."""
    make_model(classes=K, names=False).save(tmp_path / "model.safetensors")
    toy = toy_model()
    rows = np.nonzero((toy.track_point > 0) | (toy.track_image == 2))[0]
    for name in ("track_point", "track_image", "track_pixels"):
        object.__setattr__(toy, name, getattr(toy, name)[rows])
    write_model(tmp_path / "sparse", toy)
    for name in toy.names[:2]:
        labels = np.arange(CAMERA.width)[None].repeat(CAMERA.height, axis=0) % K
        write_label_map((tmp_path / "labels" / name).with_suffix(".png"), labels, K)
    return {"model": tmp_path / "model.safetensors", "map": tmp_path / "sparse", "map_labels": tmp_path / "labels",
            "out": tmp_path / "out"}  # fmt: skip


def test_ply_and_colmap(given):
    results = export(ExportSettings(format=("ply", "colmap"), **given))
    wanted = make_labelled_map(read_model(given["map"]), given["map_labels"])
    assert results["ply"]["points_with_label"] == len(wanted.points) - 1 == 19
    colours = np.where((wanted.labels >= 0)[:, None], palette(K)[wanted.labels], 128)
    cloud = trimesh.load(given["out"] / "labels.ply")
    assert cloud.vertices == pytest.approx(wanted.points)
    assert (cloud.colors[:, :3] == colours).all()
    found = read_model(given["out"] / "colmap")
    assert (found.colours == colours).all()
    assert found.points == pytest.approx(wanted.points)
    rows = np.loadtxt(given["out"] / "colmap" / "labels.txt")
    assert rows[:, 0].tolist() == list(range(1, 21))
    assert rows[:, 1].tolist() == wanted.labels.tolist()
    assert rows[:, 2] == pytest.approx(wanted.confidence, abs=1e-4)


def test_labels_of_another_model_are_refused(given, make_model):
    make_model(classes=K + 1).save(given["model"])
    with pytest.raises(FgsnError, match=r"5 labels, but .* has 6; give the model"):
        export(ExportSettings(format=("ply",), **given))


def test_what_a_format_wants(given):
    del given["map_labels"]
    with pytest.raises(UsageError, match="--format colmap requires --map-labels"):
        ExportSettings(format=("colmap",), **given)
    with pytest.raises(UsageError, match="--format hloc requires --images and --keypoints"):
        ExportSettings(format=("hloc",), model=given["model"], out=given["out"])
