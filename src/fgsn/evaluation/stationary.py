"""fgsn stationary: find the clusters of stationary things, which carry correspondences."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fgsn.config import StationarySettings
from fgsn.data.correspondences import Correspondences
from fgsn.errors import FgsnError
from fgsn.evaluation.label_cache import open_inputs
from fgsn.files import write_json, write_yaml

PUBLISHED = 0.01
"""Smallest share of pixels with a correspondence that makes a cluster stationary (FGSN, section 4)."""


def stationary(settings: StationarySettings) -> dict[str, Any]:
    """Find the stationary clusters of a model and store them in a copy of it.

    A cluster is stationary when more than a share of its pixels in the reference images of the split carry a
    correspondence (see `stationary_threshold`). Writes `labels/`, `model.safetensors`, `results.json` and
    `config.yaml` to the output folder.

    Returns:
        How many clusters are stationary and how many pixels they cover. `results.json` adds `labels`: per cluster its
        pixels, those with a correspondence, their share, and whether it is stationary.

    Raises:
        FgsnError: model or data set are broken, there are no correspondences, or no cluster is stationary.
    """
    _, every, model, cache = open_inputs(settings)
    failed = cache.fill(model, [pair.reference for pair in every])
    pairs = [pair for pair in every if pair.reference not in failed]
    pixels, carrying = count_pixels(cache.labels, pairs, model.clusters)
    share = carrying / np.maximum(pixels, 1)
    threshold = stationary_threshold(pixels, carrying) if settings.threshold is None else settings.threshold
    stays = share > threshold
    if not stays.any():
        raise FgsnError(
            f"no cluster has more than {threshold:g} of its pixels at correspondences, the most is {share.max():.3g}: "
            "choose a smaller --threshold, or a data set with more correspondences"
        )
    replace(model, stationary=tuple(stays.tolist())).save(settings.out / "model.safetensors")
    names = model.classes or tuple(map(str, range(model.clusters)))
    results = {
        "model": str(settings.out / "model.safetensors"),
        "data": str(settings.data),
        "split": settings.split,
        "threshold": threshold,
        "reference_images": len({pair.reference for pair in pairs}),
        "clusters": model.clusters,
        "stationary": int(stays.sum()),
        "pixels_stationary": float(pixels[stays].sum() / max(pixels.sum(), 1)),
        "failed": list(failed.values()),
    }
    labels = {
        names[label]: {
            "pixels": int(pixels[label]),
            "with_correspondence": int(carrying[label]),
            "share": float(share[label]),
            "stationary": bool(stays[label]),
        }
        for label in range(model.clusters)
    }
    write_yaml(settings.out / "config.yaml", settings.as_dict())
    write_json(settings.out / "results.json", {**results, "labels": labels})
    return results


def stationary_threshold(pixels: NDArray[np.integer], carrying: NDArray[np.integer]) -> float:
    """Smallest share of pixels with a correspondence (`carrying`) that makes a cluster stationary.

    The published 0.01, for correspondences as dense as the published ones; half of what all clusters together have
    where that is less, as with a few hundred matches in an image.
    """
    return min(PUBLISHED, 0.5 * float(carrying.sum()) / max(1, int(pixels.sum())))


def count_pixels(
    label_of: Callable[[Path], np.ndarray], pairs: Iterable[Correspondences], clusters: int
) -> tuple[np.ndarray, np.ndarray]:
    """Count, per cluster (K,), its pixels in the reference images, and those of them with at least one correspondence.

    A pixel counts once, however many pairs and points meet in it; `label_of` is called once per reference image.
    """
    points: dict[Path, list[np.ndarray]] = {}
    for pair in pairs:
        points.setdefault(pair.reference, []).append(pair.points_ref)
    pixels, carrying = np.zeros(clusters, np.int64), np.zeros(clusters, np.int64)
    for image, parts in points.items():
        labels = label_of(image)
        height, width = labels.shape
        column, row = np.floor(np.concatenate(parts) + 0.5).astype(np.int64).T
        inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
        met = np.zeros(labels.shape, dtype=bool)
        met[row[inside], column[inside]] = True
        pixels += np.bincount(labels.ravel(), minlength=clusters)
        carrying += np.bincount(labels[met], minlength=clusters)
    return pixels, carrying
