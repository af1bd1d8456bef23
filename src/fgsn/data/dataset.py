"""A data set on disk: images of the same places in several conditions, and correspondences between them."""

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np

from fgsn.data.correspondences import read_correspondences
from fgsn.errors import FgsnError
from fgsn.files import inside, is_file, read_json, read_lines, read_yaml
from fgsn.formats.hdf5 import member, opened, stored_array

Split = Literal["train", "validation", "all"]

TRAIN_LIST = "corr_train.txt"
VALIDATION_LIST = "corr_val.txt"
REFERENCE_LIST = "reference_image_names.txt"
REFERENCE_POINTS = "reference_points.h5"
PLACES = "places.json"
MOVED_LIST = "moved_pairs.txt"
"""Correspondence files of pairs that join neighbouring places, if there are any; for training only."""
FOLDERS = {
    "images": "<condition>/<camera>/<name>.jpg of RobotCar, slice<N>/query/<name>.jpg of CMU",
    "correspondence_data": "correspondence_*.mat, one per pair of images",
}
"""Required folders of a data set, and what belongs in them."""
CMU_IMAGE = re.compile(r"(?:^|/)slice\d+/(?:.+/)?img_\d+_c\d_(\d{10,17})us\.\w+$")
ROBOTCAR_IMAGE = re.compile(r"([^/]+)/(?:left|rear|right)/\d+\.\w+$")


@dataclass(frozen=True)
class Dataset:
    """A data set in the authors' layout: images/, correspondence_data/*.mat, and the lists that `fgsn prepare` writes.

    Images are named by their path relative to images/, with forward slashes.
    """

    root: Path
    """The folder of the data set."""
    yaml: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)
    """The content of dataset.yaml, {} without one."""

    @classmethod
    def open(cls, root: Path | str) -> "Dataset":
        """Open a data set folder.

        Raises FgsnError if it or its images/ or correspondence_data/ is missing, or dataset.yaml is broken.
        """
        root = Path(root)
        if not root.is_dir():
            raise FgsnError(f"the data set {root} is not a folder")
        for folder, content in FOLDERS.items():
            if not (root / folder).is_dir():
                raise FgsnError(f"{root} is not a data set: it has no folder {folder}/ ({content}); {_advice(root)}")
        described = root / "dataset.yaml"
        yaml = read_yaml(described) if described.exists() else {}
        for key in ("places", "condition_of"):
            if not isinstance(yaml.get(key, {}), dict):
                raise FgsnError(f"{described}: '{key}' should map image names to names")
        return cls(root, yaml)

    @property
    def images(self) -> Path:
        """The folder that image names are relative to."""
        return self.root / "images"

    @property
    def correspondence_data(self) -> Path:
        """The folder of the correspondence files."""
        return self.root / "correspondence_data"

    def correspondence_files(self) -> list[Path]:
        """Every correspondence file in the data set, listed or not, sorted by name."""
        return sorted(path for path in self.correspondence_data.glob("*.mat") if not path.name.startswith("."))

    @cached_property
    def moved_pairs(self) -> frozenset[str]:
        """Names of the correspondence files whose two images were taken at different places along the drive."""
        path = self.root / MOVED_LIST
        return frozenset(read_lines(path)) if path.is_file() else frozenset()

    def pairs(self, split: Split, moved: bool = True) -> list[Path]:
        """The correspondence files of one split ('all' is both), with the pairs of `moved_pairs` or without.

        Raises FgsnError if the data set is not prepared, or a list names a file that does not exist.
        """
        lists = {"train": [TRAIN_LIST], "validation": [VALIDATION_LIST], "all": [TRAIN_LIST, VALIDATION_LIST]}
        files = [inside(self.correspondence_data, name) for part in lists[split] for name in self._list(part)]
        for file in files:
            if not is_file(file):
                raise FgsnError(f"{file} is listed but does not exist; run fgsn prepare {self.root} again")
        return sorted(file for file in files if moved or file.name not in self.moved_pairs)

    def reference_images(self, split: Split) -> list[Path]:
        """The reference images of the pairs of one split, each once, sorted by name.

        Raises FgsnError if the data set is not prepared, or a correspondence file or image is broken or missing.
        """
        names = set(self._list(REFERENCE_LIST)) if split != "validation" else set()
        if split != "train":
            pairs = (read_correspondences(path, self.images) for path in self.pairs("validation"))
            names |= {self.name(pair.reference) for pair in pairs}
        return [inside(self.images, name) for name in sorted(names)]

    def reference_points(self, image: Path | str) -> np.ndarray:
        """Key points of a reference image: the points of *all* training pairs with this reference, each once.

        Returns (M, 2) float64, x then y, pixels of the original image. Raises FgsnError if the data set is not
        prepared, or the image is not a reference image of a training pair.
        """
        path, name = self.root / REFERENCE_POINTS, self.name(image)
        if not path.is_file():
            raise self._unprepared(REFERENCE_POINTS)
        with opened(path, "file of key points", f"run fgsn prepare {self.root} again") as file:
            if not isinstance(member(file, name), h5py.Dataset):
                raise FgsnError(f"no key points for '{name}': it is not a reference image of a training pair")
            points = stored_array(file, name).astype(np.float64)
            if points.ndim != 2 or points.shape[1] != 2 or not np.isfinite(points).all():
                raise FgsnError(f"the key points of '{name}' are not finite (M, 2) numbers")
            return points

    def name(self, image: Path | str) -> str:
        """The name of an image of this data set: its path relative to images/; FgsnError if the path leaves it."""
        path = Path(image)
        if path.is_absolute() or path.is_relative_to(self.images):
            absolute, root = path.absolute(), self.images.absolute()
            if not absolute.is_relative_to(root):
                raise FgsnError(f"{image} is not an image of the data set {self.root}")
            path = absolute.relative_to(root)
        return inside(Path(), path.as_posix()).as_posix()

    def place(self, image: Path | str) -> str:
        """The place that an image shows: from dataset.yaml, else from `fgsn prepare`.

        An image without correspondences is a place of its own.
        """
        name = self.name(image)
        return str(self._places.get(name, name))

    def condition(self, image: Path | str) -> str:
        """The condition an image was taken in: from `condition_of` in dataset.yaml, else from its name."""
        name = self.name(image)
        return str(self.yaml.get("condition_of", {}).get(name) or named_condition(name))

    @cached_property
    def _places(self) -> dict[str, Any]:
        if "places" in self.yaml:
            return self.yaml["places"]
        return read_json(self.root / PLACES) if (self.root / PLACES).is_file() else {}

    def _list(self, name: str) -> list[str]:
        path = self.root / name
        if not path.is_file():
            raise self._unprepared(name)
        return read_lines(path)

    def _unprepared(self, missing: str) -> FgsnError:
        return FgsnError(f"the data set has no {missing} yet: run fgsn prepare {self.root}")


