"""Poses of query images in a map: match, weigh the matches by labels, estimate the pose, write the result file.

`localize` names the steps in order. Nothing here reads the truth: the inputs are maps, label maps, query lists and
priors.
"""

import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fgsn.config import LocalizeSettings
from fgsn.data.find_image import image_at
from fgsn.data.images import read_image
from fgsn.errors import FgsnError, MissingExtraError, NoMatchesError
from fgsn.files import write_json, write_yaml
from fgsn.formats.hloc import find_hloc_files
from fgsn.formats.poses import write_results
from fgsn.formats.priors import priors_like, read_priors
from fgsn.formats.queries import Query, read_query_lists
from fgsn.geometry.colmap import read_model
from fgsn.geometry.gravity import UP, up_of_cameras
from fgsn.geometry.pose import Pose
from fgsn.inference.label_lookup import (
    find_label_map,
    first_label_map,
    fitting_label_map,
    labels_at,
    read_image_labels,
)
from fgsn.inference.model import load, prepare_device
from fgsn.localization.confidence import confidence
from fgsn.localization.gsmc import gsmc_scores, match_votes, sampling_weights
from fgsn.localization.hloc_matches import open_hloc_matches
from fgsn.localization.labelled_map import LabelledMap, make_labelled_map
from fgsn.localization.map_folder import check_map, open_labelled_map
from fgsn.localization.matches import Matches2D3D, MatchSource
from fgsn.localization.matching_pipeline import PipelineMatches, extract_and_match, triangulated_map
from fgsn.localization.robust_pose import PoseEstimate, estimate_pose
from fgsn.localization.ssmc import consistent
from fgsn.localization.voters import Voters
from fgsn.localization.whole_map import WholeMapMatches
from fgsn.progress import say, tracked

SLANT = 20.0
"""Degrees between --up and the up of the map's cameras that are reported; hills and handheld cameras stay below."""
DOUBTFUL = 0.2
"""Median confidence below which all poses are reported as doubtful."""
PriorsByName = dict[str, tuple[NDArray[np.float64], float]]
"""Gravity in the camera frame and height of every query."""


def localize(settings: LocalizeSettings) -> dict[str, Any]:
    """Estimate the pose of every query, and write the result file.

    Returns:
        The number of queries and of queries with a pose, the median number of matches, kept matches and inliers, the
        median confidence, milliseconds per query, why queries have no pose, and one line per query whose pose is
        'refused' by --min-confidence or that has 'failed' for want of matches.

    Raises:
        FgsnError: an input is missing or broken, or no query has a pose.
    """
    check_map(settings)
    if settings.method == "p3p" and (settings.map_labels or settings.query_labels):
        say("fgsn: --method p3p uses neither --map-labels nor --query-labels")
    lists = read_query_lists(settings.queries)
    queries = list(chain(*lists))
    check_label_maps(settings, queries)
    priors = priors_by_name(settings, queries)
    source = match_with_map(settings, lists)
    method = prepare_method(settings, queries, source, priors)
    rows = [localize_query(query, source, method) for query in tracked(queries, "localize", len(queries))]
    return write_poses(method.settings, source, rows)


def check_label_maps(settings: LocalizeSettings, queries: list[Query]) -> None:
    """Check the queries' label maps before minutes of matching; a query whose image is broken may lack its own.

    Raises:
        FgsnError: no query has a label map, or one is not a PNG of its camera's size, or was made from another image.
    """
    if settings.query_labels and settings.method != "p3p":
        with_map = [query for query in queries if find_label_map(settings.query_labels, query.name)]
        for query in with_map or queries:
            image = image_at(settings.images, query.name) if settings.images else None
            try:
                fitting_label_map(settings.query_labels, query.name, query.camera.size, image)
            except FgsnError:
                if image is None or not _is_damaged(image):
                    raise
                # The label map is of the image as it was; its query is listed, and the others are localized.


def _is_damaged(image: Path) -> bool:
    try:
        read_image(image)
    except FgsnError:
        return True
    return False


