"""Matches that each method accepts and rejects, drawn on pairs of images."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fgsn.config import LocalizeSettings, from_yaml_values
from fgsn.config.base import work_folder
from fgsn.errors import FgsnError, NoMatchesError
from fgsn.files import read_yaml
from fgsn.formats.queries import Query, read_query_lists
from fgsn.geometry.pose import Pose
from fgsn.localization.localize import (
    MethodContext,
    match_with_map,
    prepare_method,
    priors_by_name,
    weigh_matches,
)
from fgsn.localization.matches import Matches2D3D, MatchSource
from fgsn.localization.matching_pipeline import label_weight
from fgsn.matching.matcher import current_name, make_matcher
from fgsn.report.pictures import image_uri
from fgsn.report.poses import ScoredPoses
from fgsn.report.sources import ReportSources

WIDTH = 640
BUDGET = 3_000_000
"""Size limit in bytes for the pictures of queries and map images."""


@dataclass(frozen=True)
class MatchPicture:
    """A query and the map image that shares the most matches with it."""

    condition: str
    query: str
    reference: str
    """Name of the map image."""
    picture: str
    """The query, a data URI."""
    lines: list[tuple[float, float, float, float, int, int, int]]
    """Matches: x and y in the query and in the map image, in percent of their widths and heights; whether the
    reprojection error at the true pose is within the maximum error; a bit for each method that is given the match; a
    bit for each one that accepts it."""
    counts: list[tuple[int, int, int, int]]
    """By method, of all matches with the map: accepted, correct ones of them, rejected, correct ones of them."""


@dataclass(frozen=True)
class MatchPictures:
    """The queries that are shown."""

    methods: list[str]
    queries: list[MatchPicture]
    references: dict[str, str]
    """Map images as data URIs, by name."""
    of: int
    """Number of queries with matches, of which these are some, evenly spread."""


@dataclass(frozen=True, eq=False)
class _Method:
    """A method and the matches that it is given."""

    poses: ScoredPoses
    settings: LocalizeSettings
    source: MatchSource
    context: MethodContext | None
    """Of ssmc, whose labels accept matches."""

    def accepts(self, query: Query, matches: Matches2D3D) -> NDArray[np.bool_]:
        """Which matches the method accepts: SSMC by their labels, others those within the maximum error of its pose."""
        if self.context:
            return np.isin(matches.points, weigh_matches(query, matches, self.context).matches.points)
        names = self.poses.truth.names
        if query.name not in names:
            return np.zeros(len(matches), bool)
        return self.near(query, matches, self.poses.estimated[names.index(query.name)])

    def near(self, query: Query, matches: Matches2D3D, camera_from_world: Pose) -> NDArray[np.bool_]:
        """Which matches have a reprojection error of at most `max_error` pixels; none for a pose of NaN."""
        points = self.source.map.points[matches.points]
        pixels, depths = query.camera.project(camera_from_world.transform(points))
        return (depths > 0) & (np.linalg.norm(pixels - matches.pixels, axis=1) <= self.settings.max_error)


def match_pictures(sources: ReportSources, found: list[ScoredPoses]) -> MatchPictures | None:
    """Matches of as many queries as fit on the page, and which of them each method accepts.

    None if the files of the matches no longer exist: computing them again would take too long.
    """
    settings_of: dict[ScoredPoses, LocalizeSettings] = {}
    try:
        for method in found:
            file = method.file.with_suffix(".config.yaml")
            values = read_yaml(file)
            if "method" in values:  # else it is from fgsn track
                settings_of[method] = LocalizeSettings(**from_yaml_values(LocalizeSettings, values, str(file)))
        main = next((method for method in reversed(settings_of) if settings_of[method].method == "ssmc"), None)
        if main is None:
            return None
        lists = read_query_lists(settings_of[main].queries)
        methods = _with_matches({main: settings_of[main], **settings_of}, lists, sources.left_out)
        return _pictures(sources, methods, list(chain(*lists)))
    except FgsnError as error:  # the files lie elsewhere now
        sources.left_out.append(f"matches on images: {error}")
        return None


def _with_matches(
    settings_of: Mapping[ScoredPoses, LocalizeSettings], lists: Sequence[Sequence[Query]], left_out: list[str]
) -> list[_Method]:
    """The methods with the same map and queries as the first; others without their matches are `left_out`, with a line.

    Raises:
        FgsnError: the first has none.
    """
    first, *_ = settings_of.values()
    shared: dict[tuple[Any, ...], MatchSource] = {}
    methods: list[_Method] = []
    for poses, settings in settings_of.items():
        if (settings.map, settings.queries, settings.hloc is None) != (first.map, first.queries, first.hloc is None):
            continue
        try:
            methods.append(_with_its_matches(poses, settings, lists, shared))
        except FgsnError as error:
            if not methods:
                raise
            left_out.append(f"matches of “{poses.name}” on images: {error}")
    return methods


def _with_its_matches(
    poses: ScoredPoses,
    settings: LocalizeSettings,
    lists: Sequence[Sequence[Query]],
    shared: dict[tuple[Any, ...], MatchSource],
) -> _Method:
    """A method and its matches, `shared` with the methods that are given the same."""
    work, stored = work_folder(settings), f"matches-{current_name(settings.matcher)}-*"
    if settings.hloc is None and not any(work.glob(stored)):
        raise FgsnError(f"{work} no longer contains {stored}; run fgsn localize again")
    matches, labels = _matches_from(settings), (settings.map_labels, settings.label_window, settings.model)
    by_labels = settings.method == "ssmc"
    key = matches, labels if by_labels else None
    if key not in shared:
        shared[key] = match_with_map(settings, lists)
        shared.setdefault((matches, None), shared[key])  # methods without labels ignore them
    context, queries = None, list(chain(*lists))
    if by_labels:
        context = prepare_method(settings, queries, shared[key], priors_by_name(settings, queries))
    return _Method(poses, settings, shared[key], context)


def _matches_from(settings: LocalizeSettings) -> tuple[Any, ...]:
    """What decides which matches a method is given."""
    common = (
        settings.map, settings.hloc, settings.work, settings.matcher, settings.keypoints, settings.retrieved,
        settings.seed,
    )  # fmt: skip
    if settings.hloc:
        return common
    weight = label_weight(settings, make_matcher(current_name(settings.matcher), settings.keypoints, "cpu"))
    model = settings.model if weight or settings.retrieval != "local" else None
    return *common, settings.retrieval, weight, settings.augment_position, model


def _pictures(sources: ReportSources, methods: Sequence[_Method], queries: Sequence[Query]) -> MatchPictures | None:
    assert sources.dataset is not None
    main, truth = methods[0], methods[0].poses.truth
    images, labelled = main.settings.images or sources.dataset.images, main.source.map
    matched: list[tuple[Query, Matches2D3D]] = []
    for query in sorted(queries, key=lambda query: query.name):
        if query.name in truth.names and len(matches := _matches(main.source, query)):
            matched.append((query, matches))
    shown = MatchPictures([method.poses.name for method in methods], [], {}, len(matched))
    size = 0
    for query, matches in _spread_order(matched):
        row = truth.names.index(query.name)
        image = max(range(len(labelled.names)), key=lambda row: np.isin(matches.points, labelled.points_of(row)).sum())
        name = labelled.names[image]
        picture = image_uri(images / query.name, WIDTH)
        reference = shown.references.get(name) or image_uri(images / name, WIDTH)
        size += len(picture) + (0 if name in shown.references else len(reference))
        if shown.queries and size > BUDGET:
            break
        shown.references[name] = reference
        lines, counts = _lines(methods, query, truth.camera_from_world[row], name)
        shown.queries.append(MatchPicture(truth.conditions[row], query.name, name, picture, lines, counts))
    shown.queries.sort(key=lambda one: (one.condition, one.query))
    return shown if shown.queries else None


def _lines(
    methods: Sequence[_Method], query: Query, true_pose: Pose, image: str
) -> tuple[list[tuple[float, float, float, float, int, int, int]], list[tuple[int, int, int, int]]]:
    """The matches of a query with one map image, and the counts of all its matches by method; see `MatchPicture`."""
    groups: dict[MatchSource, list[int]] = defaultdict(list)
    for number, method in enumerate(methods):
        groups[method.source].append(number)
    lines: list[tuple[float, float, float, float, int, int, int]] = []
    counts = [(0, 0, 0, 0)] * len(methods)
    for source, numbers in groups.items():
        matches, labelled = _matches(source, query), source.map
        right = methods[numbers[0]].near(query, matches, true_pose)
        accepting = np.zeros(len(matches), np.int64)
        for number in numbers:
            mine = methods[number].accepts(query, matches)
            accepting += mine * 2**number
            kept, good = int(mine.sum()), int((mine & right).sum())
            counts[number] = kept, good, len(matches) - kept, int(right.sum()) - good
        row = labelled.names.index(image)
        pixel_of = dict(zip(labelled.points_of(row).tolist(), labelled.pixels_of(row), strict=True))
        given = sum(2**number for number in numbers)
        for pixel, point, is_right, bits in zip(matches.pixels, matches.points.tolist(), right, accepting, strict=True):
            if point in pixel_of:
                there = _percent(pixel_of[point], labelled.camera(row).size)
                lines.append((*_percent(pixel, query.camera.size), *there, int(is_right), given, int(bits)))
    return lines, counts


def _matches(source: MatchSource, query: Query) -> Matches2D3D:
    """The matches of a query with the map, possibly none."""
    try:
        return source.of(query.name)
    except NoMatchesError:
        return Matches2D3D(np.empty((0, 2)), np.empty(0, np.int64), np.empty(0))


def _spread_order(matched: list[tuple[Query, Matches2D3D]]) -> list[tuple[Query, Matches2D3D]]:
    """The same, so that the first ones are spread evenly, however many they are: halves, quarters, eighths, …"""
    return [matched[row] for row in sorted(range(len(matched)), key=lambda row: f"{row:032b}"[::-1])]


def _percent(pixel: NDArray[np.float64], size: tuple[int, int]) -> tuple[float, float]:
    x, y = (pixel + 0.5) / size * 100
    return round(float(x), 1), round(float(y), 1)
