"""Choose the weight of labels in descriptors by the right matches that it finds between the pairs of a data set."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from fgsn.config import AugmentSettings
from fgsn.config.localization import LARGEST_CHOSEN
from fgsn.data.correspondences import Correspondences, read_correspondences
from fgsn.data.dataset import Dataset
from fgsn.errors import FgsnError
from fgsn.inference.model import prepare_device
from fgsn.matching.augmentation import Augmentation
from fgsn.matching.features import Features
from fgsn.matching.label_vectors import LabelVectors
from fgsn.matching.matcher import make_matcher
from fgsn.matching.nearest import mutual_nearest
from fgsn.matching.truth import RIGHT, distance_from_truth
from fgsn.progress import say, tracked

WEIGHTS = (0.0, 0.1, 0.2, 0.3, LARGEST_CHOSEN)
KEYPOINTS = 2048
Table = dict[str, float]
"""Mean number of right matches per pair, by weight."""


def right_matches_by_weight(settings: AugmentSettings, work: Path) -> dict[str, Table]:
    """Count the right mutual nearest neighbours between pairs of a data set for every weight.

    Only key points near given correspondences count. The pairs are those for validation: on images that it was trained
    on, a model's labels look better than elsewhere, and the weight comes out too large. A data set without validation
    pairs lends its training pairs.

    Args:
        work: folder for features and label probabilities of the data set.

    Returns:
        A row for the labels, next to the --position given; for the position in the image alone (control); for both,
        with half the weight each; and, if given, for the classes of --baseline, like the labels.

    Raises:
        FgsnError: the data set is broken or not prepared, or has no pairs.
    """
    assert settings.data is not None
    dataset = Dataset.open(settings.data)
    files = dataset.pairs("validation") or dataset.pairs("train", moved=False)
    if not files:
        raise FgsnError(f"{settings.data} has no pairs")
    chosen = np.unique(np.linspace(0, len(files) - 1, min(settings.pairs, len(files))).round().astype(int))
    pairs = [read_correspondences(files[row], dataset.images) for row in chosen]
    paths = {dataset.name(path): path for pair in pairs for path in (pair.reference, pair.target)}
    device = prepare_device(settings.device).type
    features = Features(paths, make_matcher(settings.matcher, KEYPOINTS, device), work)
    labels = LabelVectors.of_model(settings.model, work)
    baseline = LabelVectors.of_model(settings.baseline, work) if settings.baseline else None
    for reason in (broken := features.extract(paths)).values():
        say(f"{reason}; left out")
    pairs = [pair for pair in pairs if not broken.keys() & {dataset.name(pair.reference), dataset.name(pair.target)}]
    if not pairs:
        raise FgsnError(f"every pair of {settings.data} has a broken image")
    points = {name: features[name].pixels for name in paths if name not in broken}
    for vectors in filter(None, (labels, baseline)):
        vectors.compute(paths, points, settings.device)
    rows: dict[str, Callable[[float], Augmentation]] = {
        "labels": lambda weight: Augmentation(labels, weight, settings.position),
        "position": lambda weight: Augmentation(None, 0.0, weight),
        "labels_and_position": lambda weight: Augmentation(labels, weight / 2, weight / 2),
    }
    if baseline:
        rows["baseline"] = lambda weight: Augmentation(baseline, weight, settings.position)
    return {
        name: {f"{weight:g}": _right_matches(row(weight), dataset, pairs, features) for weight in WEIGHTS}
        for name, row in tracked(rows.items(), "weights", len(rows))
    }


def best_weight(table: Mapping[str, float]) -> float:
    """The weight with the most right matches; the smallest of several."""
    return float(max(table, key=lambda weight: (table[weight], -float(weight))))


def _right_matches(
    augmentation: Augmentation, dataset: Dataset, pairs: Sequence[Correspondences], features: Features
) -> float:
    """Mean over the pairs."""
    counts = []
    for pair in pairs:
        names = dataset.name(pair.reference), dataset.name(pair.target)
        a, b = (augmentation(name, features.images[name], features[name]) for name in names)
        rows, _ = mutual_nearest(a.descriptors, b.descriptors)
        distance = distance_from_truth(pair, a.pixels[rows[:, 0]], b.pixels[rows[:, 1]], (a.size, b.size))
        counts.append(np.count_nonzero(distance <= RIGHT))
    return float(np.mean(counts))
