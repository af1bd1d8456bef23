"""Poses on real images: autumn images in a spring map, by P3P, SSMC and GSMC, with several matchers.

    python benchmarks/localize_photographs.py DATA --out FOLDER [--json FILE]

DATA holds the folders cmu_seasons and camvid of the development data (see their READMEs). Everything else is made here:

- a base network: `lite` from ImageNet, trained shortly on CamVid's 11 classes;
- fine-grained labels, twice: learnt on one half of the road, for the queries of the other half. No image that is
  trained on, of either season, belongs to that other half or to the GAP queries beside it;
- for each matcher one folder in hloc's layout, so that all methods judge the same matches;
- priors for GSMC: each query's gravity and height are those of the map image that looks most like it. The map's cameras
  tell which way is up. Nothing is taken from the truth.

The truth is a joint reconstruction of both seasons, so it is no independent one; the map's unit is about 4 m. Right
matches are those that the true pose puts within RIGHT pixels, wrong ones beyond WRONG.
"""

import argparse
import csv
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from hloc_folder import make_hloc_folder
from label_rows import label_row
from real_images import subset

from fgsn.config import (
    EvaluateSettings,
    LocalizeSettings,
    PretrainSettings,
    ScorePosesSettings,
    SegmentSettings,
    TrainSettings,
)
from fgsn.errors import FgsnError
from fgsn.evaluation.evaluate import evaluate
from fgsn.evaluation.pose_metrics import pose_errors, pose_metrics
from fgsn.evaluation.score_poses import score_poses
from fgsn.files import read_json, write_json, write_text
from fgsn.formats.ground_truth import read_truth
from fgsn.formats.hloc import find_hloc_files, read_pairs
from fgsn.formats.priors import priors_like, read_priors, write_priors
from fgsn.formats.queries import Query, read_queries
from fgsn.geometry.colmap import read_model
from fgsn.geometry.gravity import up_of_cameras
from fgsn.geometry.pose import Pose
from fgsn.inference.label_lookup import labels_at, read_image_labels
from fgsn.inference.segment import segment
from fgsn.localization.hloc_matches import open_hloc_matches
from fgsn.localization.labelled_map import make_labelled_map
from fgsn.localization.localize import localize
from fgsn.localization.matches import Matches2D3D
from fgsn.localization.robust_pose import estimate_pose
from fgsn.training.pretrain import pretrain
from fgsn.training.train import train

METRES_PER_UNIT = 4.0
HEIGHT_METRES = 0.3  # standard deviation of the priors' height
INTRINSICS = "PINHOLE 1024 768 868.993378 866.063001 525.942323 420.042529"
GAP = 3
WINDOW = 0.02  # the default of fgsn localize
RIGHT, WRONG = 10.0, 25.0
MATCHERS = {
    "sift": ("sift", 2048),
    "sift, no ratio test": ("sift-unfiltered", 2048),
    "xfeat": ("xfeat", 1024),
    "xfeat, any similarity": ("xfeat-unfiltered", 1024),
    "xfeat-lighterglue": ("xfeat-lighterglue", 1024),
}
METHODS = {
    "p3p": "",
    "ssmc camvid": "camvid",
    "ssmc fgsn": "fgsn",
    "ssmc camvid, around": "camvid",
    "ssmc fgsn, around": "fgsn",
    "gsmc camvid": "camvid",
    "gsmc fgsn": "fgsn",
}
"""Methods, and the labels that each goes by; ssmc as published, or with the labels around key points."""


