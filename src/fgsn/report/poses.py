"""Poses of queries: recall by method and condition, and a map from above with true and estimated poses."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fgsn.config import ScorePosesSettings
from fgsn.errors import FgsnError
from fgsn.evaluation.pose_metrics import THRESHOLDS, metrics_by_condition, pose_errors
from fgsn.evaluation.score_poses import in_order, only_queries
from fgsn.files import read_yaml
from fgsn.formats.ground_truth import Truth, read_truth
from fgsn.formats.poses import read_results
from fgsn.formats.queries import read_queries
from fgsn.geometry.colmap import read_model
from fgsn.geometry.pose import Pose
from fgsn.report.sources import ReportSources

METHODS = {
    "p3p": "P3P, all matches",
    "p3p_position": "P3P, position in descriptors",
    "p3p_fgsn": "P3P, labels in descriptors",
    "ssmc_base": "SSMC, base classes",
    "ssmc_fgsn": "SSMC, fine-grained",
    "gsmc_fgsn": "GSMC, fine-grained",
    "pfsl_fgsn": "PFSL, fine-grained",
    "odometry": "odometry alone (control)",
}
WIDTH, LEAST_HEIGHT, MOST_HEIGHT = 1000, 220, 640
MARGIN = 0.06
"""Margin around the true positions, relative to their extent."""
MAP_POINTS = 4000
QUERIES = 300
"""Maximum number of queries drawn per method."""


class Bar(NamedTuple):
    """Recall of one method in one condition."""

    method: str
    recall: list[float]
    """Percent of queries within each threshold, the finest first."""
    interval: list[list[float]] | None
    """95 % interval of each; None if the number of queries is unknown."""
    queries: int | None


@dataclass(frozen=True, eq=False)
class ScoredPoses:
    """The poses of one result file, compared with the ground truth."""

    key: str
    name: str
    file: Path
    truth: Truth
    estimated: Pose
    """`camera_from_world` in the order of the truth; NaN if there is no pose."""
    distances: NDArray[np.float64]
    """(N,) position errors in metres, or in units of the map if its scale is unknown."""
    angles: NDArray[np.float64]
    """(N,) rotation errors in degrees."""


@dataclass(frozen=True)
class MapView:
    """The map from above; lengths in units of the SVG unless noted."""

    width: int
    height: int
    points: str
    """SVG path of the map points."""
    length: float
    """Length of the scale bar in metres or in units of the map."""
    bar: float
    """Length of the scale bar in the SVG."""
    true: list[dict[str, Any]] = field(default_factory=list)
    found: list[dict[str, Any]] = field(default_factory=list)


def scored(sources: ReportSources) -> list[ScoredPoses]:
    """Compare every result file of the folder with the ground truth of the data set.

    Raises FgsnError if a file is broken, or contains poses of unknown queries.
    """
    folder, dataset = sources.localization, sources.dataset
    if folder is None or dataset is None:
        return []
    files = sorted(path for path in folder.glob("*.txt") if path.with_suffix(".config.yaml").is_file())
    if not files:
        sources.left_out.append(f"poses: {folder} contains no result files of fgsn localize")
        return []
    if not (dataset.root / "truth").is_dir():
        sources.left_out.append(f"poses: {dataset.root} has no folder truth/ to compare with")
        return []
    order = list(METHODS)
    files.sort(key=lambda path: (order.index(path.stem) if path.stem in order else len(order), path.stem))
    return [_scored(file, dataset.root / "truth", sources.metres_per_unit or 1.0) for file in files]


def _scored(file: Path, true: Path, scale: float) -> ScoredPoses:
    settings = ScorePosesSettings(poses=file, truth=true, partial=True)
    truth = read_truth(true)
    lists = [Path(name) for name in read_yaml(file.with_suffix(".config.yaml")).get("queries") or []]
    if lists and all(path.exists() for path in lists):
        truth = only_queries(truth, [query.name for path in lists for query in read_queries(path)], settings)
    estimated = in_order(read_results(file), truth, settings)
    distances, angles = pose_errors(estimated, truth.camera_from_world)
    return ScoredPoses(file.stem, METHODS.get(file.stem, file.stem), file, truth, estimated, scale * distances, angles)


def recall_bars(sources: ReportSources, found: list[ScoredPoses]) -> dict[str, list[Bar]]:
    """Bars of all methods by condition, 'all' first; read from results.json if there are no result files."""
    bars: dict[str, list[Bar]] = {}
    if found:
        for method in found:
            metrics = metrics_by_condition(method.distances, method.angles, method.truth.conditions)
            for condition, row in metrics.items():
                bars.setdefault(condition, []).append(Bar(method.name, row["recall"], row["interval"], row["queries"]))
        return {"all": bars["all"]} if len(bars) == 2 else bars  # with one condition, it equals 'all'
    stored = sources.results.get("localization")
    for key, conditions in (stored if isinstance(stored, dict) else {}).items():
        for condition, recall in conditions.items():
            bar = Bar(METHODS.get(str(key), str(key)), [float(share) for share in recall], None, None)
            bars.setdefault(condition, []).append(bar)
    return dict(sorted(bars.items(), key=lambda item: item[0] != "all"))


def map_view(sources: ReportSources, found: list[ScoredPoses]) -> MapView | None:
    """The map points, and the true and estimated positions of the queries; None without a map."""
    folder = _map_of(sources, found) if found else None
    if folder is None:
        return None
    model = read_model(folder, points_needed=False)
    truth = max((method.truth for method in found), key=lambda truth: len(truth.names))
    axes = _axes(truth.camera_from_world)
    flat = truth.camera_from_world.centre @ axes.T
    low, high = flat.min(axis=0), flat.max(axis=0)
    pad = max(MARGIN * float((high - low).max()), 3.0 / (sources.metres_per_unit or 1.0))
    low, high = low - pad, high + pad
    scale = min(WIDTH / (high - low)[0], MOST_HEIGHT / (high - low)[1])
    height = max(LEAST_HEIGHT, round(scale * (high - low)[1]))
    middle, centre = (low + high) / 2, np.array([WIDTH / 2, height / 2])

    def drawn(points_world: NDArray[np.float64]) -> NDArray[np.float64]:
        return (points_world @ axes.T - middle) * (scale, -scale) + centre

    points = drawn(model.points)
    points = points[((points > 0) & (points < (WIDTH, height))).all(axis=1)]
    points = points[:: max(1, -(-len(points) // MAP_POINTS))]
    bar = scale / (sources.metres_per_unit or 1.0)
    length = _round_length(180 / bar)
    view = MapView(WIDTH, height, "".join(f"M{x:.0f} {y:.0f}h0" for x, y in points), length, round(length * bar, 1))
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
                    "level": level if np.isfinite(distance) else None, "distance": distance, "degrees": angle,
                }
            )  # fmt: skip
    return view


def _map_of(sources: ReportSources, found: list[ScoredPoses]) -> Path | None:
    """The folder of the map that was localized in, or else that of the data set; None if both are missing."""
    assert sources.dataset is not None
    named = [read_yaml(method.file.with_suffix(".config.yaml")).get("map") for method in found]
    for folder in [*(Path(str(name)) for name in named if name), sources.dataset.root / "sparse"]:
        if folder.is_dir():
            return folder
    sources.left_out.append("the map from above: the map used by fgsn localize no longer exists")
    return None


def _axes(cameras: Pose) -> NDArray[np.float64]:
    """Two axes (2, 3) that span the ground plane, the first along the drive; assumes upright cameras."""
    up = -cameras.rotation[:, 1].mean(axis=0)
    if np.linalg.norm(up) < 0.1:
        raise FgsnError("the true poses are not upright, so the map cannot be drawn from above")
    up /= np.linalg.norm(up)
    centred = cameras.centre - cameras.centre.mean(axis=0)
    level = centred - np.outer(centred @ up, up)
    along = np.linalg.svd(level, full_matrices=False)[2][0] if len(level) > 1 else cameras.rotation[0, 0]
    along = along - along @ up * up
    along /= np.linalg.norm(along)
    return np.stack([along, np.cross(up, along)])


def _thinned(count: int) -> list[int]:
    return list(range(0, count, max(1, -(-count // QUERIES))))


def _round_length(longest: float) -> float:
    """The largest of …, 0.5, 1, 2, 5, 10, 20, … that is not longer."""
    power = 10.0 ** int(np.floor(np.log10(longest)))
    return next(power * factor for factor in (5, 2, 1) if power * factor <= longest)


def _n(value: float) -> float:
    return round(float(value), 1)