def priors_by_name(settings: LocalizeSettings, queries: list[Query]) -> PriorsByName:
    """Read the priors of gravity and height; none without --priors.

    Raises:
        FgsnError: a list is broken, or lacks a query whose prior the method or the solver requires.
    """
    priors: PriorsByName = {}
    for read in map(read_priors, settings.priors):
        for name, gravity, height in zip(read.names, read.gravity, read.heights, strict=True):
            if name in priors:
                raise FgsnError(f"'{name}' is in two lists of --priors; keep one")
            priors[name] = gravity, float(height)
    if settings.priors and _needs_priors(settings):
        without = next((query.name for query in queries if query.name not in priors), None)
        if without:
            raise FgsnError(f"'{without}' has no prior of gravity and height in {settings.priors[0]}")
    return priors


def _needs_priors(settings: LocalizeSettings) -> bool:
    return settings.method == "gsmc" or settings.solver == "gravity"


def match_with_map(settings: LocalizeSettings, lists: Sequence[Sequence[Query]]) -> MatchSource:
    """Match the queries, given by list, with the map, by hloc's files or here, and label the map.

    Features and matches that the work folder already contains are not computed again.

    Raises:
        FgsnError: an input is missing or broken, or no point of the map can be triangulated.
    """
    device, names = prepare_device(settings.device).type, [query.name for query in chain(*lists)]
    labels = None if settings.method == "p3p" else settings.map_labels
    flags = load(settings.model, "cpu").stationary if settings.model else None
    stationary = None if flags is None or labels is None else np.array(flags, bool)
    window = settings.label_window if settings.method == "ssmc" and settings.label_window > 0 else None
    if settings.hloc:
        labelled = open_labelled_map(settings.map, labels, stationary, window)
        return open_hloc_matches(labelled, *find_hloc_files(settings.hloc, names))
    map_images = read_model(settings.map, points_needed=False)
    if labels and settings.query_labels:
        _check_one_model(labels, map_images.names, settings.query_labels, names)
    matched = extract_and_match(map_images, lists, settings, device)
    model = triangulated_map(map_images, matched)
    found_by = PipelineMatches if settings.retrieved else WholeMapMatches
    return found_by(make_labelled_map(model, labels, stationary, label_window=window), matched)


def _check_one_model(labels: Path, names: Sequence[str], query_labels: Path, queries: Sequence[str]) -> None:
    """Check, before minutes of matching, that map and queries have label maps with equally many labels: FgsnError."""
    map_file, of_map = first_label_map(labels, names, "image of the map")
    file, count = first_label_map(query_labels, queries, "query")
    if count != of_map:
        raise FgsnError(f"{map_file} has {of_map} labels, but {file} has {count}; use one model for both")


@dataclass(frozen=True, eq=False)
class MethodContext:
    """What `weigh_matches` needs besides the matches; made by `prepare_method`."""

    settings: LocalizeSettings
    """With a value for `up`."""
    map: LabelledMap
    priors: PriorsByName
    voters: Voters | None = None
    """Of gsmc."""


def prepare_method(
    settings: LocalizeSettings, queries: list[Query], source: MatchSource, priors: PriorsByName
) -> MethodContext:
    """Compute once per map what the method needs for every query.

    Args:
        settings: of the command.
        queries: all queries.
        source: their matches with the map.
        priors: as read; if none are given, those of map images take their place where the method needs them.

    Raises:
        FgsnError: neither --up nor the map's cameras say which direction is up.
    """
    labelled, voters = source.map, None
    if settings.priors or not _needs_priors(settings):
        settings = replace(settings, up=settings.up or UP)
    else:
        settings, priors = _priors_of_map(settings, queries, source)
    if settings.method == "gsmc":
        _warn_of_up(settings.up or UP, labelled)
        good = labelled.labels >= 0
        if labelled.stationary is not None:
            good &= labelled.stationary[np.maximum(labelled.labels, 0)]
        voters = Voters(points=labelled.points, labels=labelled.labels, **vars(labelled.visibility))[good]
    return MethodContext(settings, labelled, priors, voters)


