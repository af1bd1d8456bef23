"""Mapillary Vistas v1.2: its own 66 classes, or those of Cityscapes after `fgsn convert-vistas`."""

from pathlib import Path
from typing import Any

from fgsn.data.labelled.cityscapes import CITYSCAPES_CLASSES, cityscapes_train_ids
from fgsn.data.labelled.labels import IGNORE, LabelledSet, labelled_format, paired
from fgsn.errors import FgsnError
from fgsn.files import read_json

SPLITS = ("training", "validation")
VISTAS_CLASSES = (
    "Bird", "Ground Animal", "Curb", "Fence", "Guard Rail", "Barrier", "Wall", "Bike Lane", "Crosswalk - Plain",
    "Curb Cut", "Parking", "Pedestrian Area", "Rail Track", "Road", "Service Lane", "Sidewalk", "Bridge", "Building",
    "Tunnel", "Person", "Bicyclist", "Motorcyclist", "Other Rider", "Lane Marking - Crosswalk",
    "Lane Marking - General", "Mountain", "Sand", "Sky", "Snow", "Terrain", "Vegetation", "Water", "Banner", "Bench",
    "Bike Rack", "Billboard", "Catch Basin", "CCTV Camera", "Fire Hydrant", "Junction Box", "Mailbox", "Manhole",
    "Phone Booth", "Pothole", "Street Light", "Pole", "Traffic Sign Frame", "Utility Pole", "Traffic Light",
    "Traffic Sign (Back)", "Traffic Sign (Front)", "Trash Can", "Bicycle", "Boat", "Bus", "Car", "Caravan",
    "Motorcycle", "On Rails", "Other Vehicle", "Trailer", "Truck", "Wheeled Slow", "Car Mount", "Ego Vehicle",
    "Unlabeled",
)  # fmt: skip
"""Readable names by label id, for releases that come without their config file."""
UNLABELLED = VISTAS_CLASSES.index("Unlabeled")
CONFIGS = ("config_v1.2.json", "config.json")
LANE_MARKING = "lane marking"
LANE_MARKING_ID = 50
"""The labelId of lane markings in converted label maps; no Cityscapes class uses it."""
CONVERTED = {False: "labels_cityscapes", True: "labels_cityscapes_lanes"}
"""Folder of converted label maps in a split, without and with lane markings."""


@labelled_format("vistas")
def open_vistas(root: Path) -> LabelledSet:
    """Open Vistas v1.2 in its own 66 classes: <split>/images and <split>/labels; unlabelled pixels are ignored."""
    classes, ignored = _classes(root)
    training, validation = (
        paired(root / split / "images", vistas_labels(root, split), (".jpg", ".png"), _unpack(root)) for split in SPLITS
    )
    train_ids = {index: IGNORE if index in ignored else index for index in range(len(classes))}
    return LabelledSet("vistas", classes, training, validation, train_ids)


@labelled_format("vistas-cityscapes")
def open_vistas_cityscapes(root: Path) -> LabelledSet:
    """Open converted Vistas in Cityscapes' 19 classes; a conversion with lane markings works too (as road)."""
    lanes = not any((root / split / CONVERTED[False]).is_dir() for split in SPLITS)
    lanes = lanes and any((root / split / CONVERTED[True]).is_dir() for split in SPLITS)
    return _open_converted("vistas-cityscapes", root, lanes, CITYSCAPES_CLASSES, CITYSCAPES_CLASSES.index("road"))


@labelled_format("vistas-lanes")
def open_vistas_lanes(root: Path) -> LabelledSet:
    """Open Vistas converted with lane markings in 20 classes: Cityscapes' 19, and lane markings."""
    return _open_converted("vistas-lanes", root, True, (*CITYSCAPES_CLASSES, LANE_MARKING), len(CITYSCAPES_CLASSES))


def vistas_labels(root: Path, split: str) -> Path:
    """The folder of a split with the label maps of v1.2; later releases keep several versions."""
    later = root / split / "v1.2" / "labels"
    return later if later.is_dir() else root / split / "labels"


def _open_converted(name: str, root: Path, lanes: bool, classes: tuple[str, ...], lane_class: int) -> LabelledSet:
    command = f"run fgsn convert-vistas {root}{' --lane-markings' if lanes else ''}, which resumes where it stopped"
    training, validation = (
        paired(root / split / "images", root / split / CONVERTED[lanes], (".jpg", ".png"), command) for split in SPLITS
    )
    return LabelledSet(name, classes, training, validation, cityscapes_train_ids({LANE_MARKING_ID: lane_class}))


def _classes(root: Path) -> tuple[tuple[str, ...], set[int]]:
    """Readable names by label id, and the ids to ignore; from the config of the release if there is one."""
    path = next((root / name for name in CONFIGS if (root / name).is_file()), None)
    if path is None:
        return VISTAS_CLASSES, {UNLABELLED}
    labels: Any = read_json(path).get("labels")
    if not isinstance(labels, list) or not all(isinstance(label, dict) and label.get("readable") for label in labels):
        raise FgsnError(f"{path} should contain a list 'labels' with a name 'readable' in each entry")
    if len(labels) != len(VISTAS_CLASSES):
        raise FgsnError(
            f"{path} has {len(labels)} labels, but Vistas v1.2 has 66; this is a different version of Vistas"
        )
    ignored = {index for index, label in enumerate(labels) if label.get("evaluate") is False}
    return tuple(str(label["readable"]) for label in labels), ignored | {UNLABELLED}


def _unpack(root: Path) -> str:
    return f"unpack Mapillary Vistas v1.2 in {root}: training/ and validation/, each with images/ and labels/"
