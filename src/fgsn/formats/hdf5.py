"""HDF5 files of unknown origin: numbers only, stored in the file itself, of a plausible size; and atomic writing."""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from fgsn.errors import CannotWriteError, FgsnError, reason
from fgsn.files import as_path, atomic_write

MOST_VALUES = 50_000_000
BEST_COMPRESSION = 1100
"""Largest ratio of an array's bytes to its stored bytes; deflate reaches 1032."""
LARGEST_CHUNK = 1 << 24
"""Bytes of a chunk of an array that is smaller: a whole chunk is read for a single number."""
_H5PY_ERRORS = (OSError, KeyError, RuntimeError, TypeError, AttributeError, ValueError, MemoryError)
"""What h5py raises over damaged files."""
_HARMLESS_FILTERS = {h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32, h5py.h5z.FILTER_NBIT}
"""Filters that change the size of a chunk little."""
_SMALL = 1_000_000


@contextmanager
def opened(path: Path | str, kind: str = "HDF5 file", advice: str = "") -> Iterator[h5py.File]:
    """Open a file for reading; every error in the body becomes one line (FgsnError) that names the file.

    `kind` is what the file should be, for messages, and `advice` what to do if it is not.
    """
    path = as_path(path)
    if not path.is_file():
        raise FgsnError(f"{path} {'is not a file' if path.exists() else 'does not exist'}")
    try:
        # Without locking: locks fail on many network file systems, and our own files are written atomically.
        with h5py.File(path, "r", locking=False) as file:
            yield file
    except FgsnError as error:
        raise type(error)(str(error) if str(path) in str(error) else f"{path}: {error}") from None
    except _H5PY_ERRORS as error:
        why = reason(error)
        raise FgsnError(f"{path} is not a readable {kind}, or is damaged: {why}{advice and f'; {advice}'}") from None


@contextmanager
def written(path: Path | str, header: bytes = b"") -> Iterator[h5py.File]:
    """Open a new file for writing, atomically; equal content gives equal bytes. FgsnError if it cannot be written.

    `header` are up to 512 bytes before the HDF5 content.
    """
    with atomic_write(path) as aside:
        try:
            # Without locking, as `atomic_write` has locked it.
            options = {"libver": "earliest", "locking": False}
            with h5py.File(aside, "w", **options, userblock_size=512 if header else None) as file:
                yield file
            if header:
                with aside.open("r+b") as raw:
                    raw.write(header)
        except (OSError, RuntimeError) as error:  # of a full disk, h5py says a dozen things, one of which matters
            number = re.search(r"errno = (\d+)", str(error))
            why = os.strerror(int(number[1])) if number else reason(error)
            raise CannotWriteError(f"cannot write {path}: {why}") from None


def write_stamp(file: h5py.File, stamp: str) -> None:
    """Store what the content was made from."""
    file.attrs["stamp"] = np.bytes_(stamp.encode() or b"\0")


def stamp_of(file: h5py.File) -> str:
    """What `write_stamp` stored, '' if nothing; a text of variable length is not read, as HDF5 may never return."""
    found = file.attrs.get_id("stamp") if "stamp" in file.attrs else None
    fixed = found is not None and found.shape == () and found.dtype.kind == "S"
    text: Any = file.attrs["stamp"] if fixed else b""
    return text.decode(errors="replace")


def member(file: h5py.File, key: str) -> h5py.Group | h5py.Dataset | None:
    """The group or array stored under `key`, a path of names; None if there is none.

    Raises FgsnError if it is a link, which would make one file read another.
    """
    stored: Any = file
    for part in key.split("/"):
        if part in ("", "."):
            continue
        link = stored.get(part, getlink=True) if isinstance(stored, h5py.Group) else None
        if link is None:
            return None
        if not isinstance(link, h5py.HardLink):
            raise FgsnError(f"{key} is a link; links are not followed")
        stored = stored[part]
    return stored


def stored_array(file: h5py.File, key: str, most: int = MOST_VALUES) -> np.ndarray[Any, Any]:
    """The numbers, at most `most`, stored under the path `key`; an empty MATLAB array is returned with size 0.

    Raises:
        FgsnError: it is missing, is not an array of numbers, is stored in another file, or claims to be larger than the
            file allows; the message names the key, not the file.
    """
    stored = member(file, key)
    if stored is None:
        raise FgsnError(f"{key} is missing (the file contains {', '.join(map(repr, file)) or 'nothing'})")
    if not isinstance(stored, h5py.Dataset):
        raise FgsnError(f"{key} is not an array")
    if stored.external or stored.is_virtual:
        raise FgsnError(f"{key} is stored in another file; refused")
    if stored.dtype.kind not in "fiu":
        raise FgsnError(f"{key} should contain numbers, not {stored.dtype}")
    if "MATLAB_empty" in stored.attrs:
        return np.empty(0, stored.dtype)
    if stored.size is None or stored.size > most:
        raise FgsnError(f"{key} has shape {stored.shape}, more than the limit of {most} values")
    layout = stored.id.get_create_plist()
    filters = [layout.get_filter(number)[0] for number in range(layout.get_nfilters())]
    if len([one for one in filters if one not in _HARMLESS_FILTERS]) > 1:
        raise FgsnError(f"{key} is compressed more than once; refused")
    size = stored.id.get_storage_size()
    if stored.nbytes > max(_SMALL, size * BEST_COMPRESSION):
        raise FgsnError(f"{key} has shape {stored.shape}, but the file contains only {size} bytes of it; it is damaged")
    chunk = int(np.prod(stored.chunks or (), dtype=np.float64)) * stored.dtype.itemsize
    if chunk > max(LARGEST_CHUNK, stored.nbytes):
        raise FgsnError(f"{key} has {stored.nbytes} bytes in chunks of {chunk}; refused")
    return stored[()]


def stamped_arrays(
    path: Path | str, group: str, keys: Sequence[str], stamp: str | None = None
) -> list[np.ndarray[Any, Any]] | None:
    """The arrays of one group of a file that may be missing or out of date.

    Returns:
        The arrays under `keys`; None if there is no such file, it has another stamp, or it lacks the group.

    Raises:
        FgsnError: the file is damaged, or has another layout.
    """
    if not Path(path).exists():
        return None
    with opened(path) as file:
        if (stamp is not None and stamp_of(file) != stamp) or member(file, group) is None:
            return None
        return [stored_array(file, f"{group}/{key}") for key in keys]
