"""Arrays of HDF5 files that others wrote: numbers only, of the file itself, and no more than it can hold."""

from typing import Any

import h5py
import numpy as np

from fgsn.errors import FgsnError

MOST_VALUES = 50_000_000
BEST_COMPRESSION = 1100
"""Bytes that one stored byte can stand for; deflate reaches 1032."""
_SMALL = 1_000_000


def stored_array(file: h5py.File, key: str, most: int = MOST_VALUES) -> np.ndarray[Any, Any]:
    """The numbers stored under `key`; an empty MATLAB array comes back as size 0.

    Args:
        file: the file.
        key: path of the array in the file.
        most: how many values there may be; the array is not read where there are more.

    Raises:
        FgsnError: it is missing, no array of numbers, lies in another file, or promises more than the file can hold;
            names the key, not the file. What h5py raises over broken files is left to the caller.
    """
    stored: Any = file
    for part in key.split("/"):
        link = stored.get(part, getlink=True) if isinstance(stored, h5py.Group) else None
        if link is None:
            raise FgsnError(f"{key} is missing (the file holds {', '.join(map(repr, file)) or 'nothing'})")
        # Links and external storage would make one file read another.
        stored = stored[part] if isinstance(link, h5py.HardLink) else None
    if not isinstance(stored, h5py.Dataset):
        raise FgsnError(f"{key} is not an array")
    if stored.external or stored.is_virtual:
        raise FgsnError(f"{key} is stored in another file; refused")
    if stored.dtype.kind not in "fiu":
        raise FgsnError(f"{key} should hold numbers, not {stored.dtype}")
    if "MATLAB_empty" in stored.attrs:
        return np.empty(0, stored.dtype)
    if stored.size is None or stored.size > most:
        raise FgsnError(f"{key} has shape {stored.shape}, more than the {most} values it may hold")
    held = stored.id.get_storage_size()
    if stored.nbytes > max(_SMALL, held * BEST_COMPRESSION):
        raise FgsnError(f"{key} has shape {stored.shape}, but the file holds {held} bytes of it; it is damaged")
    return stored[()]
