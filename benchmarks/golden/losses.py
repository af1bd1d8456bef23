"""Case 7: losses at correspondences, and the labels of points. Theirs add the pairs of a batch up, ours average."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from golden.clustering import their_codebook
from golden.data import Golden, differing, gap, relative, row, rows
from torch import Tensor

from fgsn.training.feature_loss import Negatives, feature_loss
from fgsn.training.losses import MatchedCells, at_cells, class_correspondence_loss, correspondence_loss


def cells_of_theirs(points: np.ndarray, side: int, cells: int) -> np.ndarray:
    """Their cell of a pixel, up to 0.87 cells aside of where it lies; (N, 2)."""
    return np.trunc(points.T / side * cells + 0.5).astype(np.int64)


def golden_matches(stored: Any, side: int, *names: str, both: bool = True) -> MatchedCells:
    """The matches of a batch of pairs, those that lie on the map in both images or in the reference alone."""
    parts = []
    for number, name in enumerate(names):
        ends = [cells_of_theirs(stored[name.format(end)], side, 17) for end in ("ref", "other")]
        inside = [((cells >= 0) & (cells < 17)).all(axis=1) for cells in ends]
        kept = inside[0] & inside[1] if both else inside[0]
        parts.append([np.full(kept.sum(), number), *(cells[kept] for cells in ends)])
    cells = [torch.from_numpy(np.concatenate(part)) for part in zip(*parts, strict=True)]
    return MatchedCells(*cells, torch.ones(len(cells[0])))


def correspondence(one: Tensor, other: Tensor, matches: MatchedCells, labels: Tensor) -> Tensor:
    """Their loss with our function: both images, pairs added up."""
    pairs = len(matches.pair.unique())
    return pairs * (correspondence_loss(one, matches.reference, matches, labels)
                    + correspondence_loss(other, matches.target, matches, labels))  # fmt: skip


CORRESPONDENCE = {
    "2 pairs": ("ccl_b2", (710, 711), 33, ("pts_{}_0", "pts_{}_1")),
    "1 pair": ("ccl_b1", (712, 713), 33, ("pts_{}_0",)),
    "cells are pixels": ("ccl_norescale", (712, 713), 17, ("pts17_{}",)),
}


def computed(golden: Golden, case: str, seeds: tuple[int, int], side: int, names: tuple[str, ...]) -> list[Tensor]:
    """Value and both gradients of a correspondence loss."""
    stored = golden["07_losses.npz"]
    one, other = (golden.tensor(seed, len(names), 6, 17, 17, bound=2).requires_grad_() for seed in seeds)
    labels = np.concatenate([stored[name.replace("pts", "labels").replace("_{}", "")] for name in names])
    value = correspondence(one, other, golden_matches(stored, side, *names), torch.from_numpy(labels))
    return [value.detach(), *torch.autograd.grad(value, (one, other))]


@rows(CORRESPONDENCE, "7", "correspondence loss, relative, {}", 1e-5)
def values(golden: Golden, case: str, *given: Any) -> float:
    return relative(computed(golden, case, *given)[0], golden["07_losses.json"][case]["value"])


@rows(CORRESPONDENCE, "7", "gradients of the correspondence loss, {}", 1e-6)
def gradients(golden: Golden, case: str, *given: Any) -> float:
    found, stored = computed(golden, case, *given)[1:], golden["07_losses.npz"]
    return max(gap(gradient, stored[f"{case}_grad{number}"]) for number, gradient in enumerate(found))


@row("7", "correspondence loss, 300 clusters, label 255 learnt, relative", 1e-5)
def many_clusters(golden: Golden) -> float:
    stored = golden["07_losses.npz"]
    one, other = (golden.tensor(seed, 1, 300, 17, 17, bound=2) for seed in (740, 741))
    value = correspondence(one, other, golden_matches(stored, 33, "pts_{}_0"), torch.from_numpy(stored["labels300"]))
    return relative(value, golden["07_losses.json"]["ccl_k300_label255"]["value_without_ignore"])


@rows({"in both images": (True, "both"), "in the reference": (False, "refonly")}, "7",
      "labels of points {}, share that differs", 0)  # fmt: skip
def labels_of_points(golden: Golden, both: bool, name: str) -> float:
    stored = golden["07_losses.npz"]
    codebook = their_codebook(stored["pca_A"], stored["pca_b"], stored["centroids"])
    labels = codebook.assign_map(torch.from_numpy(stored["feat"]))
    matches = golden_matches(stored, 33, "pts_{}_0", "pts_{}_1", both=both)
    theirs = np.concatenate([stored[f"assign_{name}_{pair}"] for pair in (0, 1)])
    return differing(at_cells(labels, matches.pair, matches.reference), theirs)


@row("7", "correspondence loss of those labels, relative", 1e-5)
def loss_of_labels(golden: Golden) -> float:
    stored = golden["07_losses.npz"]
    codebook = their_codebook(stored["pca_A"], stored["pca_b"], stored["centroids"])
    matches = golden_matches(stored, 33, "pts_{}_0", "pts_{}_1")
    labels = at_cells(codebook.assign_map(torch.from_numpy(stored["feat"])), matches.pair, matches.reference)
    one, other = (golden.tensor(seed, 2, 6, 17, 17, bound=2) for seed in (710, 711))
    value = correspondence(one, other, matches, labels)
    return relative(value, golden["07_losses.json"]["ccl_labels_from_features"]["value"])


FEATURES = {
    f"{ours}, {name}": (ours, f"fl_{theirs}_{case}")
    for ours, theirs in {"hinge": "hingeC", "l1": "L1", "l2": "L2", "kl": "KL"}.items()
    for name, case in {"unweighted": "n0_wNone", "weighted": "n0_w", "three wrong partners each": "n3_w"}.items()
}


def feature_values(golden: Golden, kind: str, case: str) -> list[Tensor]:
    """Value and both gradients of a feature loss, with the wrong partners that they drew."""
    stored = golden["07_losses.npz"]
    matches = golden_matches(stored, 33, "pts_{}_0", "pts_{}_1")
    if not case.endswith("None"):
        weights = [stored[f"weights_{pair}"].ravel()[stored[f"valid_{pair}"]] for pair in (0, 1)]
        matches = replace(matches, weight=torch.from_numpy(np.concatenate(weights)))
    negatives = None
    if "_n3_" in case:
        first = (0, int((matches.pair == 0).sum()))
        drawn = np.concatenate([stored[f"mismatch_pairs_n3_{pair}"].astype(np.int64) + first[pair] for pair in (0, 1)])
        apart = np.concatenate([stored[f"mismatch_dist_n3_{pair}"] for pair in (0, 1)]) / np.hypot(17, 17)
        negatives = Negatives(*torch.from_numpy(drawn).T, torch.from_numpy(apart.astype(np.float32)), 3)
    one, other = (golden.tensor(seed, 2, 6, 17, 17, bound=2).requires_grad_() for seed in (710, 711))
    value = 2 * feature_loss(kind, one, other, matches, negatives)
    return [value.detach(), *torch.autograd.grad(value, (one, other))]


@rows(FEATURES, "7", "feature loss {}, relative", 1e-5)
def feature_losses(golden: Golden, kind: str, case: str) -> float:
    return relative(feature_values(golden, kind, case)[0], golden["07_losses.json"][case]["value"])


@rows(FEATURES, "7", "gradients of feature loss {}", 1e-6)
def feature_gradients(golden: Golden, kind: str, case: str) -> float:
    found, stored = feature_values(golden, kind, case)[1:], golden["07_losses.npz"]
    return max(gap(gradient, stored[f"{case}_grad{number}"]) for number, gradient in enumerate(found))


@rows({"all classes": ("corrclass", ()), "two ignored": ("corrclass_ignore_0_2", (0, 2))}, "7",
      "class correspondence loss, relative, {}", 1e-5)  # fmt: skip
def class_losses(golden: Golden, case: str, ignored: tuple[int, ...]) -> float:
    """Theirs counts all matches of a batch the same, ours all pairs: so pair by pair."""
    stored = golden["07_losses.npz"]
    one, other = (golden.tensor(seed, 2, 6, 17, 17, bound=2) for seed in (710, 711))
    sums, count = 0.0, 0
    for pair in (0, 1):
        ends = [torch.from_numpy(stored[f"ccls_{end}_{pair}"].T.astype(np.int64)) for end in ("ref", "other")]
        kept = torch.stack([((cells >= 0) & (cells < 17)).all(dim=1) for cells in ends]).all(dim=0)
        index = torch.zeros(int(kept.sum()), dtype=torch.int64)
        matches = MatchedCells(index, *(cells[kept] for cells in ends), torch.ones(len(index)))
        maps = one[pair : pair + 1], other[pair : pair + 1]
        seen = at_cells(maps[0].argmax(dim=1), index, matches.reference)
        used = int((~torch.isin(seen, torch.tensor(ignored, dtype=torch.int64))).sum())
        sums, count = sums + used * class_correspondence_loss(*maps, matches, ignored).item(), count + used
    return relative(torch.tensor(sums / count), golden["07_losses.json"][case]["value"])
