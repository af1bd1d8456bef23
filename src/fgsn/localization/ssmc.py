"""Simple semantic match consistency: a match holds where the query shows the label of the map point."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fgsn.errors import FgsnError
from fgsn.localization.labelled_map import NO_LABEL


def probabilities_at(probabilities: ArrayLike, pixels: ArrayLike, labels: ArrayLike) -> NDArray[np.float64]:
    """What a map of label probabilities says for one label per pixel.

    Args:
        probabilities: (K, H, W), of the size of the query.
        pixels: (N, 2).
        labels: (N,) label that is asked for at each pixel.

    Returns:
        Probabilities (N,); 0 outside the image and for labels that are none of the K.
    """
    probabilities, labels = np.asarray(probabilities), np.asarray(labels)
    columns, rows, inside = _cells(pixels, probabilities.shape[2], probabilities.shape[1])
    known = inside & (labels >= 0) & (labels < len(probabilities))
    found = np.zeros(len(labels))
    found[known] = probabilities[labels[known], rows[known], columns[known]]
    return found


def ssmc_weights(
    match_points: ArrayLike,
    map_labels: ArrayLike,
    query_labels: ArrayLike,
    *,
    probabilities: ArrayLike | None = None,
    minimum: float = 0.0,
    stationary: NDArray[np.bool_] | None = None,
) -> NDArray[np.float64]:
    """Weigh 2D-3D matches by their labels (SSMC: Larsson et al. 2019, section 5).

    Args:
        match_points: (N,) row of the map for every match.
        map_labels: (P,) labels of the map points, NO_LABEL where there is none.
        query_labels: (N,) labels of the query at the key points: `labels_at`.
        probabilities: (N,) of the map points' labels at the key points: `probabilities_at`. With them the vote is
            soft: they are the weights, and `query_labels` do not count.
        minimum: a soft vote below this is 0.
        stationary: (K,) which labels show things that stay; matches with another map label get 0.

    Returns:
        Weights (N,) from 0 to 1; without probabilities 1 for a consistent match and 0 for any other. SSMC drops what
        has weight 0: hand `weights > 0` of the matches to the estimator.

    Raises:
        FgsnError: the arrays do not belong together.
    """
    match_points, query_labels = np.asarray(match_points), np.asarray(query_labels)
    map_labels = np.asarray(map_labels)
    if match_points.shape != query_labels.shape:
        raise FgsnError(f"{len(match_points)} matches have {len(query_labels)} labels")
    if len(match_points) and not (match_points.min() >= 0 and match_points.max() < len(map_labels)):
        raise FgsnError(f"matches point to rows that a map of {len(map_labels)} labelled points does not have")
    labels = map_labels[match_points]
    if probabilities is None:
        weights = ((labels == query_labels) & (labels != NO_LABEL)).astype(np.float64)
    else:
        soft = np.asarray(probabilities, np.float64)
        if soft.shape != labels.shape:
            raise FgsnError(f"{len(labels)} matches have {len(soft)} probabilities")
        weights = np.where(soft >= minimum, soft, 0.0)
    if stationary is not None:
        if labels.max(initial=-1) >= len(stationary):
            raise FgsnError(
                f"the map has label {labels.max()}, but only {len(stationary)} labels are known to stay or not"
            )
        weights[~stationary[np.maximum(labels, 0)]] = 0.0
    return weights


def _cells(
    pixels: ArrayLike, width: int, height: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Columns, rows (N,) of the pixels (N, 2), and which lie inside; the others get the first pixel."""
    nearest = np.floor(np.asarray(pixels, np.float64).reshape(-1, 2) + 0.5)
    inside = np.all((nearest >= 0) & (nearest < (width, height)), axis=1)
    cells = np.where(inside[:, None], nearest, 0).astype(np.int64)
    return cells[:, 0], cells[:, 1], inside
