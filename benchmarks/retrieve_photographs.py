"""Which map images show the place of an autumn query: labels against local features, on a spring map.

    python benchmarks/retrieve_photographs.py DATA --out FOLDER [--json FILE]

Road and networks are those of localize_photographs.py: labels for the queries of one half of the road are learnt on the
other half, and every query is compared with the map images of the whole road. For each way of comparing: the share of
the five nearest map images that are among the ten most similar ones, and how often the most similar one is among the
five nearest. Blind drawing is the baseline. VLAD depends on the seed of its clustering and is a mean over SEEDS.
"""

import argparse
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from augmented_descriptors import MATCHERS, label_vectors, plain
from localize_photographs import Road, folder_of

from fgsn.files import write_json
from fgsn.formats.ground_truth import read_truth
from fgsn.geometry.colmap import read_model
from fgsn.matching.features import Features
from fgsn.matching.matcher import make_matcher
from fgsn.matching.retrieve import label_similarity
from fgsn.matching.similar import local_similarity

FEATURES = {"sift": 2048, "xfeat": 1024}
RETRIEVED, NEAREST, SEEDS, DRAWS = 10, 5, 3, 100


def similarities(road: Road, part: str) -> Iterator[tuple[str, np.ndarray]]:
    """Every way of comparing, and its (queries, map images) similarities; several ones with different seeds."""
    queries, names = road.folds[part], road.map_names
    files = {name: road.source / "images" / name for name in [*names, *queries]}
    points = {name: plain(folder_of(road, MATCHERS["xfeat"]), name).pixels for name in files}
    by_labels = {}
    for kind, model in {"classes": road.base(), "labels": road.fgsn(part)}.items():
        vectors = label_vectors(road, "xfeat", model)
        by_labels[kind] = label_similarity(vectors, files, points, [queries], names)
        yield kind, by_labels[kind].matrix()
    for kind, keypoints in FEATURES.items():
        features = Features(files, make_matcher(kind, keypoints), road.out / "work")
        for seed in range(SEEDS):
            local = local_similarity(features, [queries], names, seed)
            yield f"VLAD of {kind}", local.matrix()
            yield f"labels and VLAD of {kind}", (by_labels["labels"] + local).matrix()
    rng = np.random.default_rng(0)
    for _ in range(DRAWS):
        yield "blind", rng.random((len(queries), len(names)))


def measured(road: Road) -> dict[str, dict[str, float]]:
    """Percent of the nearest images found, and of queries whose most similar image is a near one."""
    truth, model = read_truth(road.truth, "centre"), read_model(road.source / "sparse", points_needed=False)
    counts: dict[str, list[tuple[float, bool]]] = defaultdict(list)
    for part, queries in road.folds.items():
        centres = truth.camera_from_world.centre[[truth.names.index(name) for name in queries]]
        apart = np.linalg.norm(centres[:, None] - model.camera_from_world.centre[None], axis=2)
        near = apart.argsort(axis=1)[:, :NEAREST]
        for name, similarity in similarities(road, part):
            ranks = np.argsort(-similarity, axis=1, kind="stable")
            counts[name] += [
                (float(np.isin(close, best[:RETRIEVED]).mean()), bool(best[0] in close))
                for close, best in zip(near, ranks, strict=True)
            ]
    means = {name: np.mean(values, axis=0) for name, values in counts.items()}
    return {name: {"nearest_found": 100 * float(a), "first_is_near": 100 * float(b)} for name, (a, b) in means.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--iterations", type=int, default=200)
    parser.add_argument("--clusters", type=int, default=100)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    road = Road(options.data, options.out, options.iterations, options.clusters)
    results: dict[str, Any] = {"settings": {"iterations": options.iterations, "clusters": options.clusters}}
    results["rows"] = measured(road)
    for name, row in results["rows"].items():
        print(f"| {name} | {row['nearest_found']:.0f}% | {row['first_is_near']:.0f}% |")
    write_json(options.json or options.out / "retrieve_photographs.json", results)


if __name__ == "__main__":
    main()
