"""fgsn evaluate: how well do the labels of a model survive the change of condition?"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fgsn.config import EvaluateSettings
from fgsn.data.correspondences import Correspondences, read_correspondences
from fgsn.data.dataset import Dataset
from fgsn.data.images import opened_image
from fgsn.data.labelled import CITYSCAPES_IDS
from fgsn.errors import FgsnError
from fgsn.evaluation.information import entropy
from fgsn.evaluation.label_cache import LabelCache
from fgsn.evaluation.measure import measure
from fgsn.files import write_json, write_yaml
from fgsn.inference.model import load


def evaluate(settings: EvaluateSettings) -> dict[str, Any]:
    """Segment the images of a split once, and measure the labels at its correspondences.

    Writes `labels/`, `results.json` and `config.yaml` to the output folder. Works for cluster models and for base
    networks alike. docs/label_figures.md tells how to read the figures.

    Returns:
        What `results.json` holds: the label figures, the same under `conditions`, and `failed`, the images that could
        not be read, whose pairs are left out.

    Raises:
        FgsnError: model or data set are broken, or there is nothing to measure.
    """
    dataset = Dataset.open(settings.data)
    pairs = [read_correspondences(path, dataset.images) for path in dataset.pairs(settings.split)]
    if not pairs:
        raise FgsnError(f"{settings.data} has no pairs in the split '{settings.split}'")
    model = load(settings.model, settings.device)
    cache = LabelCache(settings.out, settings.model, dataset)
    failed = cache.fill(model, [image for pair in pairs for image in (pair.reference, pair.target)])
    pairs = [pair for pair in pairs if not {pair.reference, pair.target} & failed.keys()]
    figures = measure(
        cache.labels,
        pairs,
        model.clusters,
        dataset.place,
        dataset.condition,
        settings.resamples,
        settings.seed,
    )
    results = {
        "model": str(settings.model),
        "data": str(settings.data),
        "split": settings.split,
        "pairs": len(pairs),
        "clusters": model.clusters,
        **figures,
    }
    if (agreement := semantic_agreement(dataset, cache, pairs)) is not None:
        results["semantic_nmi"] = agreement
    if settings.resamples and figures["information_bits_interval"] is None:
        results["note"] = f"no interval: it takes 4 places or more, and there are {figures['places']}"
    results["failed"] = list(failed.values())
    write_yaml(settings.out / "config.yaml", settings.as_dict())
    write_json(settings.out / "results.json", results)
    return results


def semantic_agreement(dataset: Dataset, cache: LabelCache, pairs: Sequence[Correspondences]) -> float | None:
    """How much the labels share with semantic classes: normalised mutual information, 0 to 1, over pixels.

    The classes are Cityscapes labelIds in segmented_images/*/annos/, in files named after the images with `_` for `/`.
    Returns None where no image has any.
    """
    images = dict.fromkeys(image for pair in pairs for image in (pair.reference, pair.target))
    counts = np.zeros((cache.clusters, max(CITYSCAPES_IDS) + 1), np.int64)
    for labels, classes in _annotated(dataset, cache, images):
        known = np.isin(classes, CITYSCAPES_IDS)
        cells = labels[known] * counts.shape[1] + classes[known]
        counts += np.bincount(cells, minlength=counts.size).reshape(counts.shape)
    if not counts.any():
        return None
    by_label, by_class = entropy(counts.sum(axis=1)), entropy(counts.sum(axis=0))
    shared = by_label + by_class - entropy(counts.ravel())
    return 2 * shared / (by_label + by_class) if by_label + by_class > 0 else 0.0


def _annotated(dataset: Dataset, cache: LabelCache, images: Iterable[Path]) -> Iterable[tuple[np.ndarray, np.ndarray]]:
    """Labels and semantic classes of every second row and column of the images that have both."""
    annotations = {path.stem: path for path in dataset.root.glob("segmented_images/*/annos/*.png")}
    for image in images:
        path = annotations.get(Path(dataset.name(image)).with_suffix("").as_posix().replace("/", "_"))
        if path is None:
            continue
        with opened_image(path) as stored:
            classes = np.asarray(stored)
        labels = cache.labels(image)
        if classes.shape != labels.shape:
            raise FgsnError(f"{path} should be a label map of the size of {image}")
        yield labels[::2, ::2], classes[::2, ::2]