class Road:
    """The data, and the places of what is made of it."""

    def __init__(
        self, data: Path, out: Path, iterations: int, clusters: int, seed: int = 0, start: Path | None = None
    ) -> None:
        self.data, self.out, self.seed, self.start = data, out, seed, start
        self.source = (data / "cmu_seasons").resolve()
        self.iterations, self.clusters = iterations, clusters
        self.truth = self.source / "poses_c0_sfm.txt"
        self.names = sorted(name for name in read_truth(self.truth, "centre").names if name.startswith("autumn"))
        half = len(self.names) // 2
        self.folds = {"first": self.names[:half], "second": self.names[half:]}
        """The queries of each half of the road."""
        self.queries = {part: out / "queries" / f"{part}.txt" for part in self.folds}
        for part, names in self.folds.items():
            write_text(self.queries[part], "".join(f"{name} {INTRINSICS}\n" for name in names))
        self.map_names = read_model(self.source / "sparse").names

    def training(self, part: str) -> Path:
        """A data set of the pairs that lie in the other half than these queries, some way from the border."""
        half = len(self.folds["first"])
        allowed = set(self.names[half + GAP :] if part == "first" else self.names[: half - GAP])
        with (self.source / "pairs.csv").open() as file:
            rows = list(csv.DictReader(file))
        near = {row["ref"] for row in rows if row["target"] not in allowed}
        files = [row["file"] for row in rows if row["target"] in allowed and row["ref"] not in near]
        return subset(self.source, self.out / "data" / f"for_{part}", files)

    def base(self) -> Path:
        run = self.out / "camvid"
        if not (run / "model.safetensors").exists():
            pretrain(
                PretrainSettings(
                    data=(f"camvid:{self.data / 'camvid'}",),
                    out=run,
                    weights="imagenet",
                    iterations=300,
                    batch=8,
                    crop=193,
                    short_side=270,
                    validate_every=300,
                    resume=(run / "config.yaml").exists(),
                )
            )
        return run

    def fgsn(self, part: str) -> Path:
        """Labels for the queries of one half, learnt on the other."""
        start = f"_from_{self.start}".replace("/", "-").replace(":", "-") if self.start else ""
        run = self.out / (f"fgsn_for_{part}" + start + (f"_seed{self.seed}" if self.seed else ""))
        if not (run / "model.safetensors").exists():
            train(
                TrainSettings(
                    data=(self.training(part),),
                    init=self.start or self.base(),
                    out=run,
                    clusters=self.clusters,
                    iterations=self.iterations,
                    validate_every=self.iterations,
                    batch=2,
                    crop=257,
                    short_side=384,
                    seed=self.seed,
                    resume=(run / "config.yaml").exists(),
                )
            )
        return run

    def labels(self, kind: str, part: str) -> Path:
        """Label maps of the map's images and of one half's queries."""
        out = self.out / "labels" / (kind if kind == "camvid" else f"{kind}_for_{part}")
        names = [*self.map_names, *(self.names if kind == "camvid" else self.folds[part])]
        images = self.out / "labels" / f"{out.name}.txt"
        write_text(images, "".join(f"{self.source / 'images' / name}\n" for name in names))
        model = self.base() if kind == "camvid" else self.fgsn(part)
        segment(SegmentSettings(model=model, images=images, out=out, short_side=384))
        return out

    def label_metrics(self) -> dict[str, Any]:
        """How well labels survive the seasons at the given correspondences of each half's queries."""
        metrics: dict[str, Any] = {}
        with (self.source / "pairs.csv").open() as file:
            rows = list(csv.DictReader(file))
        for part, names in self.folds.items():
            files = [row["file"] for row in rows if row["target"] in names]
            data = subset(self.source, self.out / "data" / f"of_{part}", files)
            for kind, model in (("camvid", self.base()), ("fgsn", self.fgsn(part))):
                out = self.out / "evaluate" / f"{kind}_{part}"
                found = evaluate(EvaluateSettings(model=model, data=data, out=out, split="all", resamples=0))
                metrics[f"{kind}, {part} half"] = label_row(found)
                if kind == "fgsn":
                    metrics[f"blind grid, {part} half"] = label_row(found["controls"]["grid"])
        return metrics


def folder_of(road: Road, matcher: str) -> Path:
    """hloc's files, and priors beside them."""
    name, keypoints = MATCHERS[matcher]
    out = road.out / "hloc" / f"{name}-{keypoints}"
    every = road.out / "queries" / "all.txt"
    write_text(every, "".join(path.read_text() for path in road.queries.values()))
    make_hloc_folder(
        out, road.source / "sparse", road.source / "images", every, name, road.out / "work",
        keypoints=keypoints, retrieved=10,
    )  # fmt: skip
    model = read_model(out / "sfm")
    write_priors(out / "priors.txt", priors_like(model, up_of(road), read_pairs(out / "pairs.txt")))
    return out


def up_of(road: Road) -> np.ndarray:
    return up_of_cameras(read_model(road.source / "sparse").camera_from_world)


def localized(road: Road, matcher: str, method: str) -> dict[str, Any]:
    """Metrics of one method of `fgsn localize` on one matcher's matches, over both halves of the road."""
    folder, labels = folder_of(road, matcher), METHODS[method]
    up = tuple(float(value) for value in up_of(road))
    together = road.out / "poses" / folder.name / f"{method.replace(', ', '_').replace(' ', '_')}.txt"
    rows, poses = [], []
    for part, queries in road.queries.items():
        out = together.with_name(f"{together.stem}_{part}.txt")
        shown = road.labels(labels, part) if labels else None
        settings = LocalizeSettings(
            map=folder / "sfm",
            queries=(queries,),
            out=out,
            method=method.split()[0],  # type: ignore[arg-type]
            hloc=folder,
            label_window=WINDOW if method.endswith("around") else 0.0,
            map_labels=shown,
            query_labels=shown,
            priors=(folder / "priors.txt",),
            up=up,  # type: ignore[arg-type]
            height_noise=HEIGHT_METRES / METRES_PER_UNIT,
        )
        try:
            localize(settings)
        except FgsnError as error:  # not one query of this half has a pose
            print(f"{matcher}, {method}: {error}")
            continue
        rows += read_json(out.with_suffix(".results.json"))["by_query"]
        poses.append(out.read_text())
    if not poses:
        return {"recall": [0.0, 0.0, 0.0], "localized": 0}
    write_text(together, "".join(poses))
    metrics = score_poses(
        ScorePosesSettings(
            poses=together,
            truth=road.truth,
            queries=road.out / "queries" / "all.txt",
            convention="centre",
            metres_per_unit=METRES_PER_UNIT,
        )
    )["all"]
    return metrics | {key: float(np.median([row[key] for row in rows])) for key in ("matches", "kept", "inliers")}


