"""Correspondence files: which pixels of two images show the same 3D points (data sets of Larsson et al., CVPR 2019).

One file describes one pair of images in MATLAB v7.3, which is HDF5. The authors' files are read unchanged, with either
orientation of every array, since MATLAB stores arrays column by column.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import h5py
import numpy as np

from fgsn.data.find_image import MissingImageError, find_image
from fgsn.errors import FgsnError
from fgsn.files import as_path, inside
from fgsn.formats.hdf5 import member, opened, stored_array, written

KIND = "correspondence file (MATLAB v7.3, HDF5)"
LONGEST_NAME = 4096
GRID = 4
"""The spread of points is measured in GRID x GRID parts of an image."""


@dataclass(frozen=True, eq=False)
class Correspondences:
    """Matched pixels of a reference and a target image; row n of both point arrays shows the same 3D point."""

    reference: Path
    """File of the reference image."""
    target: Path
    """File of the target image, taken in another condition."""
    points_ref: np.ndarray
    """(N, 2) float64: x, y in the reference image; 0-based pixels as stored, pixel centres at integers."""
    points_tgt: np.ndarray
    """(N, 2) float64: x, y in the target image, likewise."""
    weights: np.ndarray
    """(N,) float64: exp(-distance from the image centre), 1 where the file has no distances."""


def read_correspondences(path: Path | str, images: Path | str | None = None) -> Correspondences:
    """Read one correspondence file and find its two images.

    Args:
        path: the .mat file.
        images: folder that the stored image paths are relative to; by default the folder `images` beside the folder of
            the file. An image that is not at its stored path is searched by its base name below `images`.

    Raises:
        FgsnError: the file is missing, broken or not of this format, or an image cannot be found; the
            message names the file and the key.
    """
    path = as_path(path)
    images = path.parent.parent / "images" if images is None else Path(images)
    with opened(path, KIND) as file:
        names = _name(file, "im_i_path"), _name(file, "im_j_path")
        points_ref, points_tgt = _points(file, "pt_i"), _points(file, "pt_j")
        count = len(points_ref)
        if len(points_tgt) != count:
            raise FgsnError(f"pt_i has {count} points but pt_j has {len(points_tgt)}; they must be pairs")
        weights = np.exp(-_distances(file, count)) if member(file, "dist_from_center") is not None else np.ones(count)
        reference, target = (find_image(images, name) for name in names)
        if reference == target and names[0] != names[1]:
            raise MissingImageError(f"'{names[0]}' and '{names[1]}' both resolve to {target}; one of them is missing")
    return Correspondences(reference, target, points_ref, points_tgt, weights)


def stored_paths(path: Path | str) -> tuple[str, str]:
    """The stored image paths of a correspondence file, reference and target, without reading its points.

    Raises FgsnError if the file is missing, broken or not of this format.
    """
    with opened(path, KIND) as file:
        return _name(file, "im_i_path"), _name(file, "im_j_path")


def missing_images(files: Iterable[Path], images: Path) -> list[str]:
    """Report which folders of images/ are incomplete: one line for each folder that lacks images of the pairs.

    Of all correspondence `files`, unreadable ones are skipped; `images` is what the stored paths are relative to.
    """
    named: dict[str, set[str]] = defaultdict(set)
    lacking: dict[str, set[str]] = defaultdict(set)
    waiting: dict[str, list[str]] = defaultdict(list)
    for path in files:
        try:
            names = stored_paths(path)
        except FgsnError:
            continue
        found = [_found(images, name) for name in names]
        for name, file in zip(names, found, strict=True):
            folder = PurePosixPath(name).parent.as_posix()
            named[folder].add(name)
            # The other image of the pair does not count as this one.
            if file is None or (found[0] == found[1] and names[0] != names[1] and file != images / name):
                lacking[folder].add(name)
                waiting[folder].append(path.name)
    return [
        f"{images / folder}: {len(names)} of {len(named[folder])} images of the pairs are missing, first {min(names)}; "
        f"add them: {_counted(waiting[folder])} cannot be used without them"
        for folder, names in sorted(lacking.items())
    ]


def _found(images: Path, name: str) -> Path | None:
    try:
        return find_image(images, name)
    except FgsnError:
        return None


def _counted(files: list[str]) -> str:
    return f"{files[0]} and {len(files) - 1} more files" if len(files) > 1 else files[0]


def write_correspondences(
    path: Path | str,
    reference: str,
    target: str,
    points_ref: np.ndarray,
    points_tgt: np.ndarray,
    distances: np.ndarray,
) -> None:
    """Write a correspondence file in the authors' format, atomically; equal content gives equal bytes.

    Args:
        path: the .mat file to write.
        reference: path of the reference image, relative to the folder `images`.
        target: path of the target image, likewise.
        points_ref: (N, 2) x, y in the reference image, 0-based pixels.
        points_tgt: (N, 2) x, y in the target image.
        distances: (N,) distances from the image centre; a point's weight is exp(-distance).

    Raises:
        FgsnError: shapes do not match, a value is not finite, a path leaves its root, or the file cannot be written.
    """
    path = as_path(path)
    try:
        given = (points_ref, points_tgt, distances)
        points_ref, points_tgt, distances = (np.asarray(values, np.float64) for values in given)
    except (TypeError, ValueError) as error:
        raise FgsnError(f"{path}: the correspondences are not arrays of numbers: {error}") from None
    count = distances.size
    if distances.ndim != 1 or points_ref.shape != (count, 2) or points_tgt.shape != (count, 2):
        shapes = f"{points_ref.shape}, {points_tgt.shape}, {distances.shape}"
        raise FgsnError(f"{path}: correspondences need shapes (N, 2), (N, 2), (N,), not {shapes}")
    for values in (points_ref, points_tgt, distances):
        _require_finite(values, f"{path}: the correspondences")
    if count and distances.min() < 0:
        raise FgsnError(f"{path}: the distances from the image centre must not be negative")
    for name in (reference, target):
        inside(path.parent, name)
        if _breaks_lines(name):
            raise FgsnError(f"{path}: the image path {name!r} contains control characters")
    with written(path, _matlab_header()) as file:
        for key, name in (("im_i_path", reference), ("im_j_path", target)):
            codes = np.frombuffer(name.encode("utf-16-le"), np.uint16)
            stored = file.create_dataset(key, data=codes[:, None], track_times=False)
            stored.attrs["MATLAB_class"] = np.bytes_("char")
            stored.attrs["MATLAB_int_decode"] = np.int32(2)
        arrays = {"pt_i": points_ref, "pt_j": points_tgt, "dist_from_center": distances[None]}
        for key, values in arrays.items():
            stored = file.create_dataset(key, data=values, track_times=False)
            stored.attrs["MATLAB_class"] = np.bytes_("double")


def centre_distance(points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Distance (N,) of points (N, 2) from the middle of an image of `size` (width, height), in half diagonals."""
    middle = (np.array(size) - 1) / 2
    return np.linalg.norm(points - middle, axis=1) / (np.hypot(*size) / 2)


