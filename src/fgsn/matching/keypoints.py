"""Local features of one image, and the files that keep them: hloc's features.h5, written whole."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from jaxtyping import Float32

from fgsn.errors import FgsnError
from fgsn.files import atomic_write
from fgsn.formats.hdf5 import stored_array


@dataclass(frozen=True, eq=False)
class Keypoints:
    """Points of an image that can be found again, and what they look like."""

    pixels: Float32[np.ndarray, "points 2"]
    """x, y with pixel centres at integers."""
    descriptors: Float32[np.ndarray, "points dim"]
    scores: Float32[np.ndarray, " points"]
    """How sure the detector is; the higher the surer."""
    size: tuple[int, int]
    """Width and height of the image in pixels."""

    def __len__(self) -> int:
        return len(self.pixels)

    def best(self, count: int) -> "Keypoints":
        """The `count` key points with the highest scores, highest first."""
        rows = np.argsort(-self.scores, kind="stable")[:count]
        return Keypoints(self.pixels[rows], self.descriptors[rows], self.scores[rows], self.size)


def write_keypoints(path: Path | str, keypoints: Mapping[str, Keypoints], stamp: str = "") -> None:
    """Write features as hloc does: one group per image name, pixel centres at integers; whole or not at all.

    Args:
        path: the h5 file.
        keypoints: by image name; folders in a name become groups.
        stamp: kept as an attribute, to tell later whether the file still belongs to its image.
    """
    with atomic_write(path) as aside, h5py.File(aside, "w") as file:
        file.attrs["stamp"] = stamp
        for name, found in keypoints.items():
            group = file.create_group(name)
            group["keypoints"] = found.pixels
            group["descriptors"] = found.descriptors.T
            group["scores"] = found.scores
            group["image_size"] = np.array(found.size)


def read_keypoints(path: Path | str, name: str, stamp: str | None = None) -> Keypoints | None:
    """Read the features of one image out of hloc's features.h5, or a file of `write_keypoints`.

    Args:
        path: the h5 file.
        name: image name.
        stamp: if given, the file must bear it.

    Returns:
        The features; None if the file does not exist, has another stamp, or lacks the image.

    Raises:
        FgsnError: the file is broken or has another layout.
    """
    if not Path(path).exists():
        return None
    try:
        with h5py.File(path) as file:
            if name not in file or (stamp is not None and file.attrs.get("stamp") != stamp):
                return None
            arrays = {key: stored_array(file, f"{name}/{key}") for key in _KEYS}
    except (OSError, KeyError, RuntimeError, TypeError, AttributeError, ValueError, FgsnError) as error:
        raise FgsnError(f"{path} holds no features of '{name}' in hloc's layout: {error}") from None
    found = {key: array.astype(np.float32) for key, array in arrays.items()}
    pixels, descriptors, scores, size = (found[key] for key in _KEYS)
    count = len(scores)
    if pixels.shape != (count, 2) or descriptors.shape[1:] != (count,) or size.shape != (2,):
        shapes = ", ".join(f"{key} {array.shape}" for key, array in found.items())
        raise FgsnError(f"{path}: the features of '{name}' do not fit together ({shapes})")
    return Keypoints(pixels, np.ascontiguousarray(descriptors.T), scores, (int(size[0]), int(size[1])))


_KEYS = ("keypoints", "descriptors", "scores", "image_size")
