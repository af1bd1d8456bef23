"""Recall of every localization method, on a synthetic town that no network was trained on.

    python benchmarks/localize_world.py --out OUT --train 201 203 --test 202 --places 36

Networks are trained on the towns of the --train seeds. In the town of the --test seed, the reference drive is the map,
and all other images are queries. Seeds from 10,000 on are for final results: choose nothing by them. Existing files in
OUT are reused. Prints a table and writes OUT/poses_SEED/results.json.
"""

import argparse
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from fgsn.config import (
    CONDITIONS,
    LocalizeSettings,
    PrepareSettings,
    ScorePosesSettings,
    SegmentSettings,
    TrackSettings,
    TrainSettings,
    WorldSettings,
)
from fgsn.data.prepare import prepare
from fgsn.evaluation.score_poses import score_poses
from fgsn.files import read_json, write_json
from fgsn.formats.poses import read_results, write_results
from fgsn.formats.queries import read_queries
from fgsn.geometry.pose import Pose
from fgsn.inference.segment import segment
from fgsn.localization.localize import localize, match_with_map
from fgsn.localization.robust_pose import estimate_pose
from fgsn.tracking.track import track_sequences
from fgsn.training.train import train
from fgsn.world import make_world

SIZE, HEADING, TRAINING_PLACES = (512, 384), 45.0, 24
ALONE = "no labels, our sampler"


def made_world(out: Path, seed: int, places: int) -> Path:
    """The world of a seed, prepared."""
    world = out / f"world_{seed}"
    make_world(WorldSettings(out=world, seed=seed, places=places, size=SIZE, heading=HEADING, workers=0))
    if not (world / "places.json").exists():
        prepare(PrepareSettings(dataset=world, split="end", validation_share=0.1))
    return world


def methods_of(matcher: str) -> dict[str, dict[str, Any]]:
    """What is compared: settings of `fgsn localize` by name."""
    common = {"matcher": matcher}
    return {
        "p3p": common | {"method": "p3p"},
        ALONE: common | {"method": "p3p"},
        "ssmc base, as published": common | {"method": "ssmc", "labels": "base", "label_window": 0.0},
        "ssmc fgsn, as published": common | {"method": "ssmc", "labels": "fgsn", "label_window": 0.0},
        "ssmc base": common | {"method": "ssmc", "labels": "base"},
        "ssmc fgsn": common | {"method": "ssmc", "labels": "fgsn"},
        "gsmc base": common | {"method": "gsmc", "labels": "base"},
        "gsmc fgsn": common | {"method": "gsmc", "labels": "fgsn"},
    }


def lists(world: Path, kind: str) -> tuple[Path, ...]:
    """The lists of one kind of all conditions."""
    return tuple(world / kind / f"{condition}.txt" for condition in CONDITIONS)


def without_labels(settings: LocalizeSettings) -> None:
    """Poses by the estimator of gsmc with equal weights for all matches: a baseline for what the labels add."""
    queries = [query for path in settings.queries for query in read_queries(path)]
    found: dict[str, Pose] = {}
    source = match_with_map(settings, queries)
    for query in queries:
        matches = source.of(query.name)
        points, ones = source.map.points[matches.points], np.ones(len(matches))
        pose = estimate_pose(query.camera, matches.pixels, points, ones, max_error=settings.max_error)
        if pose.camera_from_world is not None:
            found[query.name] = pose.camera_from_world
    poses = Pose(np.stack([p.rotation for p in found.values()]), np.stack([p.translation for p in found.values()]))
    write_results(settings.out, list(found), poses)


