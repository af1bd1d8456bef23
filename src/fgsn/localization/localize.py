"""Poses of query images in a map: match, judge the matches by labels, estimate.

Nothing here reads the truth: maps, label maps, query lists and priors are all that goes in.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fgsn.config import LocalizeSettings
from fgsn.errors import FgsnError
from fgsn.files import write_json, write_yaml
from fgsn.formats.hloc import open_hloc_matches
from fgsn.formats.hloc_folder import find_hloc_files
from fgsn.formats.poses import write_results
from fgsn.formats.priors import Priors, read_priors
from fgsn.formats.queries import Query, read_queries
from fgsn.geometry.colmap import read_model
from fgsn.geometry.gravity import up_of_cameras
from fgsn.geometry.pose import Pose
from fgsn.inference.label_lookup import find_label_map, fitting_label_map, labels_at, read_image_labels
from fgsn.inference.model import choose_device, load
from fgsn.localization.gsmc import gsmc_scores, match_votes, sampling_weights
from fgsn.localization.label_histograms import Surroundings
from fgsn.localization.labelled_map import LabelledMap, make_labelled_map
from fgsn.localization.map_folder import check_map, open_labelled_map
from fgsn.localization.matches import Matches2D3D, NoMatchesError
from fgsn.localization.matching_pipeline import OwnMatches
from fgsn.localization.robust_pose import PoseEstimate, estimate_pose
from fgsn.localization.ssmc import consistent
from fgsn.localization.voters import Voters
from fgsn.progress import say, tracked

SLANT = 20.0
"""Degrees between --up and the map's cameras that are told of; hills and handheld cameras stay below."""
NO_MATCHES = "no matches"
PriorsByName = dict[str, tuple[np.ndarray, float]]
"""Gravity in the camera frame and height of every query."""
Finder = Callable[[str], Matches2D3D]


def localize(settings: LocalizeSettings) -> dict[str, Any]:
    """Estimate the pose of every query, and write the result file.

    Returns:
        How many queries there are and how many have a pose, matches and agreeing matches in the median, milliseconds
        per query, why queries have no pose, and under 'failed' one line per query whose image or matches are not there.

    Raises:
        FgsnError: an input is missing or broken; or no query has a pose.
    """
    check_map(settings)
    queries = [query for path in settings.queries for query in read_queries(path)]
    if settings.query_labels and settings.method != "p3p":
        # What is wrong with all is told now, and not after minutes of matching; a broken image has no label map either.
        with_map = [query for query in queries if find_label_map(settings.query_labels, query.name)]
        for query in with_map or queries:
            fitting_label_map(settings.query_labels, query.name, query.camera.size)
    with judged_matches(settings, queries) as (labelled, find, judge):
        rows = [
            _localized(query, find, judge, labelled, settings) for query in tracked(queries, "localize", len(queries))
        ]
    found = [row for row in rows if row.estimate.camera_from_world is not None]
    if not found:
        reasons = "; ".join(f"{reason} ({count} x)" for reason, count in _without_pose(rows).items())
        failure = next((f", first {row.failure}" for row in rows if row.failure), "")
        raise FgsnError(f"none of {len(queries)} queries has a pose: {reasons}{failure}")
    poses = [row.estimate.camera_from_world for row in found]
    pose = Pose(np.stack([p.rotation for p in poses if p]), np.stack([p.translation for p in poses if p]))
    write_results(settings.out, [row.query for row in found], pose, settings.naming)
    results = {
        "method": settings.method,
        "queries": len(queries),
        "localized": len(found),
        "map_points": len(labelled.points),
        "labels": labelled.clusters,
        "matches": float(np.median([row.matches for row in rows])),
        "kept": float(np.median([row.kept for row in rows])),
        "inliers": float(np.median([row.estimate.inliers.sum() for row in found])),
        "ms_judge": round(1000 * float(np.median([row.seconds[0] for row in rows])), 1),
        "ms_pose": round(1000 * float(np.median([row.seconds[1] for row in rows])), 1),
        "without_pose": _without_pose(rows),
        "failed": [row.failure for row in rows if row.failure],
        "poses": str(settings.out),
    }
    write_yaml(settings.out.with_suffix(".config.yaml"), settings.as_dict())
    write_json(settings.out.with_suffix(".results.json"), results | {"by_query": [row.facts() for row in rows]})
    return results


