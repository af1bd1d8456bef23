"""Pose errors in metres and degrees, and recall at the benchmark's thresholds.

A query without a pose counts as a failure, as on visuallocalization.net (Sattler et al., CVPR 2018, section 6).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from fgsn.geometry.pose import Pose

THRESHOLDS = ((0.25, 2.0), (0.5, 5.0), (5.0, 10.0))
"""Fine, medium and coarse: metres and degrees."""


def pose_errors(estimated: Pose, truth: Pose) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Errors of N poses `camera_from_world`: distances (N,) of the centres, and angles (N,) of rotation in degrees.

    Distances are in the unit of the world; both are infinite where the estimate is not finite.
    """
    distances = np.linalg.norm(estimated.centre - truth.centre, axis=-1)
    # |R1 - R2| (Frobenius) = 2 sqrt(2) sin(angle / 2), which stays exact for small angles where the trace does not.
    chord = np.linalg.norm(estimated.rotation - truth.rotation, axis=(-2, -1)) / np.sqrt(8)
    angles = np.degrees(2 * np.arcsin(np.clip(chord, 0, 1)))
    bad = ~np.isfinite(distances) | ~np.isfinite(angles)
    return np.where(bad, np.inf, distances), np.where(bad, np.inf, angles)


def pose_metrics(distances: NDArray[np.float64], angles: NDArray[np.float64], unit: str = "metres") -> dict[str, Any]:
    """Recall and medians of N queries, N at least 1.

    Args:
        distances: (N,) in `unit`, infinite for a query without a pose.
        angles: (N,) in degrees, likewise.
        unit: of lengths, which are never called metres without a known scale.

    Returns:
        `queries`, `localized`; `recall`: percent of the queries within each of `THRESHOLDS`; `interval`: for each its
        95 % Wilson interval, in percent; `median_metres` and `median_degrees` over all queries, None where most have no
        pose; `median_metres_localized` and `median_degrees_localized` over those with a pose.
    """
    found = np.isfinite(distances) & np.isfinite(angles)
    distances, angles = np.where(found, distances, np.inf), np.where(found, angles, np.inf)
    hits = [int(((distances <= metres) & (angles <= degrees)).sum()) for metres, degrees in THRESHOLDS]
    return {
        "queries": len(distances),
        "localized": int(found.sum()),
        "recall": [round(100 * hit / len(distances), 2) for hit in hits],
        "interval": [[round(100 * share, 2) for share in wilson(hit, len(distances))] for hit in hits],
        f"median_{unit}": _median(distances),
        "median_degrees": _median(angles),
        f"median_{unit}_localized": _median(distances[found]),
        "median_degrees_localized": _median(angles[found]),
    }


def metrics_by_condition(
    distances: NDArray[np.float64], angles: NDArray[np.float64], conditions: Sequence[str], unit: str = "metres"
) -> dict[str, dict[str, Any]]:
    """`pose_metrics` of all queries (`all`) and of each condition by its name; a query may have none, ''."""
    names = np.array(conditions)
    groups = {"all": np.ones(len(names), bool)} | {name: names == name for name in sorted(set(conditions)) if name}
    return {name: pose_metrics(distances[mine], angles[mine], unit) for name, mine in groups.items()}


def wilson(hits: int, count: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share, 0 to 1 (E. B. Wilson, 1927); it holds for few queries and at 0 and 100 %."""
    interval = stats.binomtest(hits, count).proportion_ci(0.95, method="wilson")
    return float(interval.low), float(interval.high)


def _median(values: NDArray[np.float64]) -> float | None:
    # With infinities take the upper middle value: the mean of a number and infinity is useless.
    if not len(values):
        return None
    middle = float(np.sort(values)[len(values) // 2]) if not np.isfinite(values).all() else float(np.median(values))
    return round(middle, 6) if np.isfinite(middle) else None
