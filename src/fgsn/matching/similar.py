"""Similar images: local features aggregated to one descriptor per image (VLAD, Jégou et al., CVPR 2010)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float32

from fgsn.clustering.kmeans import kmeans
from fgsn.matching.features import Features

_WORDS = 64
_SAMPLES = 50_000  # descriptors for clustering the visual words
_SAMPLED = 1000  # images from which they come, at most
_FEATURES = 2048  # the best ones of each image
_LEAST_TO_CENTRE = 8  # images; the mean of fewer does not represent their season
_VALUES_AT_ONCE = 1 << 24  # similarities in memory at a time


def global_descriptors(features: Features, names: Sequence[str], seed: int = 0) -> Float32[np.ndarray, "images dim"]:
    """Describe whole images by unit vectors whose dot product is the similarity of two images.

    The local features of one image at a time are in memory, beside a sample of them.

    Args:
        features: local features of the images.
        names: of the images; the visual words are clustered from the features of some of them.
        seed: of the choice, and of the clustering.

    Returns:
        One row per image, in the order of `names`; zero for an image without features.
    """
    generator, some = torch.Generator().manual_seed(seed), list(names)
    if len(some) > _SAMPLED:
        some = [some[row] for row in torch.randperm(len(some), generator=generator)[:_SAMPLED].tolist()]
    first = np.cumsum([0, *(len(_local(features, name)) for name in some)])
    if not first[-1]:
        return np.zeros((len(names), 1), np.float32)
    chosen = torch.randperm(int(first[-1]), generator=generator)[:_SAMPLES].numpy()
    order = np.argsort(chosen)
    rows = np.split(chosen[order], np.searchsorted(chosen[order], first[1:-1]))
    sample = np.concatenate([_local(features, some[n])[rows[n] - first[n]] for n in range(len(some))])
    sample = torch.from_numpy(sample[np.argsort(order)])
    words = kmeans(sample, min(_WORDS, len(sample)), 10, generator).centroids.numpy()
    described = np.empty((len(names), words.size), np.float32)
    for row, name in enumerate(names):
        described[row] = _vlad(_local(features, name), words)
    return described


def _local(features: Features, name: str) -> Float32[np.ndarray, "n dim"]:
    return features[name].best(_FEATURES).descriptors


def _vlad(descriptors: np.ndarray, words: np.ndarray) -> Float32[np.ndarray, " dim"]:
    """Residuals to the nearest word, summed per word; each sum and then the whole vector is normalised."""
    nearest = np.argmax(descriptors @ words.T - 0.5 * (words**2).sum(axis=1), axis=1)
    sums = np.zeros_like(words)
    np.add.at(sums, nearest, descriptors - words[nearest])
    sums /= np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)
    return (sums / max(float(np.linalg.norm(sums)), 1e-12)).astype(np.float32).ravel()


@dataclass(frozen=True, eq=False)
class Similarity:
    """How similar images are to those of another condition: the dot products of their descriptors.

    Only the descriptors are stored, as a number for each two of 100,000 images would not fit into memory.
    """

    here: Float[np.ndarray, "images dim"]
    there: Float[np.ndarray, "others dim"]

    def __add__(self, other: "Similarity") -> "Similarity":
        """The sum of two similarities of the same images."""
        return Similarity(np.hstack([self.here, other.here]), np.hstack([self.there, other.there]))

    def matrix(self, rows: slice = slice(None)) -> Float[np.ndarray, "rows others"]:
        """The similarity of some images to all others."""
        return self.here[rows] @ self.there.T

    @classmethod
    def by_condition(
        cls,
        here: Float[np.ndarray, "images dim"],
        sizes: Sequence[int],
        there: Float[np.ndarray, "others dim"],
    ) -> "Similarity":
        """Cosines of descriptors without the mean of their condition: what all its images have in common, such as snow.

        Nothing is subtracted if one side has too few images for a mean.

        Args:
            here: descriptors of images, one condition after the other.
            sizes: number of images of each condition. Those too small for a mean of their own share one.
            there: descriptors of the images of another condition.
        """
        group = np.repeat([number if size >= _LEAST_TO_CENTRE else -1 for number, size in enumerate(sizes)], sizes)
        if len(there) < _LEAST_TO_CENTRE:
            return cls(here, there)
        apart, alone = np.zeros_like(here), np.ones(len(here), bool)
        for number in np.unique(group):
            rows = group == number
            if rows.sum() >= _LEAST_TO_CENTRE:
                apart[rows], alone[rows] = _centred(here[rows]), False
        centred = cls(apart, _centred(there))
        return centred + cls(here * alone[:, None], there) if alone.any() else centred

    def best(self, names: Sequence[str], others: Sequence[str], count: int) -> list[tuple[str, str]]:
        """Each image with the `count` most similar others, best first; of equal ones, the first."""
        pairs: list[tuple[str, str]] = []
        step = max(1, _VALUES_AT_ONCE // max(1, len(others)))
        for first in range(0, len(names), step):
            rows = slice(first, first + step)
            ranks = np.argsort(-self.matrix(rows), axis=1, kind="stable")[:, :count]
            for name, row in zip(names[rows], ranks, strict=True):
                pairs += [(name, others[int(rank)]) for rank in row]
        return pairs


def similar_pairs(
    features: Features, reference: Sequence[str], targets: Sequence[str], count: int, seed: int = 0
) -> list[tuple[str, str]]:
    """Each reference image with the `count` most similar target images, by local features; see `local_similarity`."""
    return local_similarity(features, [reference], targets, seed).best(reference, targets, count)


def local_similarity(
    features: Features, conditions: Sequence[Sequence[str]], targets: Sequence[str], seed: int = 0
) -> Similarity:
    """Similarity of images by their local features (VLAD).

    Args:
        features: local features of the images.
        conditions: names of images, by condition.
        targets: names of images of another condition.
        seed: of the clustering.
    """
    names = [name for some in conditions for name in some]
    described = global_descriptors(features, [*names, *targets], seed)
    return Similarity.by_condition(described[: len(names)], [*map(len, conditions)], described[len(names) :])


def _centred(described: Float[np.ndarray, "images dim"]) -> Float[np.ndarray, "images dim"]:
    apart = described - described.mean(axis=0)
    apart /= np.maximum(np.linalg.norm(apart, axis=1, keepdims=True), 1e-12)
    return apart
