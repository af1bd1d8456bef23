"""Arrays of HDF5 files of unknown origin: numbers only, stored in the file itself, of a plausible size."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from fgsn.errors import FgsnError

MOST_VALUES = 50_000_000
BEST_COMPRESSION = 1100
"""Largest ratio of an array's bytes to its stored bytes; deflate reaches 1032."""
H5PY_ERRORS = (OSError, KeyError, RuntimeError, TypeError, AttributeError, ValueError)
"""What h5py raises over damaged files."""
_SMALL = 1_000_000


def stored_array(file: h5py.File, key: str, most: int = MOST_VALUES) -> np.ndarray[Any, Any]:
    """The numbers stored under `key`; an empty MATLAB array is returned with size 0.

    Args:
        file: the file.
        key: path of the array in the file.
        most: largest number of values; a larger array is not read.

    Raises:
        FgsnError: it is missing, is not an array of numbers, is stored in another file, or claims to be larger than the
            file allows; the message names the key, not the file. `H5PY_ERRORS` are left to the caller.
    """
    stored: Any = file
    for part in key.split("/"):
        link = stored.get(part, getlink=True) if isinstance(stored, h5py.Group) else None
        if link is None:
            raise FgsnError(f"{key} is missing (the file contains {', '.join(map(repr, file)) or 'nothing'})")
        # Links and external storage would make one file read another.
        stored = stored[part] if isinstance(link, h5py.HardLink) else None
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
    size = stored.id.get_storage_size()
    if stored.nbytes > max(_SMALL, size * BEST_COMPRESSION):
        raise FgsnError(f"{key} has shape {stored.shape}, but the file contains only {size} bytes of it; it is damaged")
    return stored[()]


def stamped_arrays(
    path: Path | str, group: str, keys: Sequence[str], stamp: str | None = None
) -> list[np.ndarray[Any, Any]] | None:
    """The arrays of one group of a file that may be missing or out of date.

    Args:
        path: the h5 file.
        group: name of the group.
        keys: names of its arrays.
        stamp: the file's attribute of this name must equal it; None accepts any.

    Returns:
        One array per key; None if the file does not exist, has another stamp, or lacks the group.

    Raises:
        FgsnError: the file is damaged, or an array is missing or refused (see `stored_array`).
    """
    if not Path(path).exists():
        return None
    try:
        with h5py.File(path) as file:
            if group not in file or (stamp is not None and file.attrs.get("stamp") != stamp):
                return None
            return [stored_array(file, f"{group}/{key}") for key in keys]
    except H5PY_ERRORS as error:
        raise FgsnError(str(error)) from None
