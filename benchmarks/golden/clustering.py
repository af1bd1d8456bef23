"""Cases 5 and 6: whitening, assignment and k-means."""

from functools import cache

import numpy as np
import torch
from golden.data import Golden, differing, gap, row, rows

from fgsn.clustering.codebook import Codebook
from fgsn.clustering.kmeans import kmeans, nearest
from fgsn.clustering.whitening import Whitening


@cache
def features(golden: Golden) -> torch.Tensor:
    z = golden.uniform(501, 2000, 512) / (1 + np.arange(512) / 64)
    mixed = golden.uniform(502, 512, 512) * np.sqrt(3 / 512)
    return torch.from_numpy((z @ mixed + 3 * golden.uniform(503, 512, low=0)).astype(np.float32))


@cache
def whitening(golden: Golden) -> Whitening:
    return Whitening.fit(features(golden), 256)


def their_codebook(projection: np.ndarray, offset: np.ndarray, centroids: np.ndarray) -> Codebook:
    """Theirs is x A + b; ours takes the mean off first, and -mean A = b."""
    mean = np.linalg.lstsq(projection.T.astype(np.float64), -offset.astype(np.float64), rcond=None)[0]
    parts = (torch.from_numpy(np.asarray(part, np.float32)) for part in (mean, projection, centroids))
    return Codebook(Whitening(next(parts), next(parts)), next(parts))


@row("5", "angles between whitened features (float64)", 2e-4)
def gram(golden: Golden) -> float:
    whitened = whitening(golden)(features(golden)[:64]).double()
    return gap(whitened @ whitened.T, golden["05_pca.npz"]["gram64_float64"])


@row("5", "angles between whitened features (faiss)", 6e-3)
def gram_faiss(golden: Golden) -> float:
    whitened = whitening(golden)(features(golden)[:64]).double()
    return gap(whitened @ whitened.T, golden["05_pca.npz"]["gram64"])


@row("5", "axes, 1 - smallest cosine", 0.03)
def axes(golden: Golden) -> float:
    ours, theirs = whitening(golden).projection.numpy(), golden["05_pca.npz"]["A"]
    cosines = (ours * theirs).sum(axis=0) / np.linalg.norm(ours, axis=0) / np.linalg.norm(theirs, axis=0)
    return 1 - np.abs(cosines).min()


@row("5", "their whitening applied", 1e-5)
def whitening_applied(golden: Golden) -> float:
    stored = golden["05_pca.npz"]
    codebook = their_codebook(stored["A"], stored["b"], stored["centroids"])
    return gap(codebook.whitening(features(golden)[:64]), stored["Y_first64"])


@row("5", "labels with their codebook where the margin is > 1e-4, share that differs", 0)
def labels_of_theirs(golden: Golden) -> float:
    stored = golden["05_pca.npz"]
    found = their_codebook(stored["A"], stored["b"], stored["centroids"]).assign(features(golden))
    clear = stored["label_margin"] > 1e-4
    return differing(found[clear], stored["labels"][clear])


@row("5", "labels with our whitening, share that differs", 0.01)
def labels_of_ours(golden: Golden) -> float:
    stored = golden["05_pca.npz"]
    triples = torch.from_numpy(stored["centroid_rows"].astype(np.int64))
    centroids = whitening(golden)(features(golden))[triples].mean(dim=1)
    return differing(Codebook(whitening(golden), centroids).assign(features(golden)), stored["labels"])


KMEANS = {"a": (601, 3000, 32, 20, 10), "b": (611, 3000, 32, 20, 50), "c": (621, 4000, 256, 30, 20)}


@rows({case: (case,) for case in KMEANS}, "6", "k-means {}: worst of 5 objectives over the worst of theirs", 1.01)
def objective(golden: Golden, case: str) -> float:
    seed, samples, dim, centres, clusters = KMEANS[case]
    middle = golden.uniform(seed, centres, dim)
    chosen = (golden.uniform(seed + 1, samples, low=0) * centres).astype(int)
    x = middle[chosen] + 1.2 * golden.uniform(seed + 2, samples, dim)
    x = torch.from_numpy((x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32))
    facts = golden["05_06_pca_kmeans.json"]["kmeans"]["cases"][case]
    reached = []
    for lot in range(5):
        found = kmeans(x, clusters, 20, torch.Generator().manual_seed(lot))
        reached.append(nearest(x, found.centroids)[1].double().sum().item())
    possible = min(reached) >= 0.98 * facts["best_known_sklearn_kmeanspp_10_inits"]
    return max(reached) / facts["permuted_runs"]["max"] if possible else np.inf
