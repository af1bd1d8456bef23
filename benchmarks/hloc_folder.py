"""Write a folder in hloc's layout from images and a posed model, with fgsn's matchers.

    python benchmarks/hloc_folder.py --map MODEL --images IMAGES --queries QUERIES.txt --matcher sift --out FOLDER

FOLDER then contains sfm/ (the map, triangulated from these keypoints), features.h5, matches.h5 and pairs.txt (the most
similar map images of each query): the input of `fgsn localize --hloc FOLDER --map FOLDER/sfm`. For trying this input
without hloc, and for comparing methods on identical matches.
"""

import argparse
from pathlib import Path

import numpy as np

from fgsn.config import LocalizeSettings
from fgsn.files import write_text
from fgsn.formats.hdf5 import written
from fgsn.formats.queries import read_queries
from fgsn.geometry.colmap import read_model, write_model
from fgsn.localization.matching_pipeline import extract_and_match, triangulated_map
from fgsn.matching.keypoints import write_keypoints


def make_hloc_folder(
    out: Path, model: Path, images: Path, queries: Path, matcher: str, work: Path, *, keypoints: int, retrieved: int
) -> None:
    """Match, triangulate and write the folder, unless it is complete.

    Unfiltered matches are for the queries only: the map is made with filtered ones.
    """
    if (out / "pairs.txt").exists():
        return
    asked = read_queries(queries)
    names = [query.name for query in asked]
    map_images = read_model(model, points_needed=False)
    settings = LocalizeSettings(
        map=model, queries=(queries,), out=out / "poses.txt", method="p3p", images=images, work=work, matcher=matcher,
        keypoints=keypoints, retrieved=retrieved, workers=0,
    )  # fmt: skip
    matched = extract_and_match(map_images, [asked], settings, "cpu")
    write_model(out / "sfm", triangulated_map(map_images, matched))
    features = matched.features
    write_keypoints(out / "features.h5", {name: features[name] for name in [*map_images.names, *names]})
    pairs = [(query, name) for query in names for name in matched.retrieved.get(query, [])]
    with written(out / "matches.h5") as file:
        for query, name in pairs:
            (rows, scores), count = matched.query_features.match(query, name), len(features[query])
            partner, certainty = np.full(count, -1, np.int32), np.zeros(count, np.float32)
            partner[rows[:, 0]], certainty[rows[:, 0]] = rows[:, 1], scores
            group = file.create_group("/".join(one.replace("/", "-") for one in (query, name)))
            group["matches0"], group["matching_scores0"] = partner, certainty
    write_text(out / "pairs.txt", "".join(f"{query} {name}\n" for query, name in pairs))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("map", "images", "queries", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--matcher", default="sift")
    parser.add_argument("--keypoints", type=int, default=2048)
    parser.add_argument("--retrieved", type=int, default=10)
    options = parser.parse_args()
    make_hloc_folder(
        options.out, options.map, options.images, options.queries, options.matcher, options.out / "work",
        keypoints=options.keypoints, retrieved=options.retrieved,
    )  # fmt: skip


if __name__ == "__main__":
    main()
