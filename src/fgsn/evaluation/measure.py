"""Label metrics of a model on pairs of images: position-controlled, same view, and the control of a blind grid."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fgsn.data.correspondences import Correspondences
from fgsn.errors import FgsnError
from fgsn.evaluation.label_metrics import label_metrics
from fgsn.evaluation.position_control import (
    FalsePartners,
    blind_grid,
    find_false_partners,
    position_controlled_metrics,
    within_image_kappa,
)
from fgsn.inference.correspondence_labels import correspondence_labels

HEADLINE = "kappa_position_controlled"
"""The metric that chooses checkpoints and that tables quote first: no function of the image position can win it."""


def measure(
    label_of: Callable[[Path], np.ndarray],
    pairs: Sequence[Correspondences],
    clusters: int,
    place_of: Callable[[Path], str] = str,
    condition_of: Callable[[Path], str] | None = None,
    resamples: int = 0,
    seed: int = 0,
) -> dict[str, Any]:
    """Measure the labels of a model at correspondences.

    Args:
        label_of: returns the (H, W) label map of an image at its original size; called once per image.
        place_of: returns the place that a reference image shows (`Dataset.place`); by default, each is one of its own.
        condition_of: returns the condition of a target image (`Dataset.condition`); the metrics are repeated for each.
        resamples: random halves of the places to draw for intervals; 0 for none.

    Returns:
        The metrics of `position_controlled_metrics` and `label_metrics`, `kappa_within_image`, `points_outside`, the
        correspondences that lie outside their images, and the same metrics of a blind grid of K cells under `grid`.

    Raises:
        FgsnError: there is no correspondence, or a label map does not fit the number of labels.
    """
    found = correspondence_labels(label_of, pairs)
    if len(found.pair) == 0:
        raise FgsnError(f"the {len(pairs)} pairs of images have no correspondences to measure labels at")
    place = np.array([place_of(pair.reference) for pair in pairs])
    places = np.unique(place[found.pair], return_inverse=True)[1]
    conditions = None if condition_of is None else np.array([condition_of(pair.target) for pair in pairs])[found.pair]
    rows: dict[str | None, NDArray[np.bool_]] = {None: np.ones(len(places), bool)}
    if conditions is not None:
        rows |= {str(name): conditions == name for name in np.unique(conditions)}
    partners: dict[str | None, FalsePartners] = {}  # the same for labels and grid, and for all and the only condition
    for name, here in rows.items():
        known = partners.get(None) if here.all() else None
        partners[name] = known or find_false_partners(found.position_target[here], places[here], seed)

    def controlled(a: NDArray[np.int64], b: NDArray[np.int64], name: str | None, resamples: int) -> dict[str, Any]:
        here = rows[name]
        a, b = a[here], b[here]
        metrics = position_controlled_metrics(a, b, places[here], partners[name], resamples, seed)
        return metrics | {"kappa_within_image": within_image_kappa(a, b, found.pair[here], seed)}

    def all_metrics(a: NDArray[np.int64], b: NDArray[np.int64], resamples: int) -> dict[str, Any]:
        same_view = label_metrics(a, b, clusters, places, conditions, resamples, seed)
        by_condition = same_view.pop("conditions", {})
        by_condition = {name: controlled(a, b, name, 0) | metrics for name, metrics in by_condition.items()}
        metrics = controlled(a, b, None, resamples) | same_view
        return metrics | ({"conditions": by_condition} if by_condition else {})

    grid_reference = blind_grid(found.position_reference, clusters, found.height)
    grid_target = blind_grid(found.position_target, clusters, found.height)
    return {
        "points_outside": found.outside,
        **all_metrics(found.reference.astype(np.int64), found.target.astype(np.int64), resamples),
        "grid": all_metrics(grid_reference, grid_target, 0),
    }