def starts(world: Path, poses: Path, out: Path) -> Path:
    """Where the tracks start: the single-shot pose of each condition's first image, or of the first that has one."""
    found = read_results(poses)
    queries = [[query.name for query in read_queries(path)] for path in lists(world, "queries")]
    rows = [found.names.index(next(name for name in names if name in found.names)) for names in queries]
    write_results(out, [names[0] for names in queries], found.camera_from_world[np.array(rows)])
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--train", type=int, nargs="+", default=[201, 203])
    parser.add_argument("--test", type=int, default=202)
    parser.add_argument("--places", type=int, default=36)
    parser.add_argument("--iterations", type=int, default=1500)
    parser.add_argument("--clusters", type=int, default=100)
    parser.add_argument("--matchers", nargs="+", default=["xfeat", "xfeat-unfiltered"])
    parser.add_argument("--max-error", type=float, default=4.0)
    options = parser.parse_args()

    base = Path("world:tiny")
    run = options.out / f"run_{options.clusters}"
    worlds = {seed: made_world(options.out, seed, TRAINING_PLACES) for seed in options.train}
    if not (run / "model.safetensors").exists():
        train(
            TrainSettings(
                data=tuple(worlds.values()), init=Path("world:labels"), out=run,
                clusters=options.clusters, iterations=options.iterations, batch=4, crop=257,
                validate_every=options.iterations, resume=(run / "config.yaml").exists(),
            )
        )  # fmt: skip
    world = made_world(options.out, options.test, options.places)
    labels: dict[tuple[str, int], Path] = {}
    for name, model in (("base", base), ("fgsn", run)):
        for seed, folder in {**worlds, options.test: world}.items():
            labels[name, seed] = options.out / f"labels_{name}_{seed}"
            segment(SegmentSettings(model=model, images=folder / "images", out=labels[name, seed], save=("labels",)))

    out = options.out / f"poses_{options.test}"
    results: dict[str, dict[str, Any]] = read_json(out / "results.json") if (out / "results.json").exists() else {}

    def score(key: str, poses: Path) -> None:
        metrics = score_poses(ScorePosesSettings(poses=poses, truth=world / "truth"))
        results[key] = {name: metrics[name]["recall"] for name in ("all", *CONDITIONS)}
        write_json(out / "results.json", results)

    for matcher in options.matchers:
        for method, given in methods_of(matcher).items():
            key = f"{matcher}: {method}"
            if key in results:
                continue
            kind = given.pop("labels", None)
            if kind:
                given |= {"map_labels": labels[kind, options.test], "query_labels": labels[kind, options.test]}
            settings = LocalizeSettings(
                map=world / "sparse", queries=lists(world, "queries"), images=world / "images", work=out / "work",
                out=out / f"{key.replace(': ', '_').replace(', ', '_').replace(' ', '_')}.txt", workers=0,
                priors=lists(world, "priors"), max_error=options.max_error, **given,
            )  # fmt: skip
            if method == ALONE:
                without_labels(settings)
            else:
                localize(settings)
            score(key, settings.out)
    if "track: pfsl fgsn" not in results:
        start = starts(world, out / f"{options.matchers[0]}_p3p.txt", out / "start.txt")
        train_world = worlds[options.train[0]]
        track_sequences(
            TrackSettings(
                map=world / "sparse", map_labels=labels["fgsn", options.test], queries=lists(world, "queries"),
                query_labels=labels["fgsn", options.test], odometry=lists(world, "odometry"), start=start,
                data=train_world, data_labels=labels["fgsn", options.train[0]], out=out / "track.txt",
                priors=lists(world, "priors"),
            )
        )  # fmt: skip
        score("track: pfsl fgsn", out / "track.txt")
    show(results)


def show(results: dict[str, dict[str, Any]]) -> None:
    """Print the table; hard are the conditions that p3p with the first matcher fails most on."""
    first = next(iter(results.values()))
    hard = sorted(CONDITIONS, key=lambda name: first[name][0])[:3]
    table = Table(title=f"recall in % at 0.25 m 2° / 0.5 m 5° / 5 m 10°; hard: {', '.join(hard)}")
    for column in ("", *CONDITIONS, "hard", "all"):
        table.add_column(column)
    for key, row in results.items():
        cells = {**row, "hard": np.mean([row[name] for name in hard], axis=0)}
        table.add_row(key, *(" ".join(f"{v:.0f}" for v in cells[name]) for name in (*CONDITIONS, "hard", "all")))
    Console(width=max(150, shutil.get_terminal_size().columns)).print(table)


if __name__ == "__main__":
    main()
