"""Case 7: losses at correspondences, and the labels of points. Theirs add the pairs of a batch up, ours average."""

from typing import Any

import numpy as np
import torch
from golden.clustering import their_codebook
from golden.data import Golden, differing, gap, relative, row, rows
from torch import Tensor

from fgsn.training.losses import Matches, at_cells, correspondence_loss


def cells_of_theirs(points: np.ndarray, side: int, cells: int) -> np.ndarray:
    """Their cell of a pixel, up to 0.87 cells aside of where it lies (METHOD section 4, defect 4); (N, 2)."""
    return np.trunc(points.T / side * cells + 0.5).astype(np.int64)


def golden_matches(stored: Any, side: int, *names: str, both: bool = True) -> Matches:
    """The matches of a batch of pairs, those that lie on the map in both images or in the reference alone."""
    parts = []
    for number, name in enumerate(names):
        ends = [cells_of_theirs(stored[name.format(end)], side, 17) for end in ("ref", "other")]
        inside = [((cells >= 0) & (cells < 17)).all(axis=1) for cells in ends]
        kept = inside[0] & inside[1] if both else inside[0]
        parts.append([np.full(kept.sum(), number), *(cells[kept] for cells in ends)])
    return Matches(*(torch.from_numpy(np.concatenate(part)) for part in zip(*parts, strict=True)))


def correspondence(one: Tensor, other: Tensor, matches: Matches, labels: Tensor) -> Tensor:
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
