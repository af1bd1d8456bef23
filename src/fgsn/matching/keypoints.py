"""Local features of one image, and the files that keep them: hloc's features.h5."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from fgsn.errors import FgsnError
from fgsn.formats.hdf5 import stamped_arrays, write_stamp, written

_KEYS = ("keypoints", "descriptors", "scores", "image_size")


@dataclass(frozen=True, eq=False)
class Keypoints:
    """Distinctive points of an image, with their descriptors."""

    pixels: Float32[np.ndarray, "points 2"]
    """x, y with pixel centres at integers."""
    descriptors: Float32[np.ndarray, "points dim"]
    scores: Float32[np.ndarray, " points"]
    """Confidence of the detector; higher is better."""
    size: tuple[int, int]
    """Width and height of the image in pixels."""

    def __len__(self) -> int:
        return len(self.pixels)

    def best(self, count: int) -> "Keypoints":
        """The `count` keypoints with the highest scores, highest first."""
        rows = np.argsort(-self.scores, kind="stable")[:count]
        return Keypoints(self.pixels[rows], self.descriptors[rows], self.scores[rows], self.size)


def write_keypoints(path: Path | str, keypoints: Mapping[str, Keypoints], stamp: str = "") -> None:
    """Write features in hloc's layout, one group per image name, pixel centres at integers; atomically.

    The stamp is stored as an attribute; it shows later whether the image has changed since.
    """
    with written(path) as file:
        write_stamp(file, stamp)
        for name, found in keypoints.items():
            group = file.create_group(name)
            group["keypoints"] = found.pixels
            group["descriptors"] = found.descriptors.T
            group["scores"] = found.scores
            group["image_size"] = np.array(found.size)


def read_keypoints(path: Path | str, name: str, stamp: str | None = None) -> Keypoints | None:
    """Read the features of one image from hloc's features.h5 or a file of `write_keypoints`.

    Returns:
        The features; None if the file does not exist, has another stamp than the given one, or lacks the image.

    Raises:
        FgsnError: the file is damaged or has another layout.
    """
    try:
        arrays = stamped_arrays(path, name, _KEYS, stamp)
    except FgsnError as error:
        raise FgsnError(f"{path} contains no features of '{name}' in hloc's layout: {error}") from None
    if arrays is None:
        return None
    pixels, descriptors, scores, size = (array.astype(np.float32) for array in arrays)
    count = len(scores)
    if pixels.shape != (count, 2) or descriptors.shape[1:] != (count,) or size.shape != (2,):
        shapes = ", ".join(f"{key} {array.shape}" for key, array in zip(_KEYS, arrays, strict=True))
        raise FgsnError(f"{path}: the features of '{name}' do not fit together ({shapes})")
    if not (np.isfinite(pixels).all() and np.isfinite(descriptors).all()):
        raise FgsnError(f"{path}: the features of '{name}' contain NaN or infinite numbers")
    return Keypoints(pixels, np.ascontiguousarray(descriptors.T), scores, (int(size[0]), int(size[1])))
