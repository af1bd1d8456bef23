"""Labelled image sets for supervised training: where the samples are, and what their label ids mean."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fgsn.data.images import image_size, opened_image, walk_images
from fgsn.errors import FgsnError, UsageError, nearest
from fgsn.files import inside, read_lines

IGNORE = 255
CAMVID_CLASSES = (
    "sky", "building", "pole", "road", "pavement", "tree", "sign_symbol", "fence", "car", "pedestrian", "bicyclist",
)  # fmt: skip
CITYSCAPES_CLASSES = (
    "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation", "terrain",
    "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle",
)  # fmt: skip
CITYSCAPES_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
"""The labelId of every Cityscapes train id; all others are ignored."""


@dataclass(frozen=True)
class Sample:
    """One labelled image."""

    image: Path
    label: Path


@dataclass(frozen=True, eq=False)
class LabelledSet:
    """Images with label maps, split into training and validation."""

    name: str
    """Name of the format: camvid, cityscapes or world."""
    classes: tuple[str, ...]
    """Class names by train id."""
    training: list[Sample]
    validation: list[Sample]
    train_ids: Mapping[int, int]
    """Train id of every stored id that may occur; 255 where a pixel is to be ignored."""

    def read_label(self, sample: Sample) -> np.ndarray:
        """Read a label map.

        Returns:
            (H, W) uint8 train ids, the size of the image; 255 = ignore.

        Raises:
            FgsnError: the label map is missing or broken, holds an unknown id, or is not of the image's size.
        """
        with opened_image(sample.label) as image:
            if image.mode not in ("L", "P", "1"):
                raise FgsnError(
                    f"{sample.label} should hold one 8-bit label id per pixel, but its mode is {image.mode}"
                )
            stored = np.asarray(image).astype(np.uint8)
        size = image_size(sample.image)
        if stored.shape[::-1] != size:
            width, height = stored.shape[::-1]
            raise FgsnError(f"{sample.label} is {width} x {height}, but its image is {size[0]} x {size[1]}")
        unknown = np.flatnonzero(np.bincount(stored.ravel(), minlength=256)[self._unknown])
        if unknown.size:
            raise FgsnError(
                f"{sample.label} holds label id {self._unknown[unknown[0]]}, which {self.name} does not know"
            )
        return self._table[stored]

    @property
    def _unknown(self) -> np.ndarray:
        return np.array([stored for stored in range(256) if stored not in self.train_ids], np.intp)

    @property
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
        UsageError: the format is unknown or the form is another.
        FgsnError: the folder is missing or incomplete; says what is missing.
    """
    name, separator, path = spec.partition(":")
    if not separator or not path:
        raise UsageError(f"labelled data are given as FORMAT:PATH, for example camvid:data/camvid, not '{spec}'")
    if name not in FORMATS:
        raise UsageError(f"unknown format '{name}' of labelled data; {nearest(name, FORMATS)}")
    root = Path(path)
    if not root.is_dir():
        raise FgsnError(f"{root} is not a folder; {name} labels are expected in there")
    return FORMATS[name](root)


@labelled_format("camvid")
def open_camvid(root: Path) -> LabelledSet:
    """Open CamVid in 11 classes: train.txt and val.txt with lines `image label`, label 11 is void."""
    train_ids = {**{index: index for index in range(11)}, 11: IGNORE, IGNORE: IGNORE}
    training, validation = _camvid_list(root, "train.txt"), _camvid_list(root, "val.txt")
    return LabelledSet("camvid", CAMVID_CLASSES, training, validation, train_ids)


def _camvid_list(root: Path, name: str) -> list[Sample]:
    if not (root / name).is_file():
        raise FgsnError(f"{root / name} is missing; CamVid has train.txt and val.txt with lines 'image label'")
    samples = []
    for line in read_lines(root / name):
        parts = line.split()
        if len(parts) != 2:
            raise FgsnError(f"{root / name}: a line should be 'image label', not '{line}'")
        samples.append(Sample(*(inside(root, part) for part in parts)))
    return _complete(samples, root / name)


@labelled_format("cityscapes")
def open_cityscapes(root: Path) -> LabelledSet:
    """Open Cityscapes in 19 classes, from leftImg8bit/ and gtFine/ with labelIds."""
    return _cityscapes_ids("cityscapes", _cityscapes_split(root, "train"), _cityscapes_split(root, "val"))


def _cityscapes_split(root: Path, split: str) -> list[Sample]:
    folder = _folder(root / "leftImg8bit" / split, "Cityscapes keeps its images there")
    _folder(root / "gtFine" / split, "Cityscapes keeps its labels there")
    ending = "_leftImg8bit"
    samples = []
    for image in walk_images(folder):
        if image.stem.endswith(ending):
            label = f"{image.stem.removesuffix(ending)}_gtFine_labelIds.png"
            samples.append(Sample(image, root / "gtFine" / split / image.relative_to(folder).parent / label))
    return _complete(samples, folder)


@labelled_format("world")
def open_world(root: Path) -> LabelledSet:
    """Open segmented_images/ of a data set (the embedded world, or the authors' layout) in Cityscapes' 19 classes."""
    return _cityscapes_ids("world", _world_split(root, "training"), _world_split(root, "validation"))


def _world_split(root: Path, split: str) -> list[Sample]:
    folder = root / "segmented_images" / split
    images = walk_images(_folder(folder / "imgs", "the images with labels belong there"))
    annos = _folder(folder / "annos", "the label maps belong there")
    names = [image.relative_to(folder / "imgs").with_suffix(".png") for image in images]
    return _complete([Sample(image, annos / name) for image, name in zip(images, names, strict=True)], folder)


def _cityscapes_ids(name: str, training: list[Sample], validation: list[Sample]) -> LabelledSet:
    train_ids = dict.fromkeys(range(256), IGNORE)
    train_ids |= {stored: index for index, stored in enumerate(CITYSCAPES_IDS)}
    return LabelledSet(name, CITYSCAPES_CLASSES, training, validation, train_ids)


def _folder(folder: Path, purpose: str) -> Path:
    if not folder.is_dir():
        raise FgsnError(f"the folder {folder} is missing; {purpose}")
    return folder


def _complete(samples: list[Sample], source: Path) -> list[Sample]:
    """The samples, unless there is none or a file of one is missing (a download that stopped half way)."""
    if not samples:
        raise FgsnError(f"{source} holds no samples")
    missing = [file for sample in samples for file in (sample.image, sample.label) if not file.is_file()]
    if missing:
        raise FgsnError(f"{source}: {len(missing)} of {2 * len(samples)} files are missing, first {missing[0]}")
    return samples