@dataclass(frozen=True)
class Row:
    """What became of a query."""

    query: str
    matches: int
    kept: int
    estimate: PoseEstimate
    seconds: tuple[float, float] = (0.0, 0.0)
    failure: str = ""
    """Why there are no matches at all."""

    def facts(self) -> dict[str, Any]:
        """Plain values."""
        inliers = int(self.estimate.inliers.sum())
        return {"name": self.query, "matches": self.matches, "kept": self.kept, "inliers": inliers} | (
            {"reason": self.estimate.reason} if self.estimate.camera_from_world is None else {}
        )


class Judged(NamedTuple):
    """Matches as a method leaves them to the estimator."""

    matches: Matches2D3D
    weights: np.ndarray | None = None
    """How likely each is to be drawn; None: all alike."""
    votes: np.ndarray | None = None
    """How much each counts; None: all alike."""
    gravity: NDArray[np.float64] | None = None
    """In the camera frame, where poses are to be solved from pairs of matches and it; None: from triplets."""


def _warn_of_up(up: ArrayLike, labelled: LabelledMap) -> None:
    """Say so where the map's cameras hang at a slant to what is said to be up: COLMAP's maps lie as they come."""
    try:
        found = up_of_cameras(labelled.camera_from_world)
    except FgsnError:
        return
    off = np.degrees(np.arccos(np.clip(found @ np.asarray(up) / np.linalg.norm(up), -1, 1)))
    if off > SLANT:
        say(f"--up is {off:.0f} degrees off what the map's cameras say: --up {' '.join(f'{v:.4f}' for v in found)}")


Judge = Callable[[Query, Matches2D3D], Judged]


@contextmanager
def judged_matches(settings: LocalizeSettings, queries: list[Query]) -> Iterator[tuple[LabelledMap, Finder, Judge]]:
    """The map, what finds the matches of a query by its name, and what judges them as the method does.

    Raises:
        FgsnError: an input is missing or broken.
    """
    priors = {name: prior for path in settings.priors for name, prior in _by_name(read_priors(path)).items()}
    if settings.method == "gsmc" or settings.solver == "gravity":
        without = next((query.name for query in queries if query.name not in priors), None)
        if without:
            raise FgsnError(f"'{without}' has no prior of gravity and height in {settings.priors[0]}")
    device = choose_device(settings.device).type
    with _matched(settings, queries, device) as (labelled, find):
        if settings.method == "gsmc":
            _warn_of_up(settings.up, labelled)
        yield labelled, find, _Judge(settings, labelled, priors, device)


