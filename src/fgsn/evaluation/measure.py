"""Label metrics of a model on pairs of images."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fgsn.data.correspondences import Correspondences
from fgsn.errors import FgsnError
from fgsn.evaluation.label_metrics import label_metrics
from fgsn.inference.correspondence_labels import correspondence_labels


def measure(
    label_of: Callable[[Path], np.ndarray],
    pairs: Sequence[Correspondences],
    clusters: int,
    place_of: Callable[[Path], str] | None = None,
    condition_of: Callable[[Path], str] | None = None,
    resamples: int = 0,
    seed: int = 0,
) -> dict[str, Any]:
    """Measure the labels of a model at correspondences.

    Args:
        label_of: returns the (H, W) label map of an image at its original size; called once per image.
        pairs: the pairs of images with their points.
        clusters: number of labels K.
        place_of: returns the place that a reference image shows (`Dataset.place`).
        condition_of: returns the condition of a target image (`Dataset.condition`); the metrics are repeated for each.
        resamples: as in `label_metrics`.
        seed: of everything random here.

    Returns:
        The metrics of `label_metrics`, with `points_outside`, the correspondences that lie outside their images.

    Raises:
        FgsnError: there is no correspondence, or a label map does not fit the number of labels.
    """
    found = correspondence_labels(label_of, pairs)
    if len(found.pair) == 0:
        raise FgsnError(f"the {len(pairs)} pairs of images have no correspondences to measure labels at")
    places = None if place_of is None else np.array([place_of(pair.reference) for pair in pairs])[found.pair]
    conditions = None if condition_of is None else np.array([condition_of(pair.target) for pair in pairs])[found.pair]
    metrics = label_metrics(found.reference, found.target, clusters, places, conditions, resamples, seed)
    return {"points_outside": found.outside, **metrics}
