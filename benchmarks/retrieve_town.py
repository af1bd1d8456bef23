"""How often the most similar map images of a query contain the nearest one, in the towns of localize_town.py.

    python benchmarks/retrieve_town.py --out OUT --seeds 30001 30002 --stray 1 [--json FILE]

Rows: VLAD of local features, the classes of the base network world:tiny, the labels of --model, and sums with VLAD. The
descriptors of each condition lose their mean; in the rows `all together`, those of all conditions lose one mean. The
control is a blind draw. Seeds from 10,000 on are for final results: choose nothing by them.
"""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np
from localize_town import MODELS, Town, make_town, pose_of, town_parser
from numpy.typing import NDArray

from fgsn.config import CONDITIONS
from fgsn.files import write_json
from fgsn.formats.ground_truth import read_truth
from fgsn.formats.queries import read_query_lists
from fgsn.geometry.colmap import read_model
from fgsn.matching.features import Features
from fgsn.matching.label_vectors import LabelVectors
from fgsn.matching.matcher import make_matcher
from fgsn.matching.retrieve import NO_POINTS, label_similarity
from fgsn.matching.similar import Similarity, local_similarity

COUNTS = (1, 5, 10)
FEATURES = ("sift", "xfeat")


def similarities(
    town: Town, conditions: Sequence[Sequence[str]], names: Sequence[str]
) -> Iterator[tuple[str, NDArray[np.floating]]]:
    """Rows of the table: similarity (queries, map images)."""
    files = {name: town.root / "images" / name for name in chain(names, *conditions)}
    points, work = dict.fromkeys(files, NO_POINTS), town.out / "work"
    by_labels: dict[str, Similarity] = {}
    for kind in MODELS:
        labels = LabelVectors.of_model(town.network(kind), work / "retrieval")
        labels.compute(files, points)
        by_labels[kind] = label_similarity(labels, files, points, conditions, names)
        yield kind, by_labels[kind].matrix()
    for kind in FEATURES:
        features = Features(files, make_matcher(kind, 2048, "cpu"), work)
        features.extract(files)
        local = local_similarity(features, conditions, names)
        yield f"{kind}, all together", local_similarity(features, [list(chain(*conditions))], names).matrix()
        yield kind, local.matrix()
        for other, similarity in by_labels.items():
            yield f"{kind} and {other}", (local + similarity).matrix()


def main() -> None:
    parser = town_parser(__doc__)
    options = parser.parse_args()
    found: dict[str, list[NDArray[np.bool_]]] = {}
    for seed in options.seeds:
        town = make_town(options, seed)
        model, truth = read_model(town.root / "sparse", points_needed=False), read_truth(town.root / "truth")
        conditions = [[query.name for query in some] for some in read_query_lists(town.lists("queries"))]
        queries = pose_of(truth, list(chain(*conditions))).centre
        distances = np.linalg.norm(queries[:, None] - model.camera_from_world.centre, axis=2)
        rows, nearest = np.arange(len(distances)), distances.argmin(axis=1)
        blind = np.random.default_rng(seed).random(distances.shape)
        for row, similarity in chain([("blind draw", blind)], similarities(town, conditions, model.names)):
            rank = (similarity > similarity[rows, nearest][:, None]).sum(axis=1)
            hits = (rank[:, None] < COUNTS).reshape(len(CONDITIONS), -1, len(COUNTS))
            found.setdefault(row, []).append(hits)
    joined = {row: np.concatenate(hits, axis=1).mean(axis=1) for row, hits in found.items()}
    hard = np.argsort(joined[FEATURES[0]][:, 1], kind="stable")[:3]
    names = " ".join(np.take(CONDITIONS, np.sort(hard)).tolist())
    print(f"| compared by | first, in five, in ten | {names} |\n| --- | --- | --- |")
    for row, hits in joined.items():
        cells = (" / ".join(f"{100 * value:.0f}" for value in part.mean(axis=0)) for part in (hits, hits[hard]))
        print(f"| {row} | {' | '.join(cells)} |")
    if options.json:
        common: dict[str, Any] = {name: getattr(options, name) for name in ("seeds", "places", "size", "stray")}
        write_json(
            options.json,
            common
            | {
                "conditions": CONDITIONS,
                "counts": COUNTS,
                "found": {k: v.round(4).tolist() for k, v in joined.items()},
            },
        )


if __name__ == "__main__":
    main()
