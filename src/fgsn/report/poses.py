"""Poses of queries: how many were found, per method and condition, and the map from above with true and found ones."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fgsn.config import ScorePosesSettings
from fgsn.errors import FgsnError
from fgsn.evaluation.pose_metrics import THRESHOLDS, pose_errors, pose_metrics
from fgsn.evaluation.score_poses import in_order, only_queries
from fgsn.files import read_yaml
from fgsn.formats.ground_truth import Truth, read_truth
from fgsn.formats.poses import read_results
from fgsn.formats.queries import read_queries
from fgsn.geometry.colmap import read_model
from fgsn.geometry.pose import Pose
from fgsn.report.sources import Sources

METHODS = {
    "p3p": "P3P, all matches",
    "ssmc_base": "SSMC, base classes",
    "ssmc_fgsn": "SSMC, fine-grained",
    "gsmc_fgsn": "GSMC, fine-grained",
    "pfsl_fgsn": "PFSL, fine-grained",
}
WIDTH, LEAST_HEIGHT, MOST_HEIGHT = 1000, 220, 640
MARGIN = 0.06
"""Around the true positions, as a part of their extent."""
MAP_POINTS = 4000
QUERIES = 300
"""Queries drawn per method, at most."""


class Bar(NamedTuple):
    """Recall of one method in one condition."""

    method: str
    recall: list[float]
    """Percent within each threshold, the finest first."""
    interval: list[list[float]] | None
    """95 % interval of each; None where the queries are not known."""
    queries: int | None


@dataclass(frozen=True, eq=False)
class Scored:
    """Poses of one result file beside the truth."""

    key: str
    name: str
    file: Path
    truth: Truth
    estimated: Pose
    """In the order of the truth, not a number where there is none."""
    distances: NDArray[np.float64]
    angles: NDArray[np.float64]

    def metrics(self) -> dict[str, dict[str, Any]]:
        """Recall over all queries and per condition."""
        conditions = np.array(self.truth.conditions)
        groups = {"all": np.ones(len(conditions), bool)}
        groups |= {name: conditions == name for name in sorted(set(self.truth.conditions)) if name}
        return {name: pose_metrics(self.distances[mine], self.angles[mine]) for name, mine in groups.items()}


@dataclass(frozen=True)
class View:
    """The map from above, ready to draw; lengths in units of the picture."""

    width: int
    height: int
    points: str
    """Path of the map's points."""
    metres: int
    """Length of the scale bar."""
    bar: float
    """The same in the picture."""
    true: list[dict[str, Any]] = field(default_factory=list)
    found: list[dict[str, Any]] = field(default_factory=list)


def scored(sources: Sources) -> list[Scored]:
    """Every result file of the folder beside the truth of the data set.

    Raises:
        FgsnError: a file is broken, or holds poses of unknown queries.
    """
    folder, dataset = sources.localization, sources.dataset
    if folder is None or dataset is None:
        return []
    files = sorted(path for path in folder.glob("*.txt") if path.with_suffix(".config.yaml").is_file())
    if not files:
        sources.left_out.append(f"poses: {folder} holds no result files (fgsn localize --out)")
        return []
    if not (dataset.root / "truth").is_dir():
        sources.left_out.append(f"poses: {dataset.root} has no folder truth/ to compare with")
        return []
    order = list(METHODS)
    files.sort(key=lambda path: (order.index(path.stem) if path.stem in order else len(order), path.stem))
    return [_scored(file, dataset.root / "truth") for file in files]


def _scored(file: Path, true: Path) -> Scored:
    settings = ScorePosesSettings(poses=file, truth=true, partial=True)
    truth = read_truth(true)
    lists = [Path(name) for name in read_yaml(file.with_suffix(".config.yaml")).get("queries") or []]
    if lists and all(path.exists() for path in lists):
        truth = only_queries(truth, [query.name for path in lists for query in read_queries(path)], settings)
    estimated = in_order(read_results(file), truth, settings)
    distances, angles = pose_errors(estimated, truth.camera_from_world)
    return Scored(file.stem, METHODS.get(file.stem, file.stem), file, truth, estimated, distances, angles)


def recall_bars(sources: Sources, found: list[Scored]) -> dict[str, list[Bar]]:
    """By condition ('all' first) a bar for every method; from results.json where there are no result files."""
    bars: dict[str, list[Bar]] = {}
    if found:
        for method in found:
            for condition, row in method.metrics().items():
                bars.setdefault(condition, []).append(Bar(method.name, row["recall"], row["interval"], row["queries"]))
        return {"all": bars["all"]} if len(bars) == 2 else bars  # one condition is all there is
    stored = sources.results.get("localization")
    for key, conditions in (stored if isinstance(stored, dict) else {}).items():
        for condition, recall in conditions.items():
            bar = Bar(METHODS.get(str(key), str(key)), [float(share) for share in recall], None, None)
            bars.setdefault(condition, []).append(bar)
    return dict(sorted(bars.items(), key=lambda item: item[0] != "all"))