def spread(points: np.ndarray, size: tuple[int, int]) -> float:
    """Share of the GRID x GRID parts of an image of `size` (width, height) that contain one of the points (N, 2)."""
    part = np.clip((points + 0.5) / size * GRID, 0, GRID - 1).astype(np.int64)
    return len(np.unique(part, axis=0)) / GRID**2


def _matlab_header() -> bytes:
    """The header that MATLAB requires before HDF5; a fixed date, so that equal content gives equal bytes."""
    text = "MATLAB 7.3 MAT-file, Platform: fgsn, Created on: Thu Jan  1 00:00:00 1970 HDF5 schema 1.00 ."
    return text.encode().ljust(116) + bytes(8) + b"\x00\x02IM"


def _name(file: h5py.File, key: str) -> str:
    """An image path, stored as UTF-16 codes along either axis."""
    if isinstance(stored := member(file, key), h5py.Dataset) and stored.dtype.kind not in "fiu":
        raise FgsnError(
            f"{key} should be (L, 1) character codes, not text: in Python "
            "np.frombuffer(name.encode('utf-16-le'), 'u2'), in MATLAB a char array"
        )
    codes = stored_array(file, key, LONGEST_NAME)
    if codes.dtype.kind == "f" or codes.size == 0 or max(codes.shape) != codes.size:
        raise FgsnError(f"{key} should be (L, 1) character codes, not {codes.dtype} of shape {codes.shape}")
    if codes.min() < 1 or codes.max() > 0xFFFF:
        raise FgsnError(f"{key} contains numbers that are not character codes")
    try:
        name = codes.ravel().astype("<u2").tobytes().decode("utf-16-le")
    except UnicodeDecodeError:
        raise FgsnError(f"{key} contains numbers that are not text") from None
    if _breaks_lines(name):
        raise FgsnError(f"{key} contains control characters: {name!r}")
    return name


def _points(file: h5py.File, key: str) -> np.ndarray:
    """(N, 2) points, stored along either axis; a 2 x 2 array is read as rows x, y, as in the authors' files."""
    points = stored_array(file, key)
    if points.size == 0:
        return np.empty((0, 2))
    if points.ndim != 2 or 2 not in points.shape:
        raise FgsnError(f"{key} should have shape (N, 2) or (2, N), not {points.shape}")
    points = (points if points.shape[1] == 2 else points.T).astype(np.float64)
    _require_finite(points, key)
    return np.ascontiguousarray(points)


def _distances(file: h5py.File, count: int) -> np.ndarray:
    """(N,) distances from the image centre."""
    key = "dist_from_center"
    distances = stored_array(file, key)
    if distances.size != count or (count and max(distances.shape) != count):
        raise FgsnError(f"{key} has shape {distances.shape}, but there are {count} points")
    distances = distances.ravel().astype(np.float64)
    _require_finite(distances, key)
    if count and distances.min() < 0:
        raise FgsnError(f"{key} contains negative distances")
    return distances


def _breaks_lines(name: str) -> bool:
    """Whether a name contains control characters, which would break lines of lists and errors, or half characters."""
    return name.splitlines() != [name] or min(name) < " " or name.encode(errors="replace").decode() != name


def _require_finite(values: np.ndarray, what: str) -> None:
    bad = int(np.count_nonzero(~np.isfinite(values)))
    if bad:
        raise FgsnError(f"{what} contains {bad} values that are not finite")