def metres_per_unit(root: Path) -> float | None:
    """The scale of the poses of a data set, as its dataset.yaml states it; None if unknown.

    Raises FgsnError if dataset.yaml is broken, or states something else than a positive number.
    """
    described = root / "dataset.yaml"
    scale = read_yaml(described).get("metres_per_unit") if described.is_file() else None
    if scale is not None and not (isinstance(scale, (int, float)) and 0 < scale < np.inf):
        raise FgsnError(f"{described}: 'metres_per_unit' should be a number above 0")
    return scale


def named_condition(name: str) -> str:
    """The condition of an image, derived from its name.

    Names in CMU Seasons contain the time of the image, so the condition is the day of the drive (UTC), as in
    2010-10-01. In RobotCar Seasons it is the folder above that of the camera. In all other cases it is the first
    folder, or "all" without one.
    """
    if cmu := CMU_IMAGE.search(name):
        return datetime.fromtimestamp(int(cmu[1]) // 1_000_000, UTC).date().isoformat()
    if robotcar := ROBOTCAR_IMAGE.search(name):
        return robotcar[1]
    first, slash, _ = name.partition("/")
    return first if slash else "all"


def _advice(root: Path) -> str:
    """What to do with a folder that is not a data set; some contain data sets, such as CMU and RobotCar together."""
    if all((root.absolute().parent / name).is_dir() for name in FOLDERS):
        return f"did you mean {root.parent}?"
    found = sorted(folder.name for folder in root.iterdir() if all((folder / name).is_dir() for name in FOLDERS))
    if found:
        named = ", ".join(str(root / name) for name in found)
        return f"give the data set in it, {named}" if len(found) == 1 else f"give one of the data sets in it: {named}"
    return "fgsn correspond makes a data set from images"
