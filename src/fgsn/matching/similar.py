"""Similar images: local features aggregated to one descriptor per image (VLAD, Jégou et al., CVPR 2010)."""

from collections.abc import Sequence

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


def similar_pairs(
    features: Features, reference: Sequence[str], targets: Sequence[str], count: int, seed: int = 0
) -> list[tuple[str, str]]:
    """Each reference image with the `count` most similar target images, by local features; see `local_similarity`."""
    return most_similar(local_similarity(features, [reference], targets, seed), reference, targets, count)


def local_similarity(
    features: Features, conditions: Sequence[Sequence[str]], targets: Sequence[str], seed: int = 0
) -> Float32[np.ndarray, "images others"]:
    """Similarity of images by their local features (VLAD).

    Args:
        features: local features of the images.
        conditions: names of images, by condition.
        targets: names of images of another condition.
        seed: of the clustering.

    Returns:
        A row per image, in the order of the conditions.
    """
    names = [name for some in conditions for name in some]
    described = global_descriptors(features, [*names, *targets], seed)
    return similarity_by_condition(described[: len(names)], [*map(len, conditions)], described[len(names) :])


def similarity_by_condition(
    here: Float32[np.ndarray, "images dim"], sizes: Sequence[int], there: Float32[np.ndarray, "others dim"]
) -> Float32[np.ndarray, "images others"]:
    """`centred_similarity` of images of several conditions to those of another.

    Args:
        here: descriptors, one condition after the other.
        sizes: number of images of each condition. Those too small for a mean of their own share one.
        there: descriptors of the other condition.
    """
    group = np.repeat([number if size >= _LEAST_TO_CENTRE else -1 for number, size in enumerate(sizes)], sizes)
    similarity = np.empty((len(here), len(there)), np.float32)
    for number in np.unique(group):
        similarity[group == number] = centred_similarity(here[group == number], there)
    return similarity


def centred_similarity(
    here: Float32[np.ndarray, "images dim"], there: Float32[np.ndarray, "others dim"]
) -> Float32[np.ndarray, "images others"]:
    """Cosines of descriptors of two conditions, each of which loses its mean: what all its images have in common.

    Nothing is subtracted if one side has too few images for a mean.
    """
    if min(len(here), len(there)) >= _LEAST_TO_CENTRE:
        here, there = _centred(here), _centred(there)
    return here @ there.T


def most_similar(
    similarity: Float[np.ndarray, "images others"], names: Sequence[str], others: Sequence[str], count: int
) -> list[tuple[str, str]]:
    """Each image with the `count` most similar others, best first."""
    ranks = np.argsort(-similarity, axis=1, kind="stable")[:, :count]
    return [(name, others[int(rank)]) for name, row in zip(names, ranks, strict=True) for rank in row]


def _centred(described: Float32[np.ndarray, "images dim"]) -> Float32[np.ndarray, "images dim"]:
    apart = described - described.mean(axis=0)
    apart /= np.maximum(np.linalg.norm(apart, axis=1, keepdims=True), 1e-12)
    return apart
