"""Poses from descriptors with labels appended: autumn images in a spring map, and controls.

    python benchmarks/augmented_descriptors.py DATA --out FOLDER [--json FILE]

DATA holds the folders cmu_seasons and camvid of the development data (see their READMEs). Road, map, networks and what
counts as right are those of localize_photographs.py: labels for the queries of one half of the road are learnt on the
other half. Every row appends something to the descriptors of queries and map images; mutual nearest neighbours are then
matched without ratio test, and P3P in RANSAC gets all matches, whatever is appended. Rows:

- nothing: the descriptors alone;
- position: soft cells of the place in the image, a control that never looks at the image;
- classes: the classes of the labels' start network;
- labels: the fine-grained labels;
- labels and position: half the weight each.

Each is shown for all weights, and at the weight with the most right matches between the training pairs of the other
half, as `fgsn augment --data` chooses it. Recalls are means over seeds of the estimator and of the labels.
"""

import argparse
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from localize_photographs import METRES_PER_UNIT, RIGHT, Road, folder_of

from fgsn.config import AugmentSettings
from fgsn.evaluation.pose_metrics import pose_errors, pose_metrics
from fgsn.files import read_json, write_json
from fgsn.formats.ground_truth import read_truth
from fgsn.formats.hloc import read_pairs
from fgsn.formats.queries import Query, read_queries
from fgsn.geometry.colmap import read_model
from fgsn.geometry.pose import Pose
from fgsn.localization.labelled_map import make_labelled_map
from fgsn.localization.matches import Floats, MatchSource, Rows
from fgsn.localization.robust_pose import estimate_pose
from fgsn.matching.augmentation import Augmentation
from fgsn.matching.choose_weight import WEIGHTS, best_weight, right_matches_by_weight
from fgsn.matching.keypoints import Keypoints, read_keypoints
from fgsn.matching.label_vectors import LabelVectors
from fgsn.matching.nearest import mutual_nearest

MATCHERS = {"sift": "sift, no ratio test", "xfeat": "xfeat, any similarity"}
"""Features, and the matcher of localize_photographs.py whose map and retrieved images are used."""
KINDS = {
    "position": "position",
    "classes": "baseline",
    "labels": "labels",
    "labels and position": "labels_and_position",
}
"""What is appended, and its row in the table that the weight is chosen by."""
CHOSEN = "chosen"
SEEDS = 3


@dataclass(frozen=True, eq=False)
class DescriptorMatches(MatchSource):
    """Mutual nearest descriptors of queries and the map images retrieved for them."""

    features: dict[str, Keypoints]
    retrieved: dict[str, list[str]]

    def partners(self, query: str) -> list[str]:
        return self.retrieved[query]

    def key_points(self, name: str) -> Floats:
        return self.features[name].pixels.astype(np.float64)

    def pair(self, query: str, image: str, in_query: int, in_image: int) -> tuple[Rows, Rows, Floats]:
        rows, cosine = mutual_nearest(self.features[query].descriptors, self.features[image].descriptors)
        return rows[:, 0], rows[:, 1], cosine.astype(np.float64)


class Counts(NamedTuple):
    """Matches of the queries of one half of the road, by query."""

    matches: list[int]
    right: list[int]


