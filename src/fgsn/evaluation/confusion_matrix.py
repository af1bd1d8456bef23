"""Confusion matrix of predicted and true classes; accuracies and intersections over union."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fgsn.errors import FgsnError


def confusion_of(truth: np.ndarray, predicted: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Counts (rows, columns) of true classes and predicted labels over pixels; other true values (255) are left out.

    Raises:
        FgsnError: the arrays are not integers of one shape, or a predicted label is outside [0, columns).
    """
    if truth.shape != predicted.shape or truth.dtype.kind not in "iu" or predicted.dtype.kind not in "iu":
        kinds = f"{truth.dtype} {truth.shape} and {predicted.dtype} {predicted.shape}"
        raise FgsnError(f"true and predicted labels should be integers of one shape, not {kinds}")
    if predicted.size and not 0 <= predicted.min() <= predicted.max() < columns:
        raise FgsnError(f"predicted labels range from {predicted.min()} to {predicted.max()}, not below {columns}")
    known = (truth >= 0) & (truth < rows)
    cells = truth[known].astype(np.int64) * columns + predicted[known]
    return np.bincount(cells, minlength=rows * columns).reshape(rows, columns)


def confusion_metrics(confusion: np.ndarray, classes: Sequence[str]) -> dict[str, Any]:
    """The usual metrics of a square confusion matrix (rows: truth), over the classes that occur in the ground truth.

    Returns:
        `mean_iou`, `pixel_accuracy`, `mean_accuracy` (of a class's pixels), `weighted_iou` (by the class's share of the
        pixels), all 0 to 1, and `iou` by class; 0 and {} without a pixel.

    Raises:
        FgsnError: the matrix is not square, or has another number of classes.
    """
    if confusion.shape != (len(classes), len(classes)):
        raise FgsnError(f"the confusion matrix of {len(classes)} classes has the shape {confusion.shape}")
    hits, true = confusion.diagonal().astype(np.float64), confusion.sum(axis=1).astype(np.float64)
    present = true > 0
    if not present.any():
        return {"mean_iou": 0.0, "pixel_accuracy": 0.0, "mean_accuracy": 0.0, "weighted_iou": 0.0, "iou": {}}
    union = true + confusion.sum(axis=0) - hits
    iou = hits[present] / union[present]
    return {
        "mean_iou": float(iou.mean()),
        "pixel_accuracy": float(hits.sum() / true.sum()),
        "mean_accuracy": float((hits[present] / true[present]).mean()),
        "weighted_iou": float((true[present] / true.sum() * iou).sum()),
        "iou": dict(zip([name for name, has in zip(classes, present, strict=True) if has], iou.tolist(), strict=True)),
    }
