"""Find the label map of an image, check that it fits, and read labels at pixels."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fgsn.data.images import open_image
from fgsn.errors import FgsnError
from fgsn.files import file_mark, inside, is_file
from fgsn.inference.label_maps import IMAGE_KEY, read_label_map

NO_LABEL = -1
"""Marks a missing label: outside the image, or at a map point that is visible in no label map."""


def labels_at(label_map: NDArray[np.integer], pixels: NDArray[np.float64]) -> NDArray[np.int32]:
    """Labels (N,) of the pixels nearest to x, y (N, 2), pixel centres at integers; -1 outside the image."""
    height, width = label_map.shape
    nearest = np.floor(np.nan_to_num(pixels, nan=-1.0, posinf=-1.0, neginf=-1.0) + 0.5)
    inside = np.all((nearest >= 0) & (nearest < (width, height)), axis=1)
    x, y = np.where(inside[:, None], nearest, 0).astype(np.int64).T
    return np.where(inside, label_map[y, x].astype(np.int32), np.int32(NO_LABEL))


def find_label_map(folder: Path | str, name: str) -> Path | None:
    """The label map of an image in the --out of `fgsn segment`, or in its subfolder labels/; None without one.

    `name` is relative to the folder that was segmented; FgsnError if it leaves that folder.
    """
    stems = (f"{name}.png", str(Path(name).with_suffix(".png")))  # the first form only if two images share a stem
    found = (inside(Path(folder) / below, stem) for below in ("", "labels") for stem in stems)
    return next((path for path in found if is_file(path)), None)


def first_label_map(folder: Path, names: Sequence[str], kind: str) -> tuple[Path, int]:
    """The label map of the first of some images that has one, and its number of labels.

    Raises FgsnError if none has, which names their `kind`, or the label map is broken.
    """
    file = next(filter(None, (find_label_map(folder, name) for name in names)), None)
    if file is None:
        expected = Path(folder, names[0]).with_suffix(".png")
        raise FgsnError(f"{folder} has no label map of any {kind}; expected for example {expected}")
    return file, read_label_map(file)[1]


def fitting_label_map(folder: Path, name: str, size: tuple[int, int], image: Path | None = None) -> Path:
    """The path of the label map of an image, whose header states the camera's size (width, height).

    Raises FgsnError if there is none, or one of another size, or one made from another file than `image`.
    """
    file = find_label_map(folder, name)
    if file is None:
        raise FgsnError(f"{folder} has no label map of '{name}'; run fgsn segment on it")
    with open_image(file, ["PNG"]) as label_map:
        (width, height), made_from = label_map.size, label_map.info.get(IMAGE_KEY)
    if (width, height) != tuple(size):
        raise FgsnError(f"{file} is {width} x {height} pixels, but the camera is {size[0]} x {size[1]}")
    if made_from and image and made_from != file_mark(image):
        raise FgsnError(f"{file} was made from another image than {image}; run fgsn segment again")
    return file


def read_image_labels(folder: Path, name: str, size: tuple[int, int], clusters: int) -> NDArray[np.int64]:
    """Read the label map of an image, which must have the size of its camera and the map's number of labels.

    Raises FgsnError if it is missing or has others.
    """
    file = fitting_label_map(folder, name, size)
    labels, found = read_label_map(file)
    if found != clusters:
        raise FgsnError(f"{file} has {found} labels, but those of the map have {clusters}; use one model for both")
    return labels.astype(np.int64)
