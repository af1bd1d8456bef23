"""Whatever is in a file, it is read or refused in one line that names it, and takes no more memory than it should."""

import io
import json
import random
import struct
import tracemalloc
import warnings
import zipfile
import zlib

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from damage import FORMATS, Trial, damaged
from fgsn.correspond.depth_maps import read_depth
from fgsn.data.correspondences import read_correspondences
from fgsn.data.images import read_image
from fgsn.errors import FgsnError, one_line
from fgsn.files import read_json, read_yaml
from fgsn.geometry.colmap import read_model
from fgsn.inference.label_maps import read_label_map
from fgsn.inference.model import load
from fgsn.models.imported_weights import read_published_codebook, read_weights

EXAMPLES = 20


@pytest.fixture(scope="module")
def trials(tmp_path_factory):
    """A place to try each format in, made when it is first wanted."""
    made = {}

    def trial(name):
        if name not in made:
            made[name] = Trial(name, tmp_path_factory.mktemp("damage") / "here")
        return made[name]

    return trial


@pytest.mark.parametrize("name", FORMATS)
def test_a_damaged_file_is_read_or_refused(trials, name):
    trial = trials(name)

    @settings(max_examples=EXAMPLES, deadline=None, database=None)
    @given(st.integers(0, 10**9))
    def damage(seed):
        assert trial(seed) == ""

    @settings(max_examples=EXAMPLES // 2, deadline=None, database=None)
    @given(st.sampled_from(FORMATS[name].files), st.binary() | st.text(max_size=60).map(str.encode))
    def anything(file, data):
        assert trial.holding(file, data) == ""

    with warnings.catch_warnings(action="ignore"):  # of Pillow, about what it reads all the same
        damage()
        anything()


def test_damage_is_the_same_for_the_same_number():
    data = b"reference 1 0 0 0 0.5\n" * 20
    made = [damaged(data, random.Random(number)) for number in (*range(40), *range(40))]
    assert made[:40] == made[40:]
    assert len(set(made)) > 35
    assert data not in made[:30] or made[:40].count(data) < 5


# Headers that promise what is not there, and files that hold much more than they seem to.


def promising_h5(path, shape, key="pt_i", **how):
    with h5py.File(path, "w") as file:
        file.create_dataset(key, shape, "f8", **how)


def text(folder, name, content):
    (folder / name).write_text(content)
    return folder / name


def png_of(width, height):
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 999)) + chunk(b"IEND", b"")
    )


def mat(folder):
    promising_h5(folder / "a.mat", (10**12, 2), chunks=(1000, 2), compression="gzip")
    return lambda: read_correspondences(folder / "a.mat")


def mat_below_the_limit(folder):
    with h5py.File(folder / "a.mat", "w") as file:
        for key in ("im_i_path", "im_j_path"):
            file[key] = np.array([[97]], np.uint16)
    with h5py.File(folder / "a.mat", "a") as file:
        file.create_dataset("pt_i", (20_000_000, 2), "f8", chunks=(1000, 2))
    return lambda: read_correspondences(folder / "a.mat")


def codebook(folder):
    promising_h5(folder / "c.h5", (10**6, 10**6), "pca_transform_Amat", chunks=(10, 10))
    return lambda: read_published_codebook(folder / "c.h5")


def binary_model(folder):
    (folder / "cameras.bin").write_bytes(struct.pack("<Q", 10**12))
    return lambda: read_model(folder)


def binary_points(folder):
    (folder / "cameras.bin").write_bytes(struct.pack("<QIiQQ4d", 1, 1, 1, 64, 48, 50, 50, 32, 24))
    image = struct.pack("<I7dI", 1, 1, 0, 0, 0, 0, 0, 0, 1) + b"a.jpg\0" + struct.pack("<Q", 10**12)
    (folder / "images.bin").write_bytes(struct.pack("<Q", 1) + image)
    (folder / "points3D.bin").write_bytes(struct.pack("<Q", 10**12))
    return lambda: read_model(folder)


def safetensors(folder):
    header = json.dumps({"w": {"dtype": "F32", "shape": [10**6, 10**6], "data_offsets": [0, 4 * 10**12]}}).encode()
    for name in ("m.safetensors", "w.safetensors"):
        (folder / name).write_bytes(len(header).to_bytes(8, "little") + header)
    return lambda: load(folder / "m.safetensors")


