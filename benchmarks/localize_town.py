"""Recall of every localization method in synthetic towns that no network has seen, beside controls.

    python benchmarks/localize_town.py --out OUT --seeds 30001 30002 --stray 1 [--json FILE]

The reference drive of a town is the map; all images of the six conditions are queries. With --stray 1 they are taken up
to a lane, 3 m and 20 degrees off the map's poses, so that the position in the image does not find matches; with 0 a car
takes the same lane again. Labels come from --model, classes from the base network world:tiny. Rows:

- p3p: matches, P3P in RANSAC; equal weights: the estimator of gsmc without labels;
- position, classes, labels, labels and position: what is appended to the descriptors (--augment). The position looks
  at no pixel: it is the control;
- ssmc, gsmc: with the classes, with the labels, and with the labels in the descriptors as well;
- whole map: each query matched with all points of the map at once, instead of with ten similar images;
- gravity: poses drawn from two matches and the prior of gravity;
- perfect filter: only matches that the true pose confirms, a bound for what any filter can reach.

Seeds from 10,000 on are for final results: choose nothing by them. Existing files in OUT are reused. Intervals are of
95 %, by bootstrap over places.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fgsn.config import CONDITIONS, LocalizeSettings, SegmentSettings, WorldSettings
from fgsn.evaluation.pose_metrics import THRESHOLDS, pose_errors
from fgsn.files import read_json, write_json
from fgsn.formats.ground_truth import Truth, read_truth
from fgsn.formats.poses import read_results, write_results
from fgsn.formats.queries import Query, read_query_lists
from fgsn.geometry.pose import Pose
from fgsn.inference.segment import segment
from fgsn.localization.localize import localize, match_with_map
from fgsn.localization.matches import MatchSource
from fgsn.localization.robust_pose import estimate_pose
from fgsn.world import make_world

SIZE, HEADING = (512, 384), 45.0
MODELS = {"classes": Path("world:tiny"), "labels": Path("world:labels")}
P3P, CONTROL = "p3p", "position"
MATCHERS = ("sift-unfiltered", "xfeat-unfiltered", "xfeat-lighterglue")
RESAMPLES = 2000

Hits = NDArray[np.bool_]
"""(places, conditions, thresholds) of one town, or of several one after the other along the places."""


@dataclass(frozen=True, eq=False)
class Town:
    """A synthetic town, with the labels of its images."""

    root: Path
    model: Path
    weight: float
    conditions: tuple[str, ...] = CONDITIONS
    """Of the queries."""

    @property
    def out(self) -> Path:
        return self.root.with_name(f"{self.root.name}_poses")

    def lists(self, kind: str) -> tuple[Path, ...]:
        """The lists of one kind, by condition."""
        return tuple(self.root / kind / f"{condition}.txt" for condition in self.conditions)

    def labels(self, kind: str) -> Path:
        """Label maps of all images."""
        out = self.root.with_name(f"{self.root.name}_{kind}")
        segment(SegmentSettings(model=self.network(kind), images=self.root / "images", out=out, save=("labels",)))
        return out

    def network(self, kind: str) -> Path:
        """The network of the classes or of the labels."""
        return self.model if kind == "labels" else MODELS[kind]

    def settings(self, matcher: str, row: str, **changes: Any) -> LocalizeSettings:
        """Of `fgsn localize`, for a row without labels unless `changes` say more."""
        name = f"{matcher}_{row}".replace(", ", "_").replace(" ", "_")
        given: dict[str, Any] = {
            "map": self.root / "sparse", "queries": self.lists("queries"), "images": self.root / "images",
            "work": self.out / "work", "out": self.out / f"{name}.txt", "workers": 0, "priors": self.lists("priors"),
            "matcher": matcher, "method": "p3p", "max_error": 4.0,
        }  # fmt: skip
        return LocalizeSettings(**given | changes)

    def with_labels(self, kind: str, method: str) -> dict[str, Any]:
        """Settings of a method that compares label maps."""
        labels = self.labels(kind)
        return {"method": method, "map_labels": labels, "query_labels": labels}

    def appended(self, kind: str, share: float = 1.0) -> dict[str, Any]:
        """Settings with labels in the descriptors; the rest of the weight is the position's."""
        weight = self.weight * share
        return {"model": self.network(kind), "augment": weight, "augment_position": self.weight - weight}

    def hits(self, poses: Path) -> Hits:
        """Whether the pose of every query is within each threshold."""
        found, true = read_results(poses), read_truth(self.root / "truth")
        row = {name: number for number, name in enumerate(found.names)}
        names = [query.name for query in chain(*read_query_lists(self.lists("queries")))]
        errors = np.full((len(names), 2), np.inf)
        at = [number for number, name in enumerate(names) if name in row]
        estimated = found.camera_from_world[np.array([row[names[number]] for number in at])]
        errors[at] = np.transpose(pose_errors(estimated, pose_of(true, [names[number] for number in at])))
        return (
            (errors[:, None] <= THRESHOLDS)
            .all(axis=2)
            .reshape(len(self.conditions), -1, len(THRESHOLDS))
            .swapaxes(0, 1)
        )


