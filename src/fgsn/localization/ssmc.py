"""Simple semantic match consistency: a match is kept if the query shows the label of the map point."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fgsn.errors import FgsnError
from fgsn.inference.label_lookup import NO_LABEL


def consistent(
    match_points: ArrayLike,
    map_labels: ArrayLike,
    query_labels: ArrayLike,
    stationary: NDArray[np.bool_] | None = None,
) -> NDArray[np.bool_]:
    """Which 2D-3D matches have the same label at both ends (SSMC: Larsson et al. 2019, section 5).

    Args:
        match_points: (N,) row of the map for every match.
        map_labels: (P,) labels of the map points, NO_LABEL if there is none.
        query_labels: (N,) labels of the query at the key points: `labels_at`.
        stationary: (K,) which labels mark stationary things; matches with another map label are dropped.

    Raises:
        FgsnError: the arrays do not fit together.
    """
    match_points, query_labels = np.asarray(match_points), np.asarray(query_labels)
    map_labels = np.asarray(map_labels)
    if match_points.shape != query_labels.shape:
        raise FgsnError(f"{len(match_points)} matches have {len(query_labels)} labels")
    if len(match_points) and not (match_points.min() >= 0 and match_points.max() < len(map_labels)):
        raise FgsnError(f"matches refer to points outside a map of {len(map_labels)} points")
    labels = map_labels[match_points]
    same = (labels == query_labels) & (labels != NO_LABEL)
    if stationary is None:
        return same
    if labels.max(initial=-1) >= len(stationary):
        raise FgsnError(f"the map has label {labels.max()}, but there are only {len(stationary)} stationary flags")
    return same & stationary[np.maximum(labels, 0)]
