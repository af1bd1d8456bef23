"""Cityscapes in 19 classes, and other sets with Cityscapes labelIds."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from fgsn.data.labelled.labels import IGNORE, LabelledSet, Sample, labelled_format, paired

CITYSCAPES_CLASSES = (
    "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation", "terrain",
    "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle",
)  # fmt: skip
CITYSCAPES_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
"""The labelId of every Cityscapes train id; all others are ignored."""
LARGEST_ID = 33
"""The largest labelId of Cityscapes."""


@labelled_format("cityscapes")
def open_cityscapes(root: Path) -> LabelledSet:
    """Open Cityscapes in 19 classes, from leftImg8bit/ and gtFine/ with labelIds."""
    training, validation = (
        paired(
            root / "leftImg8bit" / split,
            root / "gtFine" / split,
            ("_leftImg8bit.png", "_gtFine_labelIds.png"),
            f"unpack leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip of Cityscapes in {root}",
        )
        for split in ("train", "val")
    )
    return LabelledSet("cityscapes", CITYSCAPES_CLASSES, training, validation, cityscapes_train_ids())


@labelled_format("segmented")
def open_segmented(root: Path) -> LabelledSet:
    """Open segmented_images/ of a data set in the authors' layout (CMU, RobotCar) in Cityscapes' 19 classes."""
    return _open_segmented("segmented", root)


@labelled_format("world")
def open_world(root: Path) -> LabelledSet:
    """Open segmented_images/ of a synthetic town in Cityscapes' 19 classes."""
    return _open_segmented("world", root)


def annotated_set(root: Path, splits: Iterable[str]) -> LabelledSet:
    """The annotated images of a data set in these folders of segmented_images/, as a validation set.

    Raises FgsnError if a folder is missing or empty, a file has no counterpart, or labels are not those of Cityscapes.
    """
    samples = [sample for split in splits for sample in _annotated(root, split)]
    labelled = LabelledSet("segmented", CITYSCAPES_CLASSES, [], samples, cityscapes_train_ids())
    labelled.require_labels()
    return labelled


def cityscapes_train_ids(more: Mapping[int, int] | None = None) -> dict[int, int]:
    """The train id of every labelId of Cityscapes; `more` adds to its 19 classes.

    Licence plates, -1, are 255 in 8 bits.
    """
    known = {stored: index for index, stored in enumerate(CITYSCAPES_IDS)}
    return dict.fromkeys((*range(LARGEST_ID + 1), 255), IGNORE) | known | dict(more or {})


def _open_segmented(name: str, root: Path) -> LabelledSet:
    training, validation = (_annotated(root, split) for split in ("training", "validation"))
    return LabelledSet(name, CITYSCAPES_CLASSES, training, validation, cityscapes_train_ids())


def _annotated(root: Path, split: str) -> list[Sample]:
    folder = root / "segmented_images" / split
    advice = "a data set keeps annotated images in imgs/ and their label maps, with the same names, in annos/"
    return paired(folder / "imgs", folder / "annos", ("", ".png"), advice)
