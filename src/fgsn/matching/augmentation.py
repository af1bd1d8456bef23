"""Descriptors with label probabilities appended, so that ordinary matching compares appearance and labels at once.

A descriptor d and the square roots of the probabilities p of K labels at its key point become [√(1 - w) d, √w √p]. Its
length is 1, and the dot product of two is (1 - w) · cosine + w · Bhattacharyya coefficient. Everything that works on
descriptors works on them: mutual nearest neighbours, ratio tests, approximate search.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32

from fgsn.matching.keypoints import Keypoints
from fgsn.matching.label_vectors import LabelVectors

GRID = 10
"""Columns and rows of the cells that stand for the image position."""
_SOFTNESS = 0.5  # standard deviation of a cell's weight, in cells
_SAMPLE = 20_000  # vectors that a projection is fitted to


def augmented(
    descriptors: Float32[np.ndarray, "points dim"], *parts: tuple[float, Float[np.ndarray, "points more"]]
) -> Float32[np.ndarray, "points augmented"]:
    """Append unit vectors with a weight each to descriptors of length 1; the rest of the weight is the descriptors'.

    A part of weight 0 is left out.
    """
    used = [(weight, vectors) for weight, vectors in parts if weight > 0]
    rest = 1.0 - sum(weight for weight, _ in used)
    weighted = [(rest, descriptors), *used]
    return np.concatenate([np.float32(weight**0.5) * vectors for weight, vectors in weighted], axis=1)


def position_vectors(
    pixels: Float[np.ndarray, "points 2"], size: tuple[int, int]
) -> Float32[np.ndarray, "points cells"]:
    """Square roots of soft memberships in the cells of a grid: vectors of length 1, similar where positions are.

    They say only where in the image a key point is. That finds matches where query and map were taken from like
    poses, as by a car in its lane, and misleads everywhere else. Pixel centres are at integers.
    """
    centres = np.arange(GRID) + 0.5
    place = (np.asarray(pixels, np.float64) + 0.5) / size * GRID
    x, y = (np.exp(-0.5 * ((place[:, axis, None] - centres) / _SOFTNESS) ** 2) for axis in (0, 1))
    cells = np.einsum("ni,nj->nij", y, x).reshape(len(place), -1)
    return np.sqrt(cells / np.maximum(cells.sum(axis=1, keepdims=True), 1e-300)).astype(np.float32)


def fit_projection(
    vectors: Float[np.ndarray, "points labels"], dimensions: int
) -> Float32[np.ndarray, "labels dimensions"]:
    """Orthonormal columns, fewer than labels, that keep as much of the dot products as possible (uncentred PCA)."""
    sample = vectors[:: max(1, len(vectors) // _SAMPLE)].astype(np.float64)
    _, axes = np.linalg.eigh(sample.T @ sample)  # eigenvalues ascend
    axes = axes[:, ::-1][:, :dimensions]
    # Signs are arbitrary; the largest entry of every axis is made positive.
    return (axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(dimensions)])).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Augmentation:
    """Appends labels and, on request, the image position to the descriptors of images."""

    labels: LabelVectors | None
    """Required if `weight` is above 0."""
    weight: float
    """Of the labels."""
    position: float = 0.0
    """Weight of the image position."""
    projection: Float32[np.ndarray, "labels dimensions"] | None = None
    """Shortens the label vectors."""

    @property
    def name(self) -> str:
        """Tells it from others, in names of folders."""
        model = self.labels.folder.name if self.labels and self.weight else "labels"
        return f"{model}-{self.weight:g}-position-{self.position:g}"

    def __call__(self, name: str, image: Path, keypoints: Keypoints) -> Keypoints:
        """The key points of an image, given by its name and path, with augmented descriptors."""
        parts: list[tuple[float, np.ndarray]] = []
        if self.weight and self.labels:
            vectors = self.labels.at(name, image, keypoints.pixels)
            parts.append((self.weight, vectors if self.projection is None else vectors @ self.projection))
        if self.position:
            parts.append((self.position, position_vectors(keypoints.pixels, keypoints.size)))
        return replace(keypoints, descriptors=augmented(keypoints.descriptors, *parts))
