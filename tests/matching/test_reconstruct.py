import signal
import sys

import numpy as np
import pytest

from fgsn import extras
from fgsn.errors import FgsnError, MissingExtraError
from fgsn.matching.candidates import all_pairs, neighbours_in_order
from fgsn.matching.features import Features
from fgsn.matching.reconstruct import reconstruct
from matched_scene import CAMERA, make_scene

pycolmap = pytest.importorskip("pycolmap")
SUMMER, WINTER = [f"summer/c0/{n}.png" for n in range(6)], [f"winter/c0/{n}.png" for n in range(5)]


def pairs_of(summer, winter):
    return [*neighbours_in_order(summer, 5), *neighbours_in_order(winter, 5), *all_pairs(summer, winter)]


@pytest.mark.parametrize("known", [True, False])
def test_one_model_over_two_conditions(tmp_path, known, capfd):
    scene = make_scene(tmp_path, [*SUMMER, *WINTER], points=400)
    scene.images[SUMMER[3]].write_bytes(b"broken")
    features = Features(scene.images, scene.matcher, tmp_path / "work", longest=0)
    cameras = dict.fromkeys(scene.images, CAMERA) if known else None
    pairs = pairs_of(SUMMER, WINTER)
    left = tmp_path / ".models.part" / "7" / "cameras.bin"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"of a killed run")
    (folder, *others) = reconstruct(features, pairs, tmp_path / "models", cameras, seed=1)
    assert not others
    assert not left.parents[1].exists()
    assert [model.name for model in (tmp_path / "models").iterdir()] == ["0"]
    assert folder == tmp_path / "models" / "0"
    output = capfd.readouterr()
    assert output.out == ""
    assert all(line.split(":")[0] in _PHASES for line in output.err.splitlines())
    read = pycolmap.Reconstruction(folder)
    registered = {image.name: image for image in read.images.values() if image.has_pose}
    assert set(registered) == {*SUMMER, *WINTER} - {SUMMER[3]}
    assert read.num_points3D() > 200
    assert read.compute_num_observations() > 5 * 200
    assert read.compute_mean_reprojection_error() < 1.0
    names = list(scene.images)
    truth = np.array([scene.poses[names.index(name)].centre for name in registered])
    off = _aligned(np.array([image.projection_center() for image in registered.values()]), truth)
    assert off.max() < (0.03 if known else 0.3)  # metres; the cameras span three
    cameras_there = {camera.model_name for camera in read.cameras.values()}
    assert cameras_there == ({"PINHOLE"} if known else {"SIMPLE_RADIAL"})
    assert len(read.cameras) == (1 if known else 2)
    if known:
        assert next(iter(read.cameras.values())).params == pytest.approx(CAMERA.parameters)
    else:
        assert [camera.params[0] for camera in read.cameras.values()] == pytest.approx([300, 300], rel=0.2)


_PHASES = {"features", "matching", "verifying", "mapping"}


def test_one_line_where_nothing_can_be_built(tmp_path):
    scene = make_scene(tmp_path, SUMMER[:3], points=300)
    for number, found in enumerate(scene.matcher.found):
        np.random.default_rng(number).shuffle(found.descriptors)
    features = Features(scene.images, scene.matcher, tmp_path / "work", longest=0)
    with pytest.raises(FgsnError, match="no pair of images has enough verified matches"):
        reconstruct(features, neighbours_in_order(SUMMER[:3], 2), tmp_path / "models")
    assert not (tmp_path / "models").exists()
    (tmp_path / "models").mkdir()
    with pytest.raises(FgsnError, match="already exists; remove it"):
        reconstruct(features, neighbours_in_order(SUMMER[:3], 2), tmp_path / "models")


def test_missing_package_is_named(monkeypatch, tmp_path):
    scene = make_scene(tmp_path, SUMMER[:2])
    monkeypatch.setitem(sys.modules, "pycolmap", None)
    with pytest.raises(MissingExtraError, match="pycolmap"):
        reconstruct(Features(scene.images, scene.matcher, tmp_path, 0), [tuple(SUMMER[:2])], tmp_path / "models")


def test_pycolmap_leaves_signals_and_its_log_alone():
    before = signal.getsignal(signal.SIGTERM)
    try:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        log = extras.pycolmap().logging
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)
    level = log.minloglevel
    with extras.pycolmap_quiet():
        assert log.minloglevel > level
    assert log.minloglevel == level


def _aligned(points: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Distances (N,) after the best similarity (Umeyama, 1991)."""
    a, b = points - points.mean(axis=0), truth - truth.mean(axis=0)
    u, scale, vt = np.linalg.svd(b.T @ a)
    sign = np.diag([1, 1, np.sign(np.linalg.det(u @ vt))])
    rotation = u @ sign @ vt
    size = (scale * np.diag(sign)).sum() / (a**2).sum()
    return np.linalg.norm(size * a @ rotation.T - b, axis=1)
