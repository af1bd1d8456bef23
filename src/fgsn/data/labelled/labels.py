"""Labelled image sets, their registry, and how images and label maps are paired."""

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from fgsn.data.images import image_size, open_image, walk_images
from fgsn.errors import FgsnError, UsageError, nearest

IGNORE = 255
LOOKED_AT = 40
"""Label maps of a split whose ids are looked at before training."""
MOVING_CLASSES = frozenset(
    {
        "person", "pedestrian", "rider", "bicyclist", "motorcyclist", "other rider", "bicycle", "motorcycle", "car",
        "truck", "bus", "train", "caravan", "trailer", "on rails", "wheeled slow", "other vehicle", "boat", "bird",
        "ground animal", "car mount", "ego vehicle",
    }
)  # fmt: skip
"""Lower-case names of movable classes in all formats."""


@dataclass(frozen=True)
class Sample:
    """One labelled image."""

    image: Path
    label: Path


@dataclass(frozen=True, eq=False)
class LabelledSet:
    """Images with label maps, split into training and validation."""

    name: str
    """Name of the format, for example cityscapes."""
    classes: tuple[str, ...]
    """Class names by train id."""
    training: list[Sample]
    validation: list[Sample]
    train_ids: Mapping[int, int]
    """Train id of every valid stored id; 255 for pixels to ignore."""

    def read_label(self, sample: Sample) -> np.ndarray:
        """Read a label map: (H, W) uint8 train ids at the size of the image; 255 = ignore.

        Raises FgsnError if it is missing or broken, contains an unknown id, or differs in size from the image.
        """
        with open_image(sample.label) as image:
            if image.mode not in ("L", "P", "1"):
                raise FgsnError(
                    f"{sample.label} should contain one 8-bit label id per pixel, but its mode is {image.mode}"
                )
            stored = np.asarray(image).astype(np.uint8)
        size = image_size(sample.image)
        if stored.shape[::-1] != size:
            width, height = stored.shape[::-1]
            raise FgsnError(f"{sample.label} is {width} x {height}, but its image is {size[0]} x {size[1]}")
        ids = np.nonzero(np.bincount(stored.ravel(), minlength=256))[0]
        unknown = [label for label in ids.tolist() if label not in self.train_ids]
        if unknown:
            raise FgsnError(f"{sample.label} contains label id {unknown[0]}, which {self.name} does not define")
        return self._table[stored]

    def require_labels(self) -> None:
        """Look at some label maps of both splits: they must not contain train ids in the place of label ids.

        Raises FgsnError if nothing in them is a class, or they contain only train ids and 255.
        """
        for samples in filter(None, (self.training, self.validation)):
            seen = np.zeros(256, bool)
            for sample in samples[:: -(-len(samples) // LOOKED_AT)]:
                with contextlib.suppress(FgsnError), open_image(sample.label) as image:  # reading it says what is wrong
                    seen |= np.array(image.histogram()[:256], bool)
            ids = set(np.nonzero(seen)[0].tolist())
            train_ids = set(range(len(self.classes)))
            differ = any(self.train_ids.get(label) != label for label in train_ids)
            if differ and {0, IGNORE} <= ids <= train_ids | {IGNORE}:
                raise FgsnError(
                    f"{samples[0].label.parent} contains train ids, 0 to {len(self.classes) - 1} and 255: "
                    f"give label ids of {self.name}, in Cityscapes *_gtFine_labelIds.png"
                )
            if ids and {self.train_ids.get(label) for label in ids} == {IGNORE}:
                raise FgsnError(f"{samples[0].label.parent}: no pixel has a label of a class of {self.name}")

    @cached_property
    def _table(self) -> np.ndarray:
        return np.array([self.train_ids.get(stored, IGNORE) for stored in range(256)], np.uint8)


Opener = Callable[[Path], LabelledSet]
FORMATS: dict[str, Opener] = {}


def labelled_format(name: str) -> Callable[[Opener], Opener]:
    """Register a function that opens the labelled sets of one format."""

    def register(opener: Opener) -> Opener:
        FORMATS[name] = opener
        return opener

    return register


def open_labelled(spec: str) -> LabelledSet:
    """Open the labelled set "FORMAT:PATH", for example "camvid:data/camvid".

    Raises:
        UsageError: the format is unknown, or `spec` is not FORMAT:PATH.
        FgsnError: the folder is missing or incomplete, or its labels are not those of the format; the message says what
            is wrong.
    """
    name, separator, path = spec.partition(":")
    if not separator or not path:
        raise UsageError(f"give labelled images as FORMAT:PATH, for example camvid:data/camvid, not '{spec}'")
    if name not in FORMATS:
        raise UsageError(f"unknown format '{name}' of labelled images; {nearest(name, FORMATS)}")
    root = Path(path)
    if not root.is_dir():
        raise FgsnError(f"{root} is not a folder; give the folder of the {name} images and labels")
    labelled = FORMATS[name](root)
    labelled.require_labels()
    return labelled


def paired(images: Path, labels: Path, ends: tuple[str, str], advice: str) -> list[Sample]:
    """Pair images and label maps of two folders (and subfolders) by relative name.

    `ends` are the name endings of images and of label maps; one without a suffix such as `.jpg` allows any image
    suffix. Raises FgsnError if a folder is missing or empty, or files have no counterpart: how many, and at the end
    `advice`.
    """
    found = [_by_key(folder, end, advice) for folder, end in zip((images, labels), ends, strict=True)]
    keys = sorted(found[0].keys() | found[1].keys())
    if not keys:
        raise FgsnError(f"{images} contains no images and {labels} no label maps; {advice}")
    for folder, files, end, kind in zip((images, labels), found, ends, ("images", "label maps"), strict=True):
        lacking = [key for key in keys if key not in files]
        if lacking:
            first = f"{folder / lacking[0]}{end}"
            raise FgsnError(f"{folder}: {len(lacking)} of {len(keys)} {kind} are missing, first {first}; {advice}")
    return [Sample(found[0][key], found[1][key]) for key in keys]


def _by_key(folder: Path, end: str, advice: str) -> dict[str, Path]:
    """The images of a folder with that name ending, by relative path without the ending."""
    if not folder.is_dir():
        raise FgsnError(f"the folder {folder} is missing; {advice}")
    files = {file.relative_to(folder).as_posix(): file for file in walk_images(folder)}
    if not Path(f"x{end}").suffix:
        files = {name[: name.rindex(".")]: file for name, file in files.items()}
    return {name.removesuffix(end): file for name, file in files.items() if name.endswith(end)}
