import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from fgsn.errors import FgsnError
from fgsn.inference.colours import palette
from fgsn.inference.label_maps import read_label_map, read_palette, write_label_map

COUNTS = [1, 2, 16, 17, 255, 256, 257, 1000, 4096, 65536]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_round_trip(tmp_path, data):
    clusters = data.draw(st.sampled_from(COUNTS))
    shape = data.draw(arrays.array_shapes(min_dims=2, max_dims=2, max_side=12))
    dtype = data.draw(st.sampled_from([np.int32, np.int64, np.uint16]))
    labels = data.draw(arrays.arrays(dtype, shape, elements=st.integers(0, clusters - 1)))
    colours = np.resize(np.arange(251, dtype=np.uint8), (clusters, 3))
    write_label_map(tmp_path / "map.png", labels, clusters, colours)
    read, count = read_label_map(tmp_path / "map.png")
    assert count == clusters
    np.testing.assert_array_equal(read, labels)
    np.testing.assert_array_equal(read_palette(tmp_path / "map.png"), colours)


@pytest.mark.parametrize("clusters", [256, 257, 1000, 4096])
def test_every_label_survives_the_last_and_255_among_them(tmp_path, clusters):
    labels = np.arange(clusters).reshape(1, -1)
    write_label_map(tmp_path / "map.png", labels, clusters)
    np.testing.assert_array_equal(read_label_map(tmp_path / "map.png")[0], labels)
    np.testing.assert_array_equal(read_palette(tmp_path / "map.png"), palette(clusters))


def test_views_and_byte_orders_do_not_matter(tmp_path):
    labels = np.arange(600, dtype=">u2").reshape(20, 30)[::-1, ::2]
    write_label_map(tmp_path / "map.png", labels, 600)
    np.testing.assert_array_equal(read_label_map(tmp_path / "map.png")[0], labels)


def test_other_programs_see_a_palette_image_or_16_bits(tmp_path):
    write_label_map(tmp_path / "few.png", np.array([[0, 3]]), 4)
    bits_per_pixel = (tmp_path / "few.png").read_bytes()[24]
    assert bits_per_pixel == 8
    with Image.open(tmp_path / "few.png") as image:
        assert image.mode == "P"
        assert tuple(np.asarray(image.convert("RGB"))[0, 1]) == tuple(palette(4)[3])
    write_label_map(tmp_path / "many.png", np.array([[0, 299]]), 300)
    with Image.open(tmp_path / "many.png") as image:
        assert image.mode == "I;16"
        assert np.asarray(image)[0, 1] == 299


@pytest.mark.parametrize(
    ("labels", "clusters", "message"),
    [
        (np.array([[0, 5]]), 5, "range from 0 to 5"),
        (np.array([[-1, 0]]), 5, "range from -1"),
        (np.zeros((2, 2)), 5, "integers"),
        (np.zeros(4, int), 5, "height, width"),
        (np.zeros((0, 4), int), 5, "height, width"),
        (np.zeros((2, 2), int), 65537, "65536"),
        (np.zeros((2, 2), int), 3.0, "a whole number, 1 to 65536, not 3.0"),
        (None, 5, "height, width"),
    ],
)
def test_labels_that_do_not_fit_are_refused_and_nothing_is_left(tmp_path, labels, clusters, message):
    with pytest.raises(FgsnError, match=message) as failure:
        write_label_map(tmp_path / "map.png", labels, clusters)
    assert "\n" not in str(failure.value)
    assert not list(tmp_path.iterdir())


def test_a_missing_source_is_told(tmp_path):
    with pytest.raises(FgsnError, match=r"cannot read .*a\.jpg: No such file"):
        write_label_map(tmp_path / "map.png", np.zeros((2, 2), int), 5, source=tmp_path / "a.jpg")


@pytest.mark.parametrize("colours", [palette(4), palette(5) / 255, palette(5).astype(int) + 256])
def test_a_palette_of_another_size_or_kind_is_refused(tmp_path, colours):
    with pytest.raises(FgsnError, match=r"palette of \(5, 3\) values 0 to 255, not"):
        write_label_map(tmp_path / "map.png", np.zeros((2, 2), int), 5, colours)


def test_a_file_that_is_no_label_map_says_so(tmp_path):
    with pytest.raises(FgsnError, match="does not exist"):
        read_label_map(tmp_path / "none.png")
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(FgsnError, match="not a readable PNG"):
        read_label_map(tmp_path / "text.png")
    Image.new("RGB", (4, 4)).save(tmp_path / "photo.png")
    with pytest.raises(FgsnError, match="how many labels"):
        read_label_map(tmp_path / "photo.png")


def test_a_cut_file_says_so(tmp_path):
    path = tmp_path / "map.png"
    write_label_map(path, np.random.default_rng(0).integers(0, 900, (40, 40)), 900)
    path.write_bytes(path.read_bytes()[:-700])
    with pytest.raises(FgsnError, match="not a readable PNG") as failure:
        read_label_map(path)
    assert "\n" not in str(failure.value)
