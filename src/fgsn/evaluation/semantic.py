"""Labels against semantic classes, on the annotated images that a data set may have (segmented_images/)."""

from pathlib import Path
from typing import Any, Literal

import numpy as np

from fgsn.data.labelled import CITYSCAPES_CLASSES, LANE_MARKING, LabelledSet, annotated_set
from fgsn.errors import FgsnError
from fgsn.evaluation.confusion_matrix import confusion_metrics, confusion_of
from fgsn.evaluation.information import entropy
from fgsn.inference.model import Model
from fgsn.progress import tracked

SPLITS = {
    "train": (("training",),),
    "validation": (("validation",), ("testing",)),
    "all": (("training", "validation", "testing"),),
}
"""Folders for each split of the pairs: the first choice that exists."""


def annotated_images(root: Path, split: Literal["train", "validation", "all"]) -> LabelledSet | None:
    """The annotated images for a split; testing if there is no validation. FgsnError if a file has no counterpart."""
    for choice in SPLITS[split]:
        found = [name for name in choice if (root / "segmented_images" / name).is_dir()]
        if found:
            return annotated_set(root, found)
    return None


def semantic_metrics(model: Model, annotated: LabelledSet | None) -> tuple[dict[str, Any], list[str]]:
    """Agreement of labels with the 19 classes of Cityscapes, over all annotated pixels, if any can be read.

    Returns:
        `semantic_images`, and `semantic_nmi`: mutual information of labels and classes over the mean of their
        entropies, 0 to 1. For a base network that knows these classes also those of `confusion_metrics`; lane markings,
        if it knows them, count as road. Then one line for each image that cannot be read.
    """
    if annotated is None:
        return {}, []
    counts = np.zeros((len(CITYSCAPES_CLASSES), model.clusters), np.int64)
    images, failed = 0, []
    for sample in tracked(annotated.validation, "semantic classes", len(annotated.validation), unit=" images"):
        try:
            truth, labels = annotated.read_label(sample), model.segment(sample.image)
        except FgsnError as error:
            failed.append(str(error))
            continue
        counts += confusion_of(truth, labels, *counts.shape)
        images += 1
    if not counts.any():
        return {}, failed
    metrics: dict[str, Any] = {"semantic_images": images, "semantic_nmi": normalised_information(counts)}
    if model.classes in (CITYSCAPES_CLASSES, (*CITYSCAPES_CLASSES, LANE_MARKING)):
        confusion = counts[:, : len(CITYSCAPES_CLASSES)].copy()
        confusion[:, CITYSCAPES_CLASSES.index("road")] += counts[:, len(CITYSCAPES_CLASSES) :].sum(axis=1)
        metrics |= confusion_metrics(confusion, CITYSCAPES_CLASSES)
    return metrics, failed


def normalised_information(counts: np.ndarray) -> float:
    """Mutual information of rows and columns of a table of counts, over the mean of their entropies: 0 to 1."""
    rows, columns = entropy(counts.sum(axis=1)), entropy(counts.sum(axis=0))
    if rows + columns == 0:
        return 0.0
    return 2 * (rows + columns - entropy(counts.ravel())) / (rows + columns)
