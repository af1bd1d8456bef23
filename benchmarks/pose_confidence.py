"""How well the confidence of `fgsn localize` is calibrated, and the fit of its coefficients.

    python benchmarks/pose_confidence.py --fit TOWN TOWN --test TOWN TOWN --out OUT

Every TOWN is an output folder of `fgsn world` (`TOWN,QUERIES` takes only the queries listed in the folder QUERIES). All
queries are localized with each of SETTINGS; a pose is right within 5 m 10°. Logistic
regressions on the --fit towns are judged on the --test towns: `fgsn` is what `fgsn localize` computes, all others are
fitted here. `label agreement` is Cohen's kappa of the map points in view: their labels against those of the query's
pixels on which they project, 0 for shuffled points. Existing files in OUT are reused.
"""

import argparse
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

from fgsn.config import LocalizeSettings, SegmentSettings
from fgsn.evaluation.pose_metrics import pose_errors
from fgsn.files import read_json
from fgsn.formats.ground_truth import read_truth
from fgsn.formats.poses import read_results
from fgsn.formats.queries import read_queries
from fgsn.geometry.camera import Camera
from fgsn.geometry.colmap import read_model
from fgsn.geometry.pose import Pose
from fgsn.inference.label_lookup import NO_LABEL, labels_at, read_image_labels
from fgsn.inference.segment import segment
from fgsn.localization.confidence import COEFFICIENTS, confidence
from fgsn.localization.labelled_map import LabelledMap, make_labelled_map
from fgsn.localization.localize import localize

METRES, DEGREES = 5.0, 10.0
CLOSEST = 1.0
"""Metres within which a pose is not nearer to a map image than another."""
MODEL = Path("world:labels")
SETTINGS = (("ssmc", 4.0), ("ssmc", 8.0), ("p3p", 4.0))
"""Method, and largest error of an inlier in pixels."""
SLACK, WIDEST = 1.1, np.deg2rad(20)
ROWS = {
    "inliers (control)": ["inliers"],
    "inliers, share": ["inliers", "share"],
    "distance": ["distance"],
    "label agreement": ["agreement"],
    "inliers, label agreement": ["inliers", "agreement"],
    "inliers, distance": ["inliers", "distance"],
    "inliers, distance, label agreement": ["inliers", "distance", "agreement"],
}
BINS = (0.0, 0.05, 0.2, 0.5, 0.8, 0.95, 1.0)


def label_agreement(pose: Pose, camera: Camera, labelled: LabelledMap, labels: np.ndarray) -> float:
    """Cohen's kappa of the labels of the map points in view and of the query's pixels on which they project."""
    pixels, depth = camera.project(pose.transform(labelled.points))
    offset, seen = pose.centre - labelled.points, labelled.visibility
    distance = np.linalg.norm(offset, axis=1)
    view = (depth > 0.1) & (labelled.labels != NO_LABEL)
    view &= (distance > seen.nearest / SLACK) & (distance < seen.farthest * SLACK)
    view &= (offset * seen.axis).sum(axis=1) > distance * np.cos(np.maximum(seen.half_angle, WIDEST))
    here, there = labels_at(labels, pixels[view]), labelled.labels[view]
    here, there = here[here != NO_LABEL], there[here != NO_LABEL]
    if not len(here):
        return 0.0
    shares = [np.bincount(side, minlength=labelled.clusters) / len(side) for side in (here, there)]
    chance = float(shares[0] @ shares[1])
    return (float((here == there).mean()) - chance) / max(1 - chance, 1e-9)