class QueryMatches(NamedTuple):
    """The matches of a query, how far the true pose puts each point from its pixel, and whether labels agree."""

    query: Query
    pose: Pose
    points: np.ndarray
    matches: Matches2D3D
    error: np.ndarray
    agree: np.ndarray


def matches_of_queries(road: Road, matcher: str, kind: str) -> Iterator[QueryMatches]:
    """The matches of all queries."""
    folder, truth = folder_of(road, matcher), read_truth(road.truth, "centre")
    for part, queries in road.queries.items():
        labels = road.labels(kind, part)
        labelled = make_labelled_map(read_model(folder / "sfm"), labels)
        source = open_hloc_matches(labelled, *find_hloc_files(folder, road.folds[part]))
        for query in read_queries(queries):
            matches = source.of(query.name)
            pose = truth.camera_from_world[truth.names.index(query.name)]
            points = labelled.points[matches.points]
            pixels, _ = query.camera.project(pose.transform(points))
            error = np.nan_to_num(np.linalg.norm(pixels - matches.pixels, axis=1), nan=np.inf)
            shown = read_image_labels(labels, query.name, query.camera.size, labelled.clusters)
            agree = labelled.labels[matches.points] == labels_at(shown, matches.pixels)
            yield QueryMatches(query, pose, points, matches, error, agree)


def what_labels_tell(road: Road, matcher: str, kind: str) -> dict[str, float]:
    """How right the matches are, and what agreeing labels tell about it."""
    found = list(matches_of_queries(road, matcher, kind))
    error, agree = (np.concatenate([getattr(one, key) for one in found]) for key in ("error", "agree"))
    right, wrong = error < RIGHT, error > WRONG
    return {
        "right": float(right.mean()),
        "agree_where_right": float(agree[right].mean()),
        "agree_where_wrong": float(agree[wrong].mean()),
        "right_among_agreeing": float(right[agree].mean()),
        "bits": mutual_information(agree[right | wrong], right[right | wrong]),
    }


def by_pycolmap(one: QueryMatches) -> Pose | None:
    """The pose of the same matches by pycolmap's estimator, with the settings that hloc leaves it."""
    import pycolmap

    given = one.query.camera
    camera = pycolmap.Camera(model=given.model, width=given.width, height=given.height, params=given.parameters)
    options = pycolmap.AbsolutePoseEstimationOptions(ransac={"max_error": 8.0})
    pycolmap.set_random_seed(0)
    found = pycolmap.estimate_and_refine_absolute_pose(one.matches.pixels + 0.5, one.points, camera, options)
    pose = None if found is None else found["cam_from_world"]
    return None if pose is None else Pose(pose.rotation.matrix(), pose.translation)


def by_fgsn(one: QueryMatches, rows: np.ndarray | slice = slice(None), **how: Any) -> Pose | None:
    """The pose of some of the matches."""
    return estimate_pose(one.query.camera, one.matches.pixels[rows], one.points[rows], **how).camera_from_world


def of_right_matches(one: QueryMatches) -> Pose | None:
    """The pose of the right matches alone, told by the truth: about what a perfect filter would reach."""
    return by_fgsn(one, one.error < RIGHT)


def of_even_matches(one: QueryMatches) -> Pose | None:
    """The pose of all matches by the estimator of the weighed ones, without weights: the difference is the labels'."""
    return by_fgsn(one, weights=np.ones(len(one.agree)))


def of_weighed_matches(one: QueryMatches) -> Pose | None:
    """The pose of all matches, of which those that agree are drawn and count four times as much."""
    weights = np.where(one.agree, 1.0, 0.25)
    return by_fgsn(one, weights=weights, votes=weights)


OTHERS: dict[str, Callable[[QueryMatches], Pose | None]] = {
    "pycolmap": by_pycolmap,
    "equal weights": of_even_matches,
    "fgsn, none dropped": of_weighed_matches,
    "right matches": of_right_matches,
}


