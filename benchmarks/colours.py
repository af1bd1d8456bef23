"""How well similar colours stand for similar labels, measured on the label maps of a model.

    python benchmarks/colours.py RUN LABELS     # a model or run folder, and a folder of its label maps

For the palette of K colours in its own order and assigned by similarity: the correlation between distances of centroids
and distances of colours (OKLab), and the distances between colours of labels that touch in the images (smallest, first
percentile, median).
"""

import argparse
from pathlib import Path

import numpy as np

from fgsn.errors import FgsnError
from fgsn.inference.colours import oklab, palette
from fgsn.inference.label_maps import read_label_map
from fgsn.inference.model import load
from fgsn.inference.similar_colours import distances, similar_palette


def touching(folder: Path) -> np.ndarray:
    """Pairs (N, 2) of labels that touch in any label map of a folder."""
    pairs = np.zeros((0, 2), np.int64)
    for file in sorted(folder.rglob("*.png")):
        labels, _ = read_label_map(file)
        for one, other in ((labels[:, 1:], labels[:, :-1]), (labels[1:], labels[:-1])):
            edge = np.sort(np.stack([one, other], axis=-1)[one != other], axis=1)
            pairs = np.unique(np.concatenate([pairs, edge]), axis=0)
    return pairs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("labels", type=Path)
    arguments = parser.parse_args()
    codebook = load(arguments.model, "cpu").codebook
    if codebook is None:
        raise FgsnError(f"{arguments.model} has no codebook")
    centroids = codebook.centroids.numpy()
    one, other = touching(arguments.labels).T
    upper = np.triu_indices(len(centroids), 1)
    print(f"{len(centroids)} clusters, {len(one)} pairs of labels that touch")
    print("| palette | correlation | smallest | 1 % | median |\n| --- | --- | --- | --- | --- |")
    for name, colours in (
        ("in its own order", palette(len(centroids))),
        ("by similarity", similar_palette(centroids)),
    ):
        gaps = distances(oklab(colours))
        correlation = np.corrcoef(gaps[upper], distances(centroids)[upper])[0, 1]
        quantiles = " | ".join(f"{value:.3f}" for value in np.quantile(gaps[one, other], (0, 0.01, 0.5)))
        print(f"| {name} | {correlation:.2f} | {quantiles} |")


if __name__ == "__main__":
    main()