def view_from_above(sources: Sources, found: list[Scored]) -> View | None:
    """The map's points, the true positions of all queries, and what every method found; None without a map."""
    folder = _map_of(sources, found) if found else None
    if folder is None:
        return None
    model = read_model(folder, points_needed=False)
    truth = max((method.truth for method in found), key=lambda truth: len(truth.names))
    axes = _axes(truth.camera_from_world)
    flat = truth.camera_from_world.centre @ axes.T
    low, high = flat.min(axis=0), flat.max(axis=0)
    pad = max(MARGIN * float((high - low).max()), 3.0)
    low, high = low - pad, high + pad
    scale = min(WIDTH / (high - low)[0], MOST_HEIGHT / (high - low)[1])
    height = max(LEAST_HEIGHT, round(scale * (high - low)[1]))
    middle, centre = (low + high) / 2, np.array([WIDTH / 2, height / 2])

    def drawn(points_world: NDArray[np.float64]) -> NDArray[np.float64]:
        return (points_world @ axes.T - middle) * (scale, -scale) + centre

    points = drawn(model.points)
    points = points[((points > 0) & (points < (WIDTH, height))).all(axis=1)]
    points = points[:: max(1, -(-len(points) // MAP_POINTS))]
    metres = _round_length(180 / scale)
    view = View(WIDTH, height, "".join(f"M{x:.0f} {y:.0f}h0" for x, y in points), metres, round(metres * scale, 1))
    forward = truth.camera_from_world.rotation[:, 2] @ axes.T * (1, -1)
    forward /= np.maximum(np.linalg.norm(forward, axis=1, keepdims=True), 1e-9)
    for row in _thinned(len(truth.names)):
        (x, y), (dx, dy) = drawn(truth.camera_from_world.centre[row]), forward[row]
        view.true.append(
            {"condition": truth.conditions[row], "x": _n(x), "y": _n(y), "dx": _n(12 * dx), "dy": _n(12 * dy)}
        )
    for method in found:
        for row in _thinned(len(method.truth.names)):
            here = drawn(method.truth.camera_from_world.centre[row])
            distance, angle = float(method.distances[row]), float(method.angles[row])
            level = next((n for n, (m, d) in enumerate(THRESHOLDS) if distance <= m and angle <= d), len(THRESHOLDS))
            there = drawn(method.estimated.centre[row]) if np.isfinite(distance) else here
            x, y = np.clip(there, 6, (WIDTH - 6, height - 6))
            view.found.append(
                {
                    "method": method.key, "condition": method.truth.conditions[row], "name": method.truth.names[row],
                    "x": _n(x), "y": _n(y), "tx": _n(here[0]), "ty": _n(here[1]),
                    "level": level if np.isfinite(distance) else None, "metres": distance, "degrees": angle,
                }
            )  # fmt: skip
    return view


def _map_of(sources: Sources, found: list[Scored]) -> Path | None:
    """The map that the poses are in: the one that was localized in, else that of the data set."""
    assert sources.dataset is not None
    named = [read_yaml(method.file.with_suffix(".config.yaml")).get("map") for method in found]
    for folder in [*(Path(str(name)) for name in named if name), sources.dataset.root / "sparse"]:
        if folder.is_dir():
            return folder
    sources.left_out.append("the map from above: the map that was localized in is not there any more")
    return None


def _axes(cameras: Pose) -> NDArray[np.float64]:
    """Two directions (2, 3) that span the ground, the first along the way of the cameras; cameras stand upright."""
    up = -cameras.rotation[:, 1].mean(axis=0)
    if np.linalg.norm(up) < 0.1:
        raise FgsnError("the true poses look in all directions: there is no above to draw the map from")
    up /= np.linalg.norm(up)
    centred = cameras.centre - cameras.centre.mean(axis=0)
    level = centred - np.outer(centred @ up, up)
    along = np.linalg.svd(level, full_matrices=False)[2][0] if len(level) > 1 else cameras.rotation[0, 0]
    along = along - along @ up * up
    along /= np.linalg.norm(along)
    return np.stack([along, np.cross(up, along)])


def _thinned(count: int) -> list[int]:
    return list(range(0, count, max(1, -(-count // QUERIES))))


def _round_length(metres: float) -> int:
    """1, 2, 5, 10, 20, … metres, the largest that is not longer."""
    power = 10 ** int(np.floor(np.log10(max(metres, 1.0))))
    return next(power * factor for factor in (5, 2, 1) if power * factor <= max(metres, 1.0))


def _n(value: float) -> float:
    return round(float(value), 1)