def pose_of(truth: Truth, names: Sequence[str]) -> Pose:
    """True poses of images."""
    row = {name: number for number, name in enumerate(truth.names)}
    return truth.camera_from_world[np.array([row[name] for name in names])]


def rows_of(town: Town, matcher: str) -> dict[str, dict[str, Any]]:
    """What is compared: changes of the settings by name."""
    appended: dict[str, dict[str, Any]] = {"": {}}
    searched: dict[str, dict[str, Any]] = {"": {}}
    if matcher.endswith("-unfiltered"):
        appended |= {
            CONTROL: town.appended("classes", 0.0),
            "classes": town.appended("classes"),
            "labels": town.appended("labels"),
        }
        searched["whole map"] = {"retrieved": 0}
    rows = {
        ", ".join(filter(None, (where, what, how))) or P3P: search | append | solver
        for where, search in searched.items()
        for how, solver in (("", {}), ("gravity", {"solver": "gravity"}))
        for what, append in appended.items()
    }
    if matcher.endswith("-unfiltered"):
        rows["labels and position"] = town.appended("labels", 0.5)
    for method in ("ssmc", "gsmc"):
        rows |= {f"{method}, {kind}": town.with_labels(kind, method) for kind in MODELS}
        if matcher.endswith("-unfiltered"):
            twice = town.with_labels("labels", method) | town.appended("labels")
            rows |= {f"{method}, labels twice": twice, f"whole map, {method}, labels twice": {"retrieved": 0} | twice}
    return rows


def estimated(town: Town, matcher: str) -> dict[str, Hits]:
    """Hits of all rows of a matcher."""
    found: dict[str, Hits] = {}
    for row, changes in rows_of(town, matcher).items():
        settings = town.settings(matcher, row, **changes)
        if not settings.out.exists():
            failed = localize(settings)["failed"]
            assert not failed, failed
        found[row] = town.hits(settings.out)
    for row, perfect in (("equal weights", False), ("perfect filter", True)):
        settings = town.settings(matcher, row)
        if not settings.out.exists():
            without_labels(settings, town, perfect)
        found[row] = town.hits(settings.out)
    return found


def without_labels(settings: LocalizeSettings, town: Town, perfect: bool) -> None:
    """Poses by the estimator of gsmc with equal weights, of all matches or of those that the true pose confirms."""
    lists, truth = read_query_lists(settings.queries), read_truth(town.root / "truth")
    queries, source = list(chain(*lists)), match_with_map(settings, lists)
    found = {
        query.name: pose
        for query in queries
        if (pose := pose_from(source, query, settings, truth if perfect else None))
    }
    poses = Pose(np.stack([p.rotation for p in found.values()]), np.stack([p.translation for p in found.values()]))
    write_results(settings.out, list(found), poses)


def pose_from(source: MatchSource, query: Query, settings: LocalizeSettings, truth: Truth | None) -> Pose | None:
    """The pose of one query, from all its matches or from the right ones."""
    matches = source.of(query.name)
    points, pixels = source.map.points[matches.points], matches.pixels
    if truth is not None:
        there, depth = query.camera.project(pose_of(truth, [query.name])[0].transform(points))
        right = (np.linalg.norm(there - pixels, axis=1) <= settings.max_error) & (depth > 0)
        points, pixels = points[right], pixels[right]
    return estimate_pose(
        query.camera, pixels, points, np.ones(len(points)), max_error=settings.max_error
    ).camera_from_world