def weights_safetensors(folder):
    safetensors(folder)
    return lambda: read_weights(folder / "w.safetensors")


def header_of_the_model(folder):
    (folder / "m.safetensors").write_bytes((10**12).to_bytes(8, "little") + b"{}")
    return lambda: load(folder / "m.safetensors")


def npy_header(shape):
    out = io.BytesIO()
    np.lib.format.write_array_header_1_0(out, {"shape": shape, "fortran_order": False, "descr": "<f4"})
    return out.getvalue()


def npy(folder):
    (folder / "d.npy").write_bytes(npy_header((10**6, 10**6)))
    return lambda: read_depth(folder / "d.npy", 1.0)


def npy_below_the_limit(folder):
    (folder / "d.npy").write_bytes(npy_header((9000, 9000)))
    return lambda: read_depth(folder / "d.npy", 1.0)


def npz(folder):
    with zipfile.ZipFile(folder / "d.npz", "w", zipfile.ZIP_DEFLATED) as archive, archive.open("d.npy", "w") as file:
        file.write(npy_header((10**6, 10**6)))
        for _ in range(100):
            file.write(bytes(10**6))
    return lambda: read_depth(folder / "d.npz", 1.0)


def pfm(folder):
    (folder / "d.pfm").write_bytes(b"Pf\n1000000 1000000\n-1.0\n" + bytes(100))
    return lambda: read_depth(folder / "d.pfm", 1.0)


def picture(folder):
    (folder / "p.png").write_bytes(png_of(100_000, 100_000))
    return lambda: read_image(folder / "p.png")


def label_map(folder):
    (folder / "p.png").write_bytes(png_of(100_000, 100_000))
    return lambda: read_label_map(folder / "p.png")


def nested_json(folder):
    path = text(folder, "a.json", '{"a":' * 100_000)
    return lambda: read_json(path)


def nested_yaml(folder):
    path = text(folder, "a.yaml", "a: " + "[" * 10_000)
    return lambda: read_yaml(path)


def laughing_yaml(folder):
    """Nine lists of nine, each naming the one before nine times: a billion words if they were copied."""
    lines = ["a0: &a0 [" + ", ".join(["lol"] * 9) + "]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10)]
    path = text(folder, "a.yaml", "\n".join(lines))
    return lambda: read_yaml(path)


PROMISES = (
    mat, mat_below_the_limit, codebook, binary_model, binary_points, safetensors, weights_safetensors,
    header_of_the_model, npy, npy_below_the_limit, npz, pfm, picture, label_map, nested_json, nested_yaml,
    laughing_yaml,
)  # fmt: skip


@pytest.mark.parametrize("make", PROMISES, ids=lambda make: make.__name__)
def test_a_file_that_promises_too_much_is_refused_before_memory_is_taken(tmp_path, make):
    read = make(tmp_path)
    tracemalloc.start()
    try:
        with pytest.raises(FgsnError, match=str(tmp_path)) as error:
            read()
        assert tracemalloc.get_traced_memory()[1] < 30e6
    finally:
        tracemalloc.stop()
    assert str(error.value).isprintable()


def test_one_line_whatever_is_quoted():
    assert one_line("plain é 雪") == "plain é 雪"
    assert one_line("a\nb\x1b[31m\u2028\ud800") == r"a\nb\x1b[31m\u2028\ud800"
    assert str(FgsnError("a\nb")) == r"a\nb"
    long = one_line("x" * 10**6 + "the end")
    assert len(long) < 1100
    assert long.endswith("the end")


def test_links_to_other_files_are_not_followed(tmp_path):
    promising_h5(tmp_path / "secret.h5", (3,), "pca_transform_Amat")
    with h5py.File(tmp_path / "c.h5", "w") as file:
        file["pca_transform_Amat"] = h5py.ExternalLink("secret.h5", "pca_transform_Amat")
    with pytest.raises(FgsnError, match=r"c\.h5: pca_transform_Amat is a link"):
        read_published_codebook(tmp_path / "c.h5")
