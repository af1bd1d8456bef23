import io
import os

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from fgsn.data.images import image_size, list_images, read_image, unread_images
from fgsn.data.resize import resized
from fgsn.errors import FgsnError
from fgsn.inference.label_maps import write_label_map


@pytest.mark.parametrize("suffix", ["png", "ppm", "bmp", "tif", "webp"])
def test_colours_come_back(tmp_path, suffix):
    pixels = np.random.default_rng(0).integers(0, 256, (7, 11, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / f"x.{suffix}", lossless=True)
    image = read_image(tmp_path / f"x.{suffix}")
    np.testing.assert_array_equal(image, pixels)
    assert image.dtype == np.uint8
    assert image.flags.writeable
    assert image_size(tmp_path / f"x.{suffix}") == (11, 7)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16", "I"])
def test_every_mode_becomes_rgb(tmp_path, mode):
    path = tmp_path / ("x.tif" if mode in ("CMYK", "I") else "x.png")
    grey = np.full((4, 6), 200, np.uint8)
    if mode.startswith("I"):
        Image.fromarray(np.full((4, 6), 200 * 257, np.uint16 if mode == "I;16" else np.int32)).save(path)
    else:
        Image.fromarray(np.dstack([grey] * 3)).convert(mode, palette=Image.Palette.ADAPTIVE).save(path)
    expected = 255 if mode == "1" else 200
    image = read_image(path)
    assert image.shape == (4, 6, 3)
    if mode == "1":  # dithered
        assert set(np.unique(image)) <= {0, 255}
    else:
        np.testing.assert_allclose(image, expected, atol=1)


def test_palette_with_transparency(tmp_path):
    image = Image.new("P", (5, 5), 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    image.save(tmp_path / "x.png", transparency=b"\x00\x80")
    assert read_image(tmp_path / "x.png")[0, 0].tolist() == [10, 20, 30]


def test_exif_orientation_is_left_alone(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (8, 4)).save(tmp_path / "x.jpg", exif=exif)
    assert read_image(tmp_path / "x.jpg").shape == (4, 8, 3)
    assert image_size(tmp_path / "x.jpg") == (8, 4)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 0.9), suffix=st.sampled_from(["jpg", "png"]))
def test_cut_off_files_are_one_line(tmp_path, share, suffix):
    path = tmp_path / f"x.{suffix}"
    pixels = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, {"jpg": "jpeg"}.get(suffix, suffix))
    whole = buffer.getvalue()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(FgsnError, match=rf"x\.{suffix}") as failure:
        read_image(path)
    assert "\n" not in str(failure.value)


def test_foreign_files_are_one_line(tmp_path):
    (tmp_path / "x.png").write_text("not an image")
    for path, expected in ((tmp_path / "x.png", "is not an image"), (tmp_path / "no.png", "does not exist")):
        with pytest.raises(FgsnError, match=expected):
            read_image(path)
        with pytest.raises(FgsnError, match=expected):
            image_size(path)
    with pytest.raises(FgsnError):
        read_image(tmp_path)
    Image.new("F", (3, 3)).save(tmp_path / "x.tif")
    with pytest.raises(FgsnError, match="floating-point"):
        read_image(tmp_path / "x.tif")


@pytest.mark.parametrize("pixels", [10, 7])  # over the limit, and over twice the limit
def test_bombs_are_refused(tmp_path, monkeypatch, pixels, make_image):
    path = make_image(tmp_path / "x.png", 4, 4)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", pixels)
    with pytest.raises(FgsnError, match="make it smaller"):
        read_image(path)


def test_a_folder_is_listed_with_its_subfolders(tmp_path, make_image):
    for name in ("b/2.JPG", "b/c/1.png", "a.jpeg", ".hidden/x.png", "b/._2.jpg"):
        make_image(tmp_path / "set" / name.lower()).rename(tmp_path / "set" / name)
    (tmp_path / "set/readme.txt").write_text("no image")
    (tmp_path / "set/loop").symlink_to(tmp_path / "set")
    elsewhere = make_image(tmp_path / "elsewhere/3.png").parent
    (tmp_path / "set/linked").symlink_to(elsewhere)
    found = list_images(tmp_path / "set")
    assert [name for _, name in found] == ["a.jpeg", "b/2.JPG", "b/c/1.png", "linked/3.png"]
    assert all(path.is_absolute() and path.is_file() for path, _ in found)


