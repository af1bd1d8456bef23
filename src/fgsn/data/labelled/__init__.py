"""Labelled image sets for supervised training; importing a module registers its format."""

from fgsn.data.labelled.camvid import CAMVID_CLASSES
from fgsn.data.labelled.cityscapes import CITYSCAPES_CLASSES, CITYSCAPES_IDS, annotated_set
from fgsn.data.labelled.labels import FORMATS, IGNORE, MOVING_CLASSES, LabelledSet, Sample, open_labelled
from fgsn.data.labelled.vistas import LANE_MARKING, VISTAS_CLASSES

__all__ = [
    "CAMVID_CLASSES",
    "CITYSCAPES_CLASSES",
    "CITYSCAPES_IDS",
    "FORMATS",
    "IGNORE",
    "LANE_MARKING",
    "MOVING_CLASSES",
    "VISTAS_CLASSES",
    "LabelledSet",
    "Sample",
    "annotated_set",
    "open_labelled",
]
