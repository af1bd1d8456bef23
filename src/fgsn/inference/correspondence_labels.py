"""Labels at both ends of correspondences; every label map is read once."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fgsn import ranks
from fgsn.data.correspondences import Correspondences
from fgsn.inference.label_lookup import labels_at


@dataclass(frozen=True, eq=False)
class PointLabels:
    """Labels at the points of many image pairs, one row per correspondence inside both images."""

    reference: np.ndarray
    """(N,) labels in the reference images."""
    target: np.ndarray
    """(N,) labels in the target images."""
    pair: np.ndarray
    """(N,) index of the pair of each row."""
    position_reference: np.ndarray
    """(N, 2) x, y of the points in the reference images, in image widths."""
    position_target: np.ndarray
    """(N, 2) x, y of the points in the target images, in image widths."""
    height: np.ndarray
    """(N,) height of the target images, in image widths."""
    outside: int
    """Number of correspondences dropped because a point is outside its image."""


def correspondence_labels(label_of: Callable[[Path], np.ndarray], pairs: Sequence[Correspondences]) -> PointLabels:
    """Look up the labels at both ends of every correspondence, at the nearest pixel; several ranks share the images.

    `label_of` returns the (H, W) label map of an image at the image's own size; it is called once per image.
    """
    ends = defaultdict(list)
    for number, pair in enumerate(pairs):
        ends[pair.reference].append((number, 0, pair.points_ref))
        ends[pair.target].append((number, 1, pair.points_tgt))
    mine: list[tuple[int, int, np.ndarray, tuple[int, int]]] = []
    for image, uses in ranks.share(list(ends.items())):
        labels = label_of(image)
        mine += [(number, side, labels_at(labels, points), labels.shape) for number, side, points in uses]
    found: list[dict[int, np.ndarray]] = [{} for _ in pairs]
    sizes = np.ones((len(pairs), 2, 2))  # pair, side, (height, width)
    for number, side, labels, shape in (one for share in ranks.gathered(mine) for one in share):
        found[number][side] = labels
        sizes[number, side] = np.maximum(shape, 1)
    reference = np.concatenate([sides[0] for sides in found] or [np.zeros(0, int)])
    target = np.concatenate([sides[1] for sides in found] or [np.zeros(0, int)])
    number = np.repeat(np.arange(len(found)), [len(sides[0]) for sides in found])
    inside = (reference >= 0) & (target >= 0)
    number = number[inside]
    position_reference, position_target = [
        np.concatenate(sides)[inside] / sizes[number, side, 1, None]
        for side, sides in enumerate(zip(*((pair.points_ref, pair.points_tgt) for pair in pairs), strict=True))
    ] or [np.zeros((0, 2))] * 2
    height = sizes[number, 1, 0] / sizes[number, 1, 1]
    outside = int((~inside).sum())
    return PointLabels(reference[inside], target[inside], number, position_reference, position_target, height, outside)
