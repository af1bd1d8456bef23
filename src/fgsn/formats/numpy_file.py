"""NumPy's .npy and .npz files, whose headers are not trusted."""

import math
from pathlib import Path
from typing import IO
from zipfile import ZipFile

import numpy as np
from numpy.typing import NDArray

from fgsn.errors import FgsnError, reason

MOST_NUMBERS = 100_000_000


def read_array(path: Path) -> NDArray[np.generic]:
    """The array of a .npy file, or the only one of a .npz file.

    Raises FgsnError if the file is missing or damaged, or contains objects, several arrays or too many numbers.
    """
    try:
        if path.suffix != ".npz":
            with path.open("rb") as file:
                return _read_npy(path, file)
        with ZipFile(path) as archive:
            if len(archive.namelist()) != 1:
                arrays = ", ".join(name.removesuffix(".npy") for name in archive.namelist()) or "nothing"
                raise FgsnError(f"{path} should contain one array, but contains {arrays}")
            with archive.open(archive.namelist()[0]) as file:
                return _read_npy(path, file)
    except FgsnError:
        raise
    except OSError as error:
        raise FgsnError(f"cannot read {path}: {error.strerror or error}") from None
    except Exception as error:  # the parsers of zip files and of NumPy's headers raise almost anything on broken ones
        raise FgsnError(f"{path} is not a readable NumPy file: {reason(error)}") from None


def is_whole(path: Path) -> bool:
    """Whether a .npy file has as many bytes as its header promises."""
    try:
        with path.open("rb") as file:
            shape, _, kind = _header(file)
            return path.stat().st_size - file.tell() == math.prod(shape) * kind.itemsize
    except Exception:  # as above
        return False


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return read(file)


def _read_npy(path: Path, file: IO[bytes]) -> NDArray[np.generic]:
    shape, fortran, kind = _header(file)
    count = math.prod(shape)
    if kind.hasobject or not 0 <= count <= MOST_NUMBERS or kind.itemsize > 16:
        raise FgsnError(f"{path} should contain an array of numbers, not {kind} of {shape}")
    # Read in pieces: memory is allocated for what is there, not for what the header promises.
    data, expected = bytearray(), count * kind.itemsize
    while len(data) < expected and (piece := file.read(min(expected - len(data), 1 << 20))):
        data += piece
    return np.frombuffer(data, kind, count).reshape(shape, order="F" if fortran else "C")