def _priors_of_map(
    settings: LocalizeSettings, queries: list[Query], source: MatchSource
) -> tuple[LocalizeSettings, PriorsByName]:
    """Settings with `up`, and gravity and height of each query's most similar map image: for vehicles on its roads."""
    up = settings.up or tuple(up_of_cameras(source.map.camera_from_world).tolist())
    say(
        f"fgsn: no --priors, so each query takes gravity and height of the map image that looks most like it, with "
        f"--up {' '.join(f'{value:.4f}' for value in up)}"
    )
    retrieved: dict[str, list[str]] = {}
    for query in queries:
        with suppress(NoMatchesError):  # it is reported with its matches
            if partners := source.partners(query.name):
                retrieved[query.name] = partners
    found = priors_like(source.map, up, retrieved)
    rows = zip(found.names, found.gravity, found.heights.tolist(), strict=True)
    return replace(settings, up=up), {name: (gravity, height) for name, gravity, height in rows}


def _warn_of_up(up: ArrayLike, labelled: LabelledMap) -> None:
    """Report a slant between --up and the up of the map's cameras: the axes of COLMAP's maps are arbitrary."""
    try:
        found = up_of_cameras(labelled.camera_from_world)
    except FgsnError:
        return
    off = np.degrees(np.arccos(np.clip(found @ np.asarray(up) / np.linalg.norm(up), -1, 1)))
    if off > SLANT:
        say(f"--up is {off:.0f} degrees off the up of the map's cameras: --up {' '.join(f'{v:.4f}' for v in found)}")


class WeightedMatches(NamedTuple):
    """The matches that a method passes on to the estimator."""

    matches: Matches2D3D
    weights: NDArray[np.float64] | None = None
    """How likely each match is to be drawn; None: all equally."""
    votes: NDArray[np.float64] | None = None
    """How much each match counts; None: all equally."""
    gravity: NDArray[np.float64] | None = None
    """In the camera frame, if poses are solved from gravity and pairs of matches; None: from triplets."""


def weigh_matches(query: Query, matches: Matches2D3D, method: MethodContext) -> WeightedMatches:
    """Keep and weigh the matches of a query as its method does.

    Raises:
        FgsnError: the query's label map is missing or does not fit.
    """
    settings, labelled = method.settings, method.map
    if not len(matches):
        return WeightedMatches(matches)
    to_solve = method.priors[query.name][0] if settings.solver == "gravity" else None
    if settings.method == "p3p":
        return WeightedMatches(matches, gravity=to_solve)
    assert settings.query_labels is not None
    labels = read_image_labels(settings.query_labels, query.name, query.camera.size, labelled.clusters)
    rows = matches.points
    if labelled.histograms is not None:
        stays = np.ones(labelled.clusters, bool) if labelled.stationary is None else labelled.stationary
        similarity = labelled.histograms.similarity(labels, matches.pixels, rows, stays)
        return WeightedMatches(matches[similarity >= settings.similarity], gravity=to_solve)
    if method.voters is None:
        same = consistent(rows, labelled.labels, labels_at(labels, matches.pixels), labelled.stationary)
        return WeightedMatches(matches[same], gravity=to_solve)
    gravity, height = method.priors[query.name]
    scores = gsmc_scores(
        query.camera, matches.pixels, labelled.points[rows], method.voters, labels, gravity, height,
        gravity_noise=settings.gravity_noise, height_noise=settings.height_noise,
        match_range=(labelled.visibility.nearest[rows], labelled.visibility.farthest[rows]), up=settings.up or UP,
        device=prepare_device(settings.device).type,
    )  # fmt: skip
    return WeightedMatches(matches, sampling_weights(scores), match_votes(scores), to_solve)


class LocalizedQuery(NamedTuple):
    """The result of one query."""

    query: str
    matches: int
    kept: int
    estimate: PoseEstimate
    seconds: tuple[float, float] = (0.0, 0.0)
    """Spent on weighing the matches, and on the pose."""
    failure: str = ""
    """Why there are no matches at all."""
    confidence: float | None = None
    """That the pose is right, also of one that is refused for it."""

    def facts(self) -> dict[str, Any]:
        """Values for the results file."""
        inliers = int(self.estimate.inliers.sum())
        facts = {"name": self.query, "matches": self.matches, "kept": self.kept, "inliers": inliers}
        if self.confidence is not None:
            facts["confidence"] = round(self.confidence, 4)
        return facts | ({"reason": self.estimate.reason} if self.estimate.camera_from_world is None else {})