def observations(town: Path, lists: Path, matcher: str, out: Path) -> list[dict[str, Any]]:
    """The evidence of every pose in a town, whether it is right, and what `fgsn localize` says."""
    labels, conditions = out / "labels", sorted(lists.glob("*.txt"))
    segment(SegmentSettings(model=MODEL, images=town / "images", out=labels, save=("labels",)))
    queries = {query.name: query for path in conditions for query in read_queries(path)}
    truth, rows = read_truth(town / "truth"), []
    row_of = {name: row for row, name in enumerate(truth.names)}
    labelled = make_labelled_map(read_model(town / "sparse"), labels)
    for method, error in SETTINGS:
        poses = out / f"{matcher}_{method}_{error:g}.txt"
        if not poses.exists():
            localize(
                LocalizeSettings(
                    map=town / "sparse", queries=tuple(conditions), images=town / "images", work=out / "work",
                    map_labels=labels, query_labels=labels, method=method, matcher=matcher, max_error=error,
                    out=poses, workers=0,
                )
            )  # fmt: skip
        facts = {row["name"]: row for row in read_json(poses.with_suffix(".results.json"))["by_query"]}
        found = read_results(poses)
        true = truth.camera_from_world[np.array([row_of[name] for name in found.names])]
        distances, angles = pose_errors(found.camera_from_world, true)
        for number, name in enumerate(found.names):
            query, pose = queries[name], found.camera_from_world[number]
            seen = read_image_labels(labels, name, query.camera.size, labelled.clusters)
            rows.append(
                facts[name]
                | {"right": bool(distances[number] <= METRES and angles[number] <= DEGREES)}
                | {"agreement": label_agreement(pose, query.camera, labelled, seen)}
                | {"distance": np.linalg.norm(labelled.camera_from_world.centre - pose.centre, axis=1).min()}
            )
    return rows


def inputs(rows: list[dict[str, Any]], names: list[str]) -> np.ndarray:
    """The columns of a regression (N, n)."""
    columns = {
        "inliers": np.log([row["inliers"] for row in rows]),
        "share": np.log([row["inliers"] / row["kept"] for row in rows]),
        "distance": np.log(np.maximum([row["distance"] for row in rows], CLOSEST)),
        "agreement": np.array([row["agreement"] for row in rows]),
    }
    return np.stack([columns[name] for name in names], axis=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fit", nargs="+", required=True)
    parser.add_argument("--test", nargs="+", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--matcher", default="xfeat-unfiltered")
    options = parser.parse_args()

    sides = []
    for towns in (options.fit, options.test):
        rows = []
        for town in towns:
            folder, _, lists = town.partition(",")
            queries = Path(lists or f"{folder}/queries")
            found = observations(
                Path(folder), queries, options.matcher, options.out / folder.strip("/").replace("/", "_")
            )
            print(f"{town}: {len(found)} poses, {np.mean([row['right'] for row in found]):.0%} right")
            rows += found
        sides.append((rows, np.array([row["right"] for row in rows])))
    (fit, right_fit), (test, right) = sides
    table = Table(title=f"{len(fit)} poses to fit, {len(test)} to test")
    for column in ("", "AUC fit", "AUC", "Brier", "log loss", "constant and factors"):
        table.add_column(column)
    # Each town weighs right and wrong poses by their number; the penalty is too weak to matter with hundreds.
    for name, columns in ROWS.items():
        model = LogisticRegression(C=100.0, max_iter=1000).fit(inputs(fit, columns), right_fit)
        known, found = (model.predict_proba(inputs(side, columns))[:, 1] for side in (fit, test))
        factors = " ".join(f"{value:.2f}" for value in (*model.intercept_, *model.coef_[0]))
        table.add_row(name, f"{roc_auc_score(right_fit, known):.3f}", *scores(right, found), factors)
    said = np.array([confidence(row["inliers"]) for row in test])
    table.add_row("fgsn", "", *scores(right, said), " ".join(map(str, COEFFICIENTS)))
    table.add_row("always the share of right ones", "", *scores(right, np.full(len(right), right_fit.mean())), "")
    Console(width=150).print(table)
    print("confidence: poses, mean confidence, share of right ones (test towns)")
    for low, high in pairwise(BINS):
        mine = (said >= low) & ((said < high) | (high == 1))
        if mine.any():
            print(f"{low:.2f} to {high:.2f}: {mine.sum()}, {said[mine].mean():.2f}, {right[mine].mean():.2f}")
    for least in (0.2, 0.5, 0.8):
        kept = said >= least
        print(
            f"--min-confidence {least}: refuses {(~kept & ~right).sum()} of {(~right).sum()} wrong poses and "
            f"{(~kept & right).sum()} of {right.sum()} right ones"
        )


def scores(right: np.ndarray, found: np.ndarray) -> list[str]:
    """Area under the curve, Brier score and log loss."""
    clipped = np.clip(found, 1e-3, 1 - 1e-3)
    return [
        f"{value:.3f}"
        for value in (roc_auc_score(right, found), brier_score_loss(right, found), log_loss(right, clipped))
    ]


if __name__ == "__main__":
    main()
