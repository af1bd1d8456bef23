import numpy as np
import pytest
from PIL import Image

import plain_scene as scene
from fgsn.correspond.depth_maps import DepthMaps, DepthView, read_depth
from fgsn.errors import FgsnError

POSE = scene.drive(1, 0.0)[0]
DEPTH = scene.depth_map(scene.CAMERA, POSE)


def save(path, depth, unit):
    path.parent.mkdir(parents=True, exist_ok=True)
    stored = np.nan_to_num(depth / unit, nan=0)
    if path.suffix == ".png":
        Image.fromarray(np.rint(stored).astype(np.uint16)).save(path)
    elif path.suffix == ".npy":
        np.save(path, stored)
    elif path.suffix == ".npz":
        np.savez_compressed(path, depth=stored)
    else:
        Image.fromarray(stored.astype(np.float32)).save(path)
    return path


@pytest.mark.parametrize("suffix", [".png", ".npy", ".npz", ".tif", ".tiff"])
def test_every_format_is_read(tmp_path, suffix):
    depth = read_depth(save(tmp_path / f"d{suffix}", DEPTH, 0.001), 0.001)
    assert depth.dtype == np.float32
    known = np.isfinite(DEPTH) & (DEPTH < 65)
    assert depth[known] == pytest.approx(DEPTH[known], abs=0.001)
    assert np.isnan(depth[np.isnan(DEPTH)]).all()


def test_the_map_of_an_image_is_found_by_its_name(tmp_path):
    maps = DepthMaps(tmp_path, 0.01)
    images = scene.images("a", scene.drive(3, 0.0))
    save(tmp_path / "a/c0/000.png", DEPTH, 0.01)
    save(tmp_path / "a/c0/001.jpg.npy", DEPTH[::2, ::2], 0.01)
    assert maps.view(images, 0).depth.shape == (72, 96)
    assert maps.view(images, 1).depth.shape == (36, 48)
    with pytest.raises(FgsnError, match=r"'a/c0/002\.jpg' has no depth map .*002\.png"):
        maps.view(images, 2)
    with pytest.raises(FgsnError, match="leaves its root"):
        maps.file("../x.jpg")
    save(tmp_path / "a/c0/002.png", DEPTH[:, :60], 0.01)
    with pytest.raises(FgsnError, match="60 x 72 pixels, but the camera of its image has 96 x 72"):
        maps.view(images, 2)


def test_depth_between_pixels_is_exact_on_planes():
    view = DepthView(scene.CAMERA, POSE, DEPTH.astype(np.float32))
    pixels = np.random.default_rng(0).uniform(0, (95, 71), (500, 2))
    truth = POSE.transform(scene.look(scene.CAMERA, POSE, pixels))[:, 2]
    between, nearest = view.depths_at(pixels)
    off = np.abs(between / truth - 1)
    assert np.nanmedian(off) < 1e-5
    assert np.nanmedian(np.abs(nearest / truth - 1)) > 1e-3
    assert np.isnan(view.depths_at(np.array([[-1.0, 3.0], [np.nan, 3.0]]))).all()
    rows = view.smooth_rows
    assert view.depths_at(view.pixels(rows))[0] == pytest.approx(DEPTH.ravel()[rows], rel=1e-5)
    back, depth = view.project(view.world(view.pixels(rows), DEPTH.ravel()[rows]))
    assert back == pytest.approx(view.pixels(rows))
    assert depth == pytest.approx(DEPTH.ravel()[rows])


def test_pixels_at_edges_are_not_steady():
    noisy = np.where(np.random.default_rng(0).random(DEPTH.shape) < 0.5, DEPTH, DEPTH * 1.5).astype(np.float32)
    clean = DepthView(scene.CAMERA, POSE, DEPTH.astype(np.float32))
    known = np.isfinite(DEPTH).sum()
    assert len(clean.smooth_rows) > 0.8 * known
    assert len(DepthView(scene.CAMERA, POSE, noisy).smooth_rows) < 0.55 * known
    nothing = DepthView(scene.CAMERA, POSE, np.full((72, 96), np.nan, np.float32))
    assert len(nothing.smooth_rows) == 0


def test_a_smaller_map_covers_the_same_image():
    half = DepthView(scene.CAMERA, POSE, DEPTH[::2, ::2].astype(np.float32))
    pixels = half.pixels(np.array([0, 1, 48]))
    assert pixels == pytest.approx(np.array([[0.5, 0.5], [2.5, 0.5], [0.5, 2.5]]))
    assert half.depths_at(half.pixels(half.smooth_rows))[1] == pytest.approx(half.depth.ravel()[half.smooth_rows])


def test_what_is_no_depth_map_is_reported_in_one_line(tmp_path):
    def refused(path, message):
        with pytest.raises(FgsnError, match=message) as error:
            read_depth(path, 1.0)
        assert path.name in str(error.value)
        assert "\n" not in str(error.value)

    refused(tmp_path / "absent.png", "does not exist")
    refused(tmp_path / "absent.npy", "cannot read")
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "colour.png")
    refused(tmp_path / "colour.png", "an image of mode RGB")
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "grey.png")
    refused(tmp_path / "grey.png", "an image of mode L")
    for name, array, message in (
        ("eight", np.zeros((8, 8), np.uint8), "8 bits"),
        ("flat", np.zeros(64), "should contain one depth map"),
        ("volume", np.zeros((8, 8, 3)), "should contain one depth map"),
        ("words", np.array([["a"] * 8] * 8), "should contain one depth map"),
    ):
        np.save(tmp_path / f"{name}.npy", array)
        refused(tmp_path / f"{name}.npy", message)
    np.save(tmp_path / "pickle.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    refused(tmp_path / "pickle.npy", "an array of numbers, not object")
    np.savez(tmp_path / "two.npz", a=DEPTH, b=DEPTH)
    refused(tmp_path / "two.npz", "one array, but contains a, b")
    for suffix in (".png", ".npy", ".npz", ".tif"):
        whole = save(tmp_path / f"whole{suffix}", DEPTH, 0.01).read_bytes()
        path = tmp_path / f"cut{suffix}"
        for size in (0, 10, len(whole) // 2):
            path.write_bytes(whole[:size])
            refused(path, "broken or cut off|cut off near|not a readable NumPy file|cannot read")


def test_pfm_as_networks_of_depth_write_it(tmp_path):
    """From the bottom row up, little endian where the scale is negative."""
    (tmp_path / "d.pfm").write_bytes(b"Pf\n32 24\n-1.0\n" + DEPTH_PFM[::-1].astype("<f4").tobytes())
    np.testing.assert_allclose(read_depth(tmp_path / "d.pfm", 0.5), DEPTH_PFM * 0.5, rtol=1e-6)


DEPTH_PFM = np.arange(1, 32 * 24 + 1, dtype=np.float32).reshape(24, 32)