class _Judge:
    """Turns matches into what the estimator takes: which to keep, and how likely each is to be drawn."""

    def __init__(self, settings: LocalizeSettings, labelled: LabelledMap, priors: PriorsByName, device: str) -> None:
        self.settings, self.labelled, self.priors, self.device = settings, labelled, priors, device
        self.surroundings: Surroundings | None = None
        if settings.method == "ssmc" and settings.label_window > 0 and settings.map_labels:
            self.surroundings = Surroundings(labelled, settings.map_labels, settings.label_window)
        good = labelled.labels >= 0
        if labelled.stationary is not None:
            good &= labelled.stationary[np.maximum(labelled.labels, 0)]
        self.voters = Voters(
            labelled.points[good], labelled.labels[good], labelled.nearest[good], labelled.farthest[good],
            labelled.axis[good], labelled.half_angle[good],
        )  # fmt: skip

    def __call__(self, query: Query, matches: Matches2D3D) -> Judged:
        """The matches to use, how likely each is to be drawn, and how much it counts."""
        judged = self._judged(query, matches)
        return judged._replace(gravity=self.priors[query.name][0]) if self.settings.solver == "gravity" else judged

    def _judged(self, query: Query, matches: Matches2D3D) -> Judged:
        method = self.settings.method
        if method == "p3p" or not len(matches):
            return Judged(matches)
        folder = self.settings.query_labels
        assert folder is not None
        labels = read_image_labels(folder, query.name, query.camera.size, self.labelled.clusters)
        if method == "ssmc":
            return Judged(matches[self._holds(labels, matches)])
        gravity, height = self.priors[query.name]
        rows = matches.points
        scores = gsmc_scores(
            query.camera, matches.pixels, self.labelled.points[rows], self.voters, labels, gravity, height,
            gravity_noise=self.settings.gravity_noise, height_noise=self.settings.height_noise,
            match_range=(self.labelled.nearest[rows], self.labelled.farthest[rows]), up=self.settings.up,
            device=self.device,
        )  # fmt: skip
        return Judged(matches, sampling_weights(scores), match_votes(scores))

    def _holds(self, labels: NDArray[np.int64], matches: Matches2D3D) -> NDArray[np.bool_]:
        """Which matches the labels confirm: those at the key points, or those around them."""
        if self.surroundings is None:
            at = labels_at(labels, matches.pixels)
            return consistent(matches.points, self.labelled.labels, at, self.labelled.stationary)
        return self.surroundings.likeness(labels, matches.pixels, matches.points) >= self.settings.similarity


def _localized(query: Query, find: Finder, judge: Judge, labelled: LabelledMap, settings: LocalizeSettings) -> Row:
    try:
        matches = find(query.name)
    except NoMatchesError as error:
        return Row(query.name, 0, 0, PoseEstimate(None, np.zeros(0, bool), reason=NO_MATCHES), failure=str(error))
    began = time.perf_counter()
    kept, weights, votes, gravity = judge(query, matches)
    judged = time.perf_counter()
    points = labelled.points[kept.points]
    estimate = estimate_pose(
        query.camera,
        kept.pixels,
        points,
        weights,
        gravity,
        votes=votes,
        up=settings.up,
        max_error=settings.max_error,
        seed=settings.seed,
    )
    return Row(query.name, len(matches), len(kept), estimate, (judged - began, time.perf_counter() - judged))


@contextmanager
def _matched(settings: LocalizeSettings, queries: list[Query], device: str) -> Iterator[tuple[LabelledMap, Finder]]:
    """The map with its labels, and what finds the matches of a query."""
    labels = None if settings.method == "p3p" else settings.map_labels
    flags = load(settings.model, "cpu").stationary if settings.model else None
    stationary = None if flags is None or labels is None else np.array(flags, bool)
    if settings.hloc:
        labelled = open_labelled_map(settings.map, labels, stationary)
        files = find_hloc_files(settings.hloc, [query.name for query in queries])
        with open_hloc_matches(labelled, *files) as hloc:
            yield labelled, hloc.of
        return
    assert settings.images is not None
    names = [query.name for query in queries]
    work = settings.work or settings.out.parent / "work"
    own = OwnMatches(
        read_model(settings.map, points_needed=False), names, settings.images, work, settings.matcher,
        keypoints=settings.keypoints, retrieved=settings.retrieved, workers=settings.workers, device=device,
        seed=settings.seed,
    )  # fmt: skip
    labelled = make_labelled_map(own.model, labels, stationary)
    yield labelled, own.finder(labelled)


def _by_name(priors: Priors) -> PriorsByName:
    rows = zip(priors.names, priors.gravity, priors.heights, strict=True)
    return {name: (gravity, float(height)) for name, gravity, height in rows}


def _without_pose(rows: list[Row]) -> dict[str, int]:
    """How many queries have no pose, by the reason."""
    return dict(Counter(row.estimate.reason for row in rows if row.estimate.camera_from_world is None))