@dataclass(frozen=True, eq=False)
class Row:
    """One kind and weight of augmentation on the queries of one half of the road; what was computed is on disk."""

    road: Road
    features: str
    part: str
    augmentation: Augmentation

    @property
    def file(self) -> Path:
        return self.road.out / "augmented" / self.features / self.augmentation.name / f"{self.part}.json"

    def counts(self) -> Counts:
        """All matches, and those that the true pose puts within RIGHT pixels."""
        if not self.file.exists():
            truth, counts = read_truth(self.road.truth, "centre"), Counts([], [])
            for query, pixels, points in self._matches():
                pose = truth.camera_from_world[truth.names.index(query.name)]
                error = np.linalg.norm(query.camera.project(pose.transform(points))[0] - pixels, axis=1)
                counts.matches.append(len(error))
                counts.right.append(int((error < RIGHT).sum()))
            write_json(self.file, counts._asdict())
        return Counts(**read_json(self.file))

    def poses(self) -> list[list[list[float]]]:
        """By seed of the estimator, then by query: rotation and translation, 12 numbers, nan for no pose."""
        file = self.file.with_name(f"{self.part}_poses.json")
        if not file.exists():
            found: list[list[list[float]]] = [[] for _ in range(SEEDS)]
            for query, pixels, points in self._matches():
                for seed, poses in enumerate(found):
                    pose = estimate_pose(query.camera, pixels, points, seed=seed).camera_from_world
                    poses.append([*pose.rotation.ravel(), *pose.translation] if pose else [np.nan] * 12)
            write_json(file, {"poses": found})
        return read_json(file)["poses"]

    def _matches(self) -> Iterator[tuple[Query, np.ndarray, np.ndarray]]:
        """Pixels and map points of the matches of every query."""
        road, folder = self.road, folder_of(self.road, MATCHERS[self.features])
        labelled = make_labelled_map(read_model(folder / "sfm"), None)
        queries = read_queries(road.queries[self.part])
        retrieved = read_pairs(folder / "pairs.txt")
        retrieved = {query.name: retrieved[query.name] for query in queries}
        names = [*retrieved, *dict.fromkeys(name for found in retrieved.values() for name in found)]
        images = road.source / "images"
        described = {name: self.augmentation(name, images / name, plain(folder, name)) for name in names}
        source = DescriptorMatches(labelled, described, retrieved)
        for query in queries:
            matches = source.of(query.name)
            yield query, matches.pixels, labelled.points[matches.points]


def plain(folder: Path, name: str) -> Keypoints:
    """The features of an image, as they are."""
    found = read_keypoints(folder / "features.h5", name)
    assert found is not None
    return found


def label_vectors(road: Road, features: str, model: Path) -> LabelVectors:
    """Label probabilities at the key points of all images."""
    folder, images = folder_of(road, MATCHERS[features]), road.source / "images"
    names = [*road.map_names, *road.names]
    found = LabelVectors.of_model(model, road.out / "vectors" / features)
    found.compute({n: images / n for n in names}, {n: plain(folder, n).pixels for n in names}, "cpu")
    return found


def chosen_weights(road: Road, features: str, part: str) -> dict[str, dict[str, float]]:
    """Right matches between the training pairs of the other half, by kind and weight."""
    out = road.out / "weights" / features / road.fgsn(part).name
    if not (out / "table.json").exists():
        settings = AugmentSettings(
            features=out, images=out, out=out, model=road.fgsn(part), baseline=road.base(), data=road.training(part),
            matcher=features, seed=0, device="cpu",
        )  # fmt: skip
        write_json(out / "table.json", right_matches_by_weight(settings, out / "work"))
    return read_json(out / "table.json")


def metrics(rows: Sequence[Mapping[str, Row]], poses: bool) -> dict[str, Any]:
    """Metrics of both halves together; the recall is a mean over seeds of the estimator and of the labels.

    Args:
        rows: by seed of the labels: a row for each half.
        poses: whether to estimate poses, which takes most of the time.
    """
    counts = [row.counts() for halves in rows for row in halves.values()]
    found: dict[str, Any] = {
        "right": float(np.mean([count for half in counts for count in half.right])),
        "matches": float(np.mean([count for half in counts for count in half.matches])),
    }
    if not poses:
        return found
    recalls = []
    for halves in rows:
        road = next(iter(halves.values())).road
        truth = read_truth(road.truth, "centre")
        true = truth.camera_from_world[np.array([truth.names.index(name) for name in road.names])]
        for by_query in zip(*(halves[part].poses() for part in road.folds), strict=True):
            values = np.array([pose for half in by_query for pose in half], float)
            distances, angles = pose_errors(Pose(values[:, :9].reshape(-1, 3, 3), values[:, 9:]), true)
            recalls.append(pose_metrics(distances * METRES_PER_UNIT, angles)["recall"])
    return found | {"recall": np.mean(recalls, axis=0).tolist(), "recall_by_seed": recalls}


