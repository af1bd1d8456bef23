"""Rows of label metrics for the tables of the benchmarks: the headline first, and the controls of `fgsn evaluate`."""

from collections.abc import Mapping
from typing import Any

METRICS = (
    "kappa_position_controlled",
    "match_lift_position_controlled",
    "information_bits_position_controlled",
    "kappa_moved_view",
    "kappa_crop",
    "candidates_auc_position_controlled",
    "kappa",
    "information_bits_same_view",
    "information_bits_permutation",
    "match_lift",
    "clusters_used",
)
CONTROLS = {"grid": "blind grid", "base": "base classes"}


def label_row(results: Mapping[str, Any]) -> dict[str, Any]:
    """The metrics of one table row; None for those that were not measured."""
    return {key: results.get(key) for key in METRICS}