def by_chance(found: Sequence[QueryMatches]) -> dict[str, list[float]]:
    """Lowest and highest recall of P3P with five seeds: how much of a difference is the luck of the draw."""

    table = np.array([otherwise(found, partial(by_fgsn, seed=seed))["recall"] for seed in range(5)])
    return {"lowest": table.min(axis=0).tolist(), "highest": table.max(axis=0).tolist()}


def otherwise(found: Sequence[QueryMatches], method: Callable[[QueryMatches], Pose | None]) -> dict[str, Any]:
    """Metrics of a way that is no method of `fgsn localize`."""
    nothing = Pose(np.full((3, 3), np.nan), np.full(3, np.nan))
    poses = [method(one) or nothing for one in found]
    estimated, truth = (
        Pose(np.stack([pose.rotation for pose in each]), np.stack([pose.translation for pose in each]))
        for each in (poses, [one.pose for one in found])
    )
    distances, angles = pose_errors(estimated, truth)
    return pose_metrics(distances * METRES_PER_UNIT, angles)


def mutual_information(one: np.ndarray, other: np.ndarray) -> float:
    """Bits that two yes-or-no columns tell about each other."""
    joint = np.array([[np.mean((one == a) & (other == b)) for b in (False, True)] for a in (False, True)])
    apart = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    return float((joint[joint > 0] * np.log2(joint[joint > 0] / apart[joint > 0])).sum())


def prior_errors(road: Road, matcher: str) -> dict[str, float]:
    """How wrong the priors are: looked up afterwards, used by nobody."""
    priors = read_priors(folder_of(road, matcher) / "priors.txt").of(road.names)
    truth = read_truth(road.truth, "centre")
    poses = truth.camera_from_world[np.array([truth.names.index(name) for name in road.names])]
    up = up_of(road)
    cosine = (-(poses.rotation @ up) * priors.gravity).sum(axis=1)
    return {
        "gravity_degrees": float(np.median(np.degrees(np.arccos(np.clip(cosine, -1, 1))))),
        "height_metres": float(np.median(np.abs(poses.centre @ up - priors.heights))) * METRES_PER_UNIT,
    }


def tables(results: dict[str, Any]) -> Iterator[str]:
    """The tables of docs/localization.md."""
    methods = [*METHODS, *OTHERS]
    yield f"| matches | {' | '.join(methods)} |"
    yield "| --- " * (1 + len(methods)) + "|"
    for matcher, row in results["poses"].items():
        found = [row[method]["recall"] if method in row else [] for method in methods]  # older files have fewer
        cells = [" / ".join(f"{value:.0f}" for value in recall) for recall in found]
        yield f"| {matcher} | {' | '.join(cells)} |"
    yield ""
    yield "| matches | per query | right | labels | agree where right | where wrong | right among agreeing | bits |"
    yield "| --- " * 8 + "|"
    for matcher, kinds in results["matches"].items():
        for kind, row in kinds.items():
            count = results["poses"][matcher]["p3p"]["matches"]
            shares = (row[key] for key in ("agree_where_right", "agree_where_wrong", "right_among_agreeing"))
            cells = [matcher, f"{count:.0f}", f"{row['right']:.0%}", kind, *(f"{share:.0%}" for share in shares)]
            yield f"| {' | '.join([*cells, format(row['bits'], '.3f')])} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--iterations", type=int, default=200)
    parser.add_argument("--clusters", type=int, default=100)
    parser.add_argument("--matchers", nargs="+", default=list(MATCHERS), choices=MATCHERS)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    road = Road(options.data, options.out, options.iterations, options.clusters)
    settings = {"iterations": options.iterations, "clusters": options.clusters}
    results: dict[str, Any] = {"settings": settings, "poses": {}, "matches": {}, "priors": {}, "chance": {}}
    json_file = options.json or options.out / "results.json"
    if json_file.exists() and (before := read_json(json_file))["settings"] == settings:
        results = before  # of other matchers
    for matcher in options.matchers:
        found = list(matches_of_queries(road, matcher, "fgsn"))
        results["poses"][matcher] = {method: localized(road, matcher, method) for method in METHODS}
        results["poses"][matcher] |= {name: otherwise(found, method) for name, method in OTHERS.items()}
        results["matches"][matcher] = {kind: what_labels_tell(road, matcher, kind) for kind in ("camvid", "fgsn")}
        results["priors"][matcher] = prior_errors(road, matcher)
        results["chance"][matcher] = by_chance(found)
        print("\n".join(tables(results)), flush=True)
        write_json(json_file, results)
    write_json(json_file, results | {"labels": road.label_metrics()})


if __name__ == "__main__":
    main()
