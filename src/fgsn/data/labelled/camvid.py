"""CamVid in 11 classes (the SegNet split): lists of images and label maps."""

from pathlib import Path

from fgsn.data.labelled.labels import IGNORE, LabelledSet, Sample, labelled_format
from fgsn.errors import FgsnError
from fgsn.files import inside, is_file, read_lines

CAMVID_CLASSES = (
    "sky", "building", "pole", "road", "pavement", "tree", "sign_symbol", "fence", "car", "pedestrian", "bicyclist",
)  # fmt: skip
SEGNET_ROOT = "/SegNet/CamVid/"
"""Prefix of all paths in the lists of the SegNet release."""


@labelled_format("camvid")
def open_camvid(root: Path) -> LabelledSet:
    """Open CamVid in 11 classes: train.txt and val.txt with lines `image label`, label 11 is void."""
    train_ids = {**{index: index for index in range(11)}, 11: IGNORE, IGNORE: IGNORE}
    training, validation = _listed(root, "train.txt"), _listed(root, "val.txt")
    return LabelledSet("camvid", CAMVID_CLASSES, training, validation, train_ids)


def _listed(root: Path, name: str) -> list[Sample]:
    path = root / name
    if not path.is_file():
        raise FgsnError(f"{path} is missing; CamVid has train.txt and val.txt with lines 'image label'")
    samples = []
    for line in read_lines(path):
        parts = line.split()
        if len(parts) != 2:
            raise FgsnError(f"{path}: a line should read 'image label', not '{line}'")
        samples.append(Sample(*(inside(root, part.removeprefix(SEGNET_ROOT)) for part in parts)))
    if not samples:
        raise FgsnError(f"{path} contains no samples")
    missing = [file for sample in samples for file in (sample.image, sample.label) if not is_file(file)]
    if missing:
        folder = missing[0].parent
        raise FgsnError(
            f"{path}: {len(missing)} of {2 * len(samples)} files are missing, first {missing[0]}; "
            f"{'download or unpack that folder again' if folder.is_dir() else f'the folder {folder} does not exist'}"
        )
    return samples