def measured(
    roads: Sequence[Road], features: str, kinds: Sequence[str], poses: Collection[float], only: float | None
) -> dict[str, dict[str, Any]]:
    """Metrics of every kind and weight; under `chosen`, with the weight chosen for each half on the other.

    Args:
        roads: the road, by seed of the labels.
        features: key of `MATCHERS`.
        kinds: keys of `KINDS`.
        poses: weights with which poses are estimated.
        only: the one weight to measure, where time is short; None: all, and the chosen one.
    """
    results: dict[str, dict[str, Any]] = {}
    nothing = {part: Row(roads[0], features, part, Augmentation(None, 0.0)) for part in roads[0].folds}
    results["nothing"] = {"0": metrics([nothing], poses=True)}
    for kind in kinds:
        seeds = roads if "labels" in kind else roads[:1]
        rows = [
            {weight: {part: row_of(road, features, part, kind, weight) for part in road.folds} for weight in WEIGHTS}
            for road in seeds
        ]
        results[kind] = {
            f"{weight:g}": metrics([by[weight] for by in rows], weight in poses)
            for weight in ([only] if only else WEIGHTS[1:])
        }
        if not only:
            best = [
                {part: best_weight(chosen_weights(road, features, part)[KINDS[kind]]) for part in road.folds}
                for road in seeds
            ]
            chosen = [{part: by[weight][part] for part, weight in w.items()} for by, w in zip(rows, best, strict=True)]
            results[kind][CHOSEN] = metrics(chosen, poses=True) | {"weights": best}
        print("\n".join(table({features: results})), flush=True)
    return results


def row_of(road: Road, features: str, part: str, kind: str, weight: float) -> Row:
    """The row of a kind of augmentation."""
    if kind == "position" or not weight:
        return Row(road, features, part, Augmentation(None, 0.0, weight))
    labels = label_vectors(road, features, road.base() if kind == "classes" else road.fgsn(part))
    halves = 2 if kind == "labels and position" else 1
    return Row(road, features, part, Augmentation(labels, weight / halves, weight - weight / halves))


def table(results: dict[str, Any]) -> Iterator[str]:
    """The table of docs/localization.md: right matches of all, and recalls, by weight."""
    weights = [*(f"{weight:g}" for weight in WEIGHTS[1:]), CHOSEN]
    yield f"| features | appended | {' | '.join(weights)} |"
    yield "| --- " * (2 + len(weights)) + "|"
    for features, kinds in results.items():
        for kind, found in kinds.items():
            cells = [cell(found.get(weight, found.get("0", {}))) for weight in weights]
            yield f"| {features} | {kind} | {' | '.join(cells)} |"


def cell(found: dict[str, Any]) -> str:
    if not found:
        return ""
    recall = ", " + " / ".join(f"{value:.0f}" for value in found["recall"]) if "recall" in found else ""
    return f"{found['right']:.1f} of {found['matches']:.0f}{recall}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--iterations", type=int, default=200)
    parser.add_argument("--clusters", type=int, default=100)
    parser.add_argument("--features", nargs="+", default=list(MATCHERS), choices=MATCHERS)
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS)
    parser.add_argument("--poses", nargs="+", type=float, default=list(WEIGHTS), help="weights to estimate poses with")
    parser.add_argument("--only", type=float, choices=WEIGHTS[1:], help="measure one weight, and choose none")
    parser.add_argument("--label-seeds", type=int, default=1, help="networks trained for each half of the road")
    parser.add_argument("--start", type=Path, help="start of the labels instead of the network of CamVid's classes")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    roads = [
        Road(options.data, options.out, options.iterations, options.clusters, seed, options.start)
        for seed in range(options.label_seeds)
    ]
    names = ("iterations", "clusters", "label_seeds", "start")
    given = {name: getattr(options, name) for name in names}
    results: dict[str, Any] = {
        "settings": {name: str(value) if isinstance(value, Path) else value for name, value in given.items()},
        "rows": {},
        "weights": {},
    }
    json_file = options.json or options.out / "augmented_descriptors.json"
    if json_file.exists() and (before := read_json(json_file))["settings"] == results["settings"]:
        results = before  # of other features
    for features in options.features:
        results["rows"][features] = measured(roads, features, options.kinds, options.poses, options.only)
        if not options.only:
            results["weights"][features] = {
                part: [chosen_weights(road, features, part) for road in roads] for part in roads[0].folds
            }
        write_json(json_file, results)


if __name__ == "__main__":
    main()
