"""One reader of HDF5: what the file itself stores, no more than it can hold; a writer that survives a full disk."""

import os
import subprocess
import sys
import tracemalloc
import zlib

import h5py
import numpy as np
import pytest

from fgsn.errors import FgsnError
from fgsn.formats.hdf5 import member, opened, stamp_of, stamped_arrays, stored_array, write_stamp, written


def external_link(file, other):
    file["a/b"] = h5py.ExternalLink(str(other), "a/b")


def soft_link(file, other):
    file["x"] = np.arange(3)
    file["a/b"] = h5py.SoftLink("/x")


def link_in_the_path(file, other):
    file["a"] = h5py.ExternalLink(str(other), "a")


def external_storage(file, other):
    file.create_dataset("a/b", (3,), "f8", external=[(str(other), 0, 24)])


def virtual(file, other):
    layout = h5py.VirtualLayout((3,), "f8")
    layout[:] = h5py.VirtualSource(str(other), "a/b", (3,))
    file.create_virtual_dataset("a/b", layout)


def declared_only(file, other):
    file.create_dataset("a/b", (2**25,), "f8", chunks=(1024,))


def large_chunk(file, other):
    file.create_dataset("a/b", (20, 2), "f8", maxshape=(None, 2), chunks=(2**22, 2), compression="gzip")[:] = 0


def compressed_twice(file, other):
    layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    layout.set_chunk((1024, 1024)), layout.set_deflate(9), layout.set_deflate(9)
    space = h5py.h5s.create_simple((1024, 1024))
    stored = h5py.h5d.create(file.create_group("a").id, b"b", h5py.h5t.IEEE_F64LE, space, layout)
    stored.write_direct_chunk((0, 0), zlib.compress(zlib.compress(bytes(2**23), 9), 9))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (external_link, "a/b is a link"),
        (soft_link, "a/b is a link"),
        (link_in_the_path, "a/b is a link"),
        (external_storage, "a/b is stored in another file"),
        (virtual, "a/b is stored in another file"),
        (declared_only, "contains only 0 bytes of it"),
        (large_chunk, "320 bytes in chunks of 67108864"),
        (compressed_twice, "a/b is compressed more than once"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_is_not_in_the_file_is_refused_before_memory_is_taken(tmp_path, make, says):
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["a/b"] = np.arange(3.0)
    with h5py.File(tmp_path / "f.h5", "w") as file:
        make(file, tmp_path / "secret.h5")
    tracemalloc.start()
    try:
        with pytest.raises(FgsnError, match=rf"^{tmp_path}/f\.h5: .*{says}"), opened(tmp_path / "f.h5") as file:
            stored_array(file, "a/b")
        assert tracemalloc.get_traced_memory()[1] < 10e6
    finally:
        tracemalloc.stop()


def test_members_are_found_by_path_and_links_are_not_looked_through(tmp_path):
    os.mkfifo(tmp_path / "pipe.h5")  # whoever opened it would wait forever
    with h5py.File(tmp_path / "f.h5", "w") as file:
        file["a/b"] = np.arange(3)
        file["pipe"] = h5py.ExternalLink(str(tmp_path / "pipe.h5"), "x")
    with opened(tmp_path / "f.h5") as file:
        assert stored_array(file, "./a/b").tolist() == [0, 1, 2]
        assert member(file, "a/c") is None
        assert member(file, "a/b/c") is None
        with pytest.raises(FgsnError, match="links are not followed"):
            member(file, "pipe/x")
    with pytest.raises(FgsnError, match=r"pipe\.h5 is not a file"), opened(tmp_path / "pipe.h5"):
        pass


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path):
    script = (
        "import resource, signal, sys, numpy; from fgsn.formats.hdf5 import written\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))\n"
        "with written(sys.argv[1]) as file: file['a'] = numpy.arange(10_000.0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "a.h5"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == f"fgsn.errors.CannotWriteError: cannot write {tmp_path}/a.h5: File too large"
    assert list(tmp_path.iterdir()) == []


def test_equal_content_gives_equal_bytes_after_the_header(tmp_path):
    for name in "ab":
        with written(tmp_path / name, b"header") as file:
            file.create_dataset("x", data=np.arange(3), track_times=False)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert (tmp_path / "a").read_bytes().startswith(b"header")


@pytest.mark.parametrize("stamp", ["", "3-5", "ü" * 300])
def test_a_stamp_comes_back(tmp_path, stamp):
    with written(tmp_path / "a.h5") as file:
        write_stamp(file, stamp)
        file["a/b"] = np.arange(3)
    with opened(tmp_path / "a.h5") as file:
        assert stamp_of(file) == stamp
    (values,) = stamped_arrays(tmp_path / "a.h5", "a", ("b",), stamp) or ()
    assert values.tolist() == [0, 1, 2]
    assert stamped_arrays(tmp_path / "a.h5", "a", ("b",), "other") is None


@pytest.mark.parametrize("stamp", ["3-5", 3, [b"3-5"]])
def test_a_stamp_of_variable_length_is_not_read(tmp_path, stamp):
    """HDF5 reads a damaged one for ever."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.attrs["stamp"] = stamp
        file["a/b"] = np.arange(3)
    with opened(tmp_path / "a.h5") as file:
        assert stamp_of(file) == ""
    assert stamped_arrays(tmp_path / "a.h5", "a", ("b",), "3-5") is None