def difference(hits: Hits, baseline: Hits) -> str:
    """Points of recall above the baseline within 0.5 m and 5 m, with intervals over places."""
    by_place = 100.0 * (hits.mean(axis=1) - baseline.mean(axis=1))[:, 1:]
    rows = np.random.default_rng(0).integers(0, len(by_place), (RESAMPLES, len(by_place)))
    low, high = np.percentile(by_place[rows].mean(axis=1), (2.5, 97.5), axis=0)
    values = zip(by_place.mean(axis=0), low, high, strict=True)
    return " / ".join(f"{mean:+.0f} ({least:+.0f} to {most:+.0f})" for mean, least, most in values)


def recall(hits: Hits) -> str:
    """In percent, by threshold."""
    return " / ".join(f"{100 * value:.0f}" for value in hits.mean(axis=(0, 1)))


def table(results: Mapping[str, Mapping[str, Hits]], conditions: Sequence[str]) -> str:
    """The table of docs/localization.md; hard are the conditions that p3p with the first matcher fails most on."""
    first = next(iter(results.values()))[P3P]
    hard = np.argsort(first.mean(axis=0)[:, 1], kind="stable")[:3]
    names = " ".join(np.take(conditions, np.sort(hard)).tolist())
    lines = [
        f"| matcher | row | all | {names} | these, more than p3p: 0.5 m / 5 m | more than {CONTROL}: 0.5 m / 5 m |",
        "| --- " * 6 + "|",
    ]
    for matcher, rows in results.items():
        baselines = [rows[name][:, hard] if name in rows else None for name in (P3P, CONTROL)]
        for row, hits in rows.items():
            cells = ["" if other is None else difference(hits[:, hard], other) for other in baselines]
            lines.append(f"| {matcher} | {row} | {recall(hits)} | {recall(hits[:, hard])} | {' | '.join(cells)} |")
    return "\n".join(lines)


def town_parser(description: str | None) -> argparse.ArgumentParser:
    """Options of the scripts that measure in towns."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", required=True, help="of the towns")
    parser.add_argument("--stray", type=float, default=1.0)
    parser.add_argument("--places", type=int, default=36)
    parser.add_argument("--size", type=int, nargs=2, default=SIZE)
    parser.add_argument("--model", type=Path, default=MODELS["labels"], help="of the labels; not trained on the towns")
    parser.add_argument("--json", type=Path)
    return parser


def make_town(
    options: argparse.Namespace, seed: int, weight: float = 0.0, conditions: tuple[str, ...] = CONDITIONS
) -> Town:
    """Make a town by the options of `town_parser`, unless it is there."""
    root = options.out / f"town_{seed}_{options.stray:g}"
    make_world(
        WorldSettings(
            out=root, seed=seed, places=options.places, size=tuple(options.size), heading=HEADING,
            stray=options.stray,
        )
    )  # fmt: skip
    return Town(root, options.model, weight, conditions)


def main() -> None:
    parser = town_parser(__doc__)
    parser.add_argument("--matchers", nargs="+", default=MATCHERS)
    parser.add_argument("--conditions", nargs="+", default=CONDITIONS, help="of the queries")
    parser.add_argument("--weight", type=float, default=0.2, help="of what is appended to descriptors")
    options = parser.parse_args()
    results: dict[str, dict[str, list[Hits]]] = {}
    joined: dict[str, dict[str, Hits]] = {}
    for seed in options.seeds:
        town = make_town(options, seed, options.weight, tuple(options.conditions))
        for matcher in options.matchers:
            rows = estimated(town, matcher)
            for row, hits in rows.items():
                results.setdefault(matcher, {}).setdefault(row, []).append(hits)
            joined = {m: {row: np.concatenate(hits) for row, hits in rows.items()} for m, rows in results.items()}
            print(table(joined, options.conditions), flush=True)
    if options.json:
        stored: dict[str, Any] = read_json(options.json) if options.json.exists() else {}
        common = {name: getattr(options, name) for name in ("seeds", "places", "size", "stray", "weight", "conditions")}
        for matcher, rows in joined.items():
            recall_of = {row: hits.mean(axis=0).round(4).tolist() for row, hits in rows.items()}
            stored[matcher] = {**common, "model": str(options.model), "recall": recall_of}
        write_json(options.json, stored)


if __name__ == "__main__":
    main()