def localize_query(query: Query, source: MatchSource, method: MethodContext) -> LocalizedQuery:
    """Estimate the pose of one query; a query without matches, or with broken ones or a broken label map, has none.

    Raises:
        MissingExtraError: a package is not installed.
    """
    settings = method.settings
    try:
        source.check_image(query.name, query.camera)
        matches = source.of(query.name)
        began = time.perf_counter()
        kept, weights, votes, gravity = weigh_matches(query, matches, method)
    except MissingExtraError:
        raise
    except FgsnError as error:
        reason = "no matches" if isinstance(error, NoMatchesError) else "broken matches or label map"
        failure = str(error) if query.name in str(error) else f"'{query.name}': {error}"
        return LocalizedQuery(query.name, 0, 0, PoseEstimate(None, np.zeros(0, bool), reason=reason), failure=failure)
    weighed = time.perf_counter()
    estimate = estimate_pose(
        query.camera, kept.pixels, source.map.points[kept.points], weights, gravity, votes=votes, up=settings.up or UP,
        max_error=settings.max_error, seed=settings.seed,
    )  # fmt: skip
    seconds, sure = (weighed - began, time.perf_counter() - weighed), None
    if estimate.camera_from_world is not None:
        sure = confidence(int(estimate.inliers.sum()))
        if sure < settings.min_confidence:
            estimate = replace(estimate, camera_from_world=None, reason="confidence below --min-confidence")
    return LocalizedQuery(query.name, len(matches), len(kept), estimate, seconds, confidence=sure)


def write_poses(settings: LocalizeSettings, source: MatchSource, rows: list[LocalizedQuery]) -> dict[str, Any]:
    """Write the result file, and settings and results beside it; returns the results.

    Raises:
        FgsnError: no query has a pose.
    """
    labelled = source.map
    found = [(row, pose) for row in rows if (pose := row.estimate.camera_from_world) is not None]
    without_pose = Counter(row.estimate.reason for row in rows if row.estimate.camera_from_world is None)
    if not found:
        reasons = "; ".join(f"{reason} ({count} x)" for reason, count in without_pose.items())
        failure = next((f", first {row.failure}" for row in rows if row.failure), "")
        raise FgsnError(f"none of {len(rows)} queries has a pose: {reasons}{failure}")
    poses = Pose(np.stack([pose.rotation for _, pose in found]), np.stack([pose.translation for _, pose in found]))
    written = write_results(settings.out, [row.query for row, _ in found], poses, settings.naming)
    warnings = [f"pairs without matches: {len(source.lacking)}, first: {source.lacking[0]}"] if source.lacking else []
    sure = float(np.median([row.confidence for row, _ in found if row.confidence is not None]))
    if sure < DOUBTFUL:
        warnings.append(
            f"the median confidence is {sure:.2f}: hardly any pose is right; see whether map and queries show one "
            "place, and whether the focal lengths of the queries are right"
        )
    warnings += [f"{len(found) - written} poses are left out by --naming"] if written < len(found) else []
    for warning in warnings:
        say(f"fgsn: {warning}")
    results = {
        "method": settings.method,
        "queries": len(rows),
        "localized": len(found),
        "written": written,
        "map_points": len(labelled.points),
        "labels": labelled.clusters or None,
        "matches": float(np.median([row.matches for row in rows])),
        "kept": float(np.median([row.kept for row in rows])),
        "inliers": float(np.median([row.estimate.inliers.sum() for row, _ in found])),
        "confidence": sure,
        "refused": [
            f"{row.query}: confidence {row.confidence:.2f}"
            for row in rows
            if row.confidence is not None and row.estimate.camera_from_world is None
        ],
        "ms_judge": round(1000 * float(np.median([row.seconds[0] for row in rows])), 1),
        "ms_pose": round(1000 * float(np.median([row.seconds[1] for row in rows])), 1),
        "without_pose": dict(without_pose),
        "warnings": warnings,
        "problems": source.problems(),
        "failed": [row.failure for row in rows if row.failure],
        "poses": str(settings.out),
    }
    write_yaml(settings.out.with_suffix(".config.yaml"), settings.as_dict())
    write_json(settings.out.with_suffix(".results.json"), results | {"by_query": [row.facts() for row in rows]})
    return results
