"""How well labels tell the right from the wrong candidates of a matcher.

A matcher's mistakes are no random pairs of points: they look alike, and many lie at like positions of both images. So
the evidence of the labels is compared on candidate matches themselves, which known correspondences show to be right or
wrong, and once more with wrong candidates weighted such that they move as far in the image as right ones: then the
distance in the image, which is all that a blind grid knows, tells nothing.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float

from fgsn.data.correspondences import Correspondences
from fgsn.data.dataset import Dataset
from fgsn.data.images import image_size, read_image
from fgsn.inference.model import Model
from fgsn.inference.segmenter import Segmenter
from fgsn.matching.features import Features
from fgsn.matching.matcher import UNFILTERED, Matcher, Unfiltered, make_matcher
from fgsn.matching.truth import RIGHT, WRONG, distance_from_truth
from fgsn.progress import tracked

BINS = 20
LEAST_EVIDENCE = -30.0
FEWEST = 50
"""Candidates of either kind below which nothing is reported."""

Points = Float[np.ndarray, "points 2"]


class Candidates(NamedTuple):
    """Matches of a pair of images whose truth is known."""

    reference: Points
    """x, y of the key points in the reference image."""
    target: Points
    """x, y of their partners in the target image."""
    right: Bool[np.ndarray, " points"]
    apart: Float[np.ndarray, " points"]
    """Distance of both positions in the image, in diagonals."""


def candidate_matcher(name: str, device: str) -> Matcher:
    """A matcher by its name, unfiltered: all mutual nearest neighbours; FgsnError if it or its package is missing."""
    return Unfiltered(make_matcher(name.removesuffix(UNFILTERED), device=device))


def candidate_metrics(
    models: dict[str, Model], pairs: Sequence[Correspondences], dataset: Dataset, matcher: Matcher, work: Path
) -> dict[str, dict[str, Any]]:
    """How well label probabilities tell right from wrong candidates of a matcher.

    Candidates are mutual nearest neighbours of local features, unfiltered, in pairs whose correspondences tell right
    from wrong near them. The evidence of a candidate is log sum_k p(k | key point) p(k | partner) / p(k), with the
    softmax of the scores and p(k) its mean.

    Returns:
        For each model `candidates_auc`, the probability that a right candidate has more evidence than a wrong one
        (0.5: no signal, 1: perfect), and `candidates_auc_position_controlled`, the same against wrong candidates
        weighted to move as far as right ones. Under `position` the same of the distance in the image, the control;
        `right` and `wrong`, the numbers of candidates. AUCs are None with fewer than `FEWEST` of either.
    """
    used = {image for pair in pairs for image in (pair.reference, pair.target)}
    files = {dataset.name(image): image for image in used}
    features = Features(files, matcher, work)
    broken = {files[name] for name in features.extract(files)}
    pairs = [pair for pair in pairs if not {pair.reference, pair.target} & broken]
    features.match_all((dataset.name(pair.reference), dataset.name(pair.target)) for pair in pairs)
    found = [_candidates(features, pair, dataset) for pair in pairs]
    right, apart = (np.concatenate([getattr(some, key) for some in found]) for key in ("right", "apart"))
    metrics = {"position": areas_under_curve(-apart, right, apart)}
    for label, model in models.items():
        metrics[label] = areas_under_curve(_evidence(model, pairs, found), right, apart)
    return metrics | {"counts": {"right": int(right.sum()), "wrong": int((~right).sum())}}


def _candidates(features: Features, pair: Correspondences, dataset: Dataset) -> Candidates:
    """The matches of a pair near enough to correspondences to be judged."""
    names = dataset.name(pair.reference), dataset.name(pair.target)
    rows, _ = features.match(*names)
    reference = features[names[0]].pixels[rows[:, 0]].astype(np.float64)
    target = features[names[1]].pixels[rows[:, 1]].astype(np.float64)
    sizes = image_size(pair.reference), image_size(pair.target)
    distance = distance_from_truth(pair, reference, target, sizes)
    near = (distance <= RIGHT) | (distance > WRONG)
    shares = [points / size for points, size in zip((reference, target), sizes, strict=True)]
    apart = np.linalg.norm((shares[0] - shares[1]) * sizes[1], axis=1) / np.hypot(*sizes[1])
    return Candidates(reference[near], target[near], distance[near] <= RIGHT, apart[near])


def _evidence(
    model: Model, pairs: Sequence[Correspondences], found: Sequence[Candidates]
) -> Float[np.ndarray, " points"]:
    """The evidence of every candidate of all pairs."""
    segmenter = Segmenter(model, "float32")
    # By image, the points of each pair and side: an image may be in several pairs, on either side.
    wanted: dict[Path, dict[tuple[int, int], Points]] = {}
    for row, (pair, some) in enumerate(zip(pairs, found, strict=True)):
        wanted.setdefault(pair.reference, {})[row, 0] = some.reference
        wanted.setdefault(pair.target, {})[row, 1] = some.target
    read: dict[tuple[int, int], torch.Tensor] = {}
    for image, points in tracked(list(wanted.items()), "evidence", len(wanted), unit=" images"):
        probabilities = segmenter.probabilities_at(read_image(image), np.concatenate(list(points.values()))).cpu()
        read |= zip(points, probabilities.half().split([len(some) for some in points.values()]), strict=True)
    first, second = ([read[row, side] for row in range(len(pairs))] for side in (0, 1))
    total = torch.stack([probabilities.float().sum(dim=0) for probabilities in second]).sum(dim=0)
    share = (total / total.sum().clamp(min=1)).clamp(min=1e-6)
    evidence = [((a.float() * b.float()) / share).sum(dim=1).log() for a, b in zip(first, second, strict=True)]
    return torch.cat(evidence).clamp(min=LEAST_EVIDENCE).numpy()


def areas_under_curve(
    evidence: Float[np.ndarray, " points"], right: Bool[np.ndarray, " points"], apart: Float[np.ndarray, " points"]
) -> dict[str, float | None]:
    """How well evidence, larger where a candidate is more likely right, tells right from wrong candidates.

    Returns:
        `candidates_auc`, the area under the receiver operating characteristic, and
        `candidates_auc_position_controlled`, the same with wrong candidates weighted such that, in `BINS` bins with
        equally many right ones, the distance `apart` of the two positions in the image is as frequent among wrong as
        among right candidates. None with fewer than `FEWEST` of either.
    """
    areas: dict[str, float | None] = {"candidates_auc": None, "candidates_auc_position_controlled": None}
    if min(right.sum(), (~right).sum()) < FEWEST:
        return areas
    edges = np.quantile(apart[right], np.linspace(0, 1, BINS + 1))
    inside = (apart >= edges[0]) & (apart <= edges[-1])
    bin_of = np.clip(np.searchsorted(edges, apart, side="right") - 1, 0, BINS - 1)
    counts = [np.bincount(bin_of[inside & kind], minlength=BINS) for kind in (right, ~right)]
    weights = np.where(right, 1.0, (counts[0] / np.maximum(counts[1], 1))[bin_of])
    # A bin without wrong candidates says nothing about right ones either.
    inside &= (counts[1] > 0)[bin_of]
    areas["candidates_auc"] = area_below(right, evidence, np.ones(len(right)))
    if inside[right].sum() >= FEWEST and inside[~right].sum() >= FEWEST:
        controlled = area_below(right[inside], evidence[inside], weights[inside])
        areas["candidates_auc_position_controlled"] = controlled
    return areas


def area_below(
    right: Bool[np.ndarray, " matches"], evidence: Float[np.ndarray, " matches"], weights: Float[np.ndarray, " matches"]
) -> float:
    """Area below the ROC curve: how often a right match has more evidence than a wrong one; ties count half."""
    values, rank = np.unique(evidence, return_inverse=True)
    true, false = (np.bincount(rank, weights * kind, minlength=len(values)) for kind in (right, ~right))
    return float((true * (np.cumsum(false) - false / 2)).sum() / (true.sum() * false.sum()))