def test_one_image_and_text_lists(tmp_path, make_image, monkeypatch):
    one = make_image(tmp_path / "a/1.png")
    two = make_image(tmp_path / "images/b/2.png")
    assert list_images(one) == [(one, "1.png")]
    names = tmp_path / "list.txt"
    names.write_text("# comment\na/1.png\n\nb/2.png\n./a/1.png\n")
    assert list_images(names) == [(one, "a/1.png"), (two, "b/2.png")]
    names.write_text(f"{one}\n{two}\n")
    assert list_images(names) == [(one, "a/1.png"), (two, "images/b/2.png")]
    names.write_text(f"{two}\n")
    assert list_images(names) == [(two, "2.png")]
    other = tmp_path / "lists" / "list.txt"
    other.parent.mkdir()
    other.write_text("a/1.png\n")
    monkeypatch.chdir(tmp_path)
    assert list_images(other) == [(one, "a/1.png")]


def test_what_is_wrong_with_a_list(tmp_path, make_image):
    make_image(tmp_path / "1.png")
    names = tmp_path / "lists" / "list.txt"
    names.parent.mkdir()
    for content, expected in (
        ("", "contains no images"),
        ("../1.png", "leaves"),
        ("2.png", "lists '2.png', which does not exist"),
    ):
        names.write_text(content)
        with pytest.raises(FgsnError, match=expected):
            list_images(names)
    with pytest.raises(FgsnError, match="does not exist"):
        list_images(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FgsnError, match="contains no images"):
        list_images(tmp_path / "empty")


def test_only_formats_of_images_are_tried_whatever_a_file_is_called(tmp_path, monkeypatch):
    """PostScript is run by Ghostscript, which `gs` in the search path would be."""
    (tmp_path / "gs").write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\nexit 1\n")
    (tmp_path / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    (tmp_path / "x.jpg").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n")
    for read in (read_image, image_size):
        with pytest.raises(FgsnError, match=r"x\.jpg is not an image"):
            read(tmp_path / "x.jpg")
    assert not (tmp_path / "ran").exists()


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "x.jpg")
    for read in (read_image, image_size):
        with pytest.raises(FgsnError, match=r"image .*x\.jpg is not a file"):
            read(tmp_path / "x.jpg")


def test_the_limit_of_pixels_holds_after_resizing(tmp_path, make_image):
    path = make_image(tmp_path / "strip.png", 1, 5000)
    assert read_image(path, 1).shape == (5000, 1, 3)
    with pytest.raises(FgsnError, match=r"strip\.png is too large: 1 x 5000 pixels become 480 x 2400000"):
        read_image(path, 480)
    with pytest.raises(FgsnError, match="use a smaller --short-side"):
        resized(read_image(path), 480)


def test_images_in_other_formats_are_counted(tmp_path):
    (tmp_path / "a").mkdir()
    for name in ("1.HEIC", "2.heic", "a/3.dng", "4.jpg", "notes.txt"):
        (tmp_path / name).touch()
    line = f"{tmp_path} contains images in formats that are not read: 1 .dng, 2 .heic; convert them to JPEG"
    assert unread_images(tmp_path) == [line]
    assert unread_images(tmp_path / "none") == []


@pytest.mark.parametrize("clusters", [5, 300])
def test_label_maps_are_not_photographs(tmp_path, clusters):
    write_label_map(tmp_path / "a.png", np.zeros((8, 8), int), clusters)
    with pytest.raises(FgsnError, match=r"a\.png is a label map of fgsn segment, not a photograph"):
        read_image(tmp_path / "a.png")
