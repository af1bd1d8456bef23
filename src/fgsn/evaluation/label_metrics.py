"""Same-view metrics of labels at correspondences: do they survive the change of condition, how informative are they?

They are comparable with older tables, but a labelling that never looks at the image can win them, since corresponding
points lie at similar image positions: see `position_control`. docs/label_metrics.md explains them all.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fgsn.errors import FgsnError, whole_number
from fgsn.evaluation import information
from fgsn.inference.label_maps import LARGEST


def label_metrics(
    a: np.ndarray,
    b: np.ndarray,
    clusters: int,
    places: Sequence[Any] | np.ndarray | None = None,
    conditions: Sequence[str] | np.ndarray | None = None,
    resamples: int = 0,
    seed: int = 0,
) -> dict[str, Any]:
    """Measure how well labels survive between two images of the same points.

    Args:
        a: (N,) labels in the reference images, integers in [0, clusters).
        b: (N,) labels of the same points in the target images.
        clusters: number of labels K.
        places: (N,) the place of each point, of any type; needed for the interval and to hold out whole places.
        conditions: (N,) the condition of each target image; the metrics are repeated for each of them.
        resamples: random halves of the places to draw for the interval of information_bits_same_view; 0 for none.
        seed: of everything random here.

    Returns:
        The keys of `results.json` (see docs/label_metrics.md). `information_bits_same_view_interval` is [low, high] of
        a 95 % interval, or None without places to resample.

    Raises:
        FgsnError: there is no point, or the labels do not fit.
    """
    clusters = whole_number("the number of labels", clusters, 1, LARGEST)
    resamples, seed = whole_number("resamples", resamples, 0), whole_number("seed", seed, 0)
    a, b = _labels(a, clusters), _labels(b, clusters)
    try:
        groups = None if places is None else np.unique(np.asarray(places), return_inverse=True)[1]
    except TypeError:
        raise FgsnError("the places of label metrics should be values of one type") from None
    names = None if conditions is None else np.asarray(conditions, str)
    for other in (b, groups, names):
        if other is not None and other.shape != a.shape:
            raise FgsnError(f"label metrics need one value per point: {a.shape} and {other.shape} differ")
    if len(a) == 0:
        raise FgsnError("there are no correspondences to measure labels at")
    metrics = _metrics(a, b, clusters, groups, resamples, seed)
    if names is not None:
        metrics["conditions"] = {}
        for name in np.unique(names):
            here = names == name
            some = None if groups is None else groups[here]
            metrics["conditions"][str(name)] = _metrics(a[here], b[here], clusters, some, resamples, seed)
    return metrics


def collapse_note(used: int, clusters: int) -> str:
    """A warning if only `used` of `clusters` labels occur at correspondences, else an empty string.

    If few labels are used, training has collapsed and the metrics are not worth comparing.
    """
    if 3 * used >= clusters:
        return ""
    return (
        f"only {used} of {clusters} labels are used: the start was too poor, the correspondences too few or the "
        "training too short (docs/troubleshooting.md)"
    )


def _metrics(
    a: np.ndarray, b: np.ndarray, clusters: int, groups: np.ndarray | None, resamples: int, seed: int
) -> dict[str, Any]:
    count_a, count_b = np.bincount(a, minlength=clusters), np.bincount(b, minlength=clusters)
    agreement = float(np.mean(a == b))
    chance = float(count_a / len(a) @ (count_b / len(b)))
    plug_in = information.plug_in(a, b)
    held_out = information.held_out(a, b, groups, seed)
    interval = None
    if groups is not None:
        interval = information.half_interval(
            held_out,
            groups,
            lambda here: information.held_out(a[here], b[here], groups[here], seed),
            resamples,
            seed,
        )
    return {
        "points": len(a),
        "places": None if groups is None else len(np.unique(groups)),
        "agreement": agreement,
        "kappa": (agreement - chance) / (1 - chance) if chance < 1 else 0.0,
        "match_lift": agreement / chance if chance > 0 else 0.0,
        "information_bits_same_view": held_out,
        "information_bits_same_view_interval": interval and [max(interval[0], 0.0), interval[1]],
        "information_bits_permutation": plug_in - information.permutation_bias(a, b, seed),
        "information_bits_plain": plug_in,
        "entropy_bits_reference": information.entropy(count_a),
        "entropy_bits_target": information.entropy(count_b),
        "clusters_used": int(np.count_nonzero(count_a + count_b)),
        "perplexity": 2 ** information.entropy(count_a + count_b),
    }


def _labels(labels: np.ndarray, clusters: int) -> np.ndarray:
    labels = np.asarray(labels)
    if labels.ndim != 1 or (labels.size and labels.dtype.kind not in "iu"):
        raise FgsnError(f"labels at points should be (N,) integers, not {labels.dtype} {labels.shape}")
    labels = labels.astype(np.int64)
    if labels.size and not 0 <= labels.min() <= labels.max() < clusters:
        raise FgsnError(f"labels range from {labels.min()} to {labels.max()}, but there are {clusters}")
    return labels
