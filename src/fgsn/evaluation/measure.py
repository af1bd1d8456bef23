"""Labels at correspondences: read once per image, then turned into metrics."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fgsn import ranks
from fgsn.data.correspondences import Correspondences
from fgsn.errors import FgsnError
from fgsn.evaluation.label_metrics import label_metrics


@dataclass(frozen=True, eq=False)
class PointLabels:
    """Labels at the matched points of many pairs, one row per correspondence that lies inside both images."""

    reference: np.ndarray
    """(N,) labels in the reference images."""
    target: np.ndarray
    """(N,) labels in the target images."""
    pair: np.ndarray
    """(N,) number of the pair that the row comes from."""
    outside: int
    """Correspondences that were left out since a point lies outside its image."""


def correspondence_labels(label_of: Callable[[Path], np.ndarray], pairs: Sequence[Correspondences]) -> PointLabels:
    """Look up the labels at both ends of every correspondence, at the nearest pixel; several ranks share the images.

    Args:
        label_of: gives the (H, W) label map of an image at the image's own size; called once per image.
        pairs: the pairs of images with their points.
    """
    ends = defaultdict(list)
    for number, pair in enumerate(pairs):
        ends[pair.reference].append((number, 0, pair.points_ref))
        ends[pair.target].append((number, 1, pair.points_tgt))
    mine: list[tuple[int, int, np.ndarray]] = []
    for image, uses in ranks.share(list(ends.items())):
        labels = label_of(image)
        mine += [(number, side, labels_at(labels, points)) for number, side, points in uses]
    found: list[dict[int, np.ndarray]] = [{} for _ in pairs]
    for number, side, labels in (one for share in ranks.gathered(mine) for one in share):
        found[number][side] = labels
    reference = np.concatenate([sides[0] for sides in found] or [np.zeros(0, int)])
    target = np.concatenate([sides[1] for sides in found] or [np.zeros(0, int)])
    number = np.repeat(np.arange(len(found)), [len(sides[0]) for sides in found])
    inside = (reference >= 0) & (target >= 0)
    return PointLabels(reference[inside], target[inside], number[inside], int((~inside).sum()))


def labels_at(labels: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Labels at the pixels nearest to (N, 2) points x, y; -1 where a point lies outside the (H, W) label map."""
    column, row = np.floor(points + 0.5).astype(np.int64).T
    height, width = labels.shape
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    values = np.full(len(points), -1, dtype=np.int64)
    values[inside] = labels[row[inside], column[inside]]
    return values


def measure(
    label_of: Callable[[Path], np.ndarray],
    pairs: Sequence[Correspondences],
    clusters: int,
    place_of: Callable[[Path], str] | None = None,
    condition_of: Callable[[Path], str] | None = None,
    resamples: int = 0,
    seed: int = 0,
) -> dict[str, Any]:
    """The label metrics of a model on pairs of images.

    Args:
        label_of: gives the (H, W) label map of an image at the image's own size; called once per image.
        pairs: the pairs of images with their points.
        clusters: number of labels K.
        place_of: gives the place that a reference image shows (`Dataset.place`).
        condition_of: gives the condition of a target image (`Dataset.condition`); the metrics are repeated for each.
        resamples: as in `label_metrics`.
        seed: of all that is random here.

    Returns:
        The metrics of `label_metrics`, with `points_outside`, the correspondences that lie outside their images.

    Raises:
        FgsnError: there is no correspondence, or a label map does not go with the number of labels.
    """
    found = correspondence_labels(label_of, pairs)
    if len(found.pair) == 0:
        raise FgsnError(f"the {len(pairs)} pairs of images hold no correspondences to measure labels at")
    places = None if place_of is None else np.array([place_of(pair.reference) for pair in pairs])[found.pair]
    conditions = None if condition_of is None else np.array([condition_of(pair.target) for pair in pairs])[found.pair]
    metrics = label_metrics(found.reference, found.target, clusters, places, conditions, resamples, seed)
    return {"points_outside": found.outside, **metrics}
