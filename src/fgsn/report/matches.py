"""Matches that each method accepts and rejects, drawn on pairs of images."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fgsn.config import LocalizeSettings, from_yaml_values
from fgsn.errors import FgsnError, NoMatchesError
from fgsn.files import read_yaml
from fgsn.formats.queries import Query, read_query_lists
from fgsn.geometry.camera import Camera
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
    lines: list[tuple[float, float, float, float, int, int]]
    """Matches: x and y in the query and in the map image, in percent of their widths and heights; whether the
    reprojection error at the true pose is within the maximum error; a bit for each method that accepts the match."""
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


def match_pictures(sources: ReportSources, found: list[ScoredPoses]) -> MatchPictures | None:
    """Matches of as many queries as fit on the page, and which of them each method accepts.

    SSMC accepts the matches that its labels keep; every other method those within the maximum error of its own pose.
    Methods that match other descriptors are left out. None if the files of the matches no longer exist: computing them
    again would take too long.
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
        settings = settings_of[main]
        wanted = _matches_from(settings)
        same = [method for method, mine in settings_of.items() if _matches_from(mine) == wanted]
        work = settings.work or settings.out.parent / "work"
        if settings.hloc is None and not any(work.glob("matches*")):
            raise FgsnError(f"{work} no longer contains matches; run fgsn localize again")
        lists = read_query_lists(settings.queries)
        queries = list(chain(*lists))
        source = match_with_map(settings, lists)
        contexts: dict[ScoredPoses, MethodContext] = {}
        for method in (one for one in same if settings_of[one].method == "ssmc"):
            mine = settings_of[method]
            labelled = source if mine.map_labels == settings.map_labels else match_with_map(mine, lists)
            contexts[method] = prepare_method(mine, queries, labelled, priors_by_name(mine, queries))
        return _pictures(sources, [main, *(method for method in same if method is not main)], contexts, queries, source)
    except FgsnError as error:  # the files lie elsewhere now
        sources.left_out.append(f"matches on images: {error}")
        return None


def _matches_from(settings: LocalizeSettings) -> tuple[Any, ...]:
    """What decides which matches a method is given."""
    common = settings.map, settings.hloc, settings.work, settings.matcher, settings.keypoints, settings.retrieved
    if settings.hloc:
        return common
    weight = label_weight(settings, make_matcher(current_name(settings.matcher), settings.keypoints, "cpu"))
    model = settings.model if weight or settings.retrieval != "local" else None
    return *common, settings.retrieval, weight, settings.augment_position, model


def _pictures(
    sources: ReportSources,
    methods: Sequence[ScoredPoses],
    contexts: Mapping[ScoredPoses, MethodContext],
    queries: Sequence[Query],
    source: MatchSource,
) -> MatchPictures | None:
    assert sources.dataset is not None
    main = methods[0]
    settings = contexts[main].settings
    images = settings.images or sources.dataset.images
    row_of = [{name: row for row, name in enumerate(method.truth.names)} for method in methods]
    matched: list[tuple[Query, Matches2D3D]] = []
    for query in sorted(queries, key=lambda query: query.name):
        with suppress(NoMatchesError):
            if query.name in row_of[0] and len(matches := source.of(query.name)):
                matched.append((query, matches))
    shown = MatchPictures([method.name for method in methods], [], {}, len(matched))
    size = 0
    for query, matches in _spread_order(matched):
        points, truth = source.map.points[matches.points], main.truth
        row = row_of[0][query.name]
        right = _near(points, matches, query.camera, truth.camera_from_world[row], settings.max_error)
        accepted = np.zeros((len(methods), len(matches)), bool)
        for number, method in enumerate(methods):
            if method in contexts:
                kept = weigh_matches(query, matches, contexts[method]).matches
                accepted[number] = np.isin(matches.points, kept.points)
            elif query.name in row_of[number]:
                pose = method.estimated[row_of[number][query.name]]
                accepted[number] = _near(points, matches, query.camera, pose, settings.max_error)
        labelled = source.map
        image = max(range(len(labelled.names)), key=lambda row: np.isin(matches.points, labelled.points_of(row)).sum())
        name = labelled.names[image]
        picture = image_uri(images / query.name, WIDTH)
        reference = shown.references.get(name) or image_uri(images / name, WIDTH)
        size += len(picture) + (0 if name in shown.references else len(reference))
        if shown.queries and size > BUDGET:
            break
        shown.references[name] = reference
        pixel_of = dict(zip(labelled.points_of(image).tolist(), labelled.pixels_of(image), strict=True))
        bits = (accepted.T * 2 ** np.arange(len(methods))).sum(axis=1)
        lines = [
            (
                *_percent(pixel, query.camera.size),
                *_percent(pixel_of[point], labelled.camera(image).size),
                int(r),
                int(b),
            )
            for pixel, point, r, b in zip(matches.pixels, matches.points.tolist(), right, bits, strict=True)
            if point in pixel_of
        ]
        counts = [
            (int(mine.sum()), int((mine & right).sum()), int((~mine).sum()), int((~mine & right).sum()))
            for mine in accepted
        ]
        shown.queries.append(MatchPicture(truth.conditions[row], query.name, name, picture, lines, counts))
    shown.queries.sort(key=lambda one: (one.condition, one.query))
    return shown if shown.queries else None


def _spread_order(matched: list[tuple[Query, Matches2D3D]]) -> list[tuple[Query, Matches2D3D]]:
    """The same, so that the first ones are spread evenly, however many they are: halves, quarters, eighths, …"""
    return [matched[row] for row in sorted(range(len(matched)), key=lambda row: f"{row:032b}"[::-1])]


def _near(
    points: NDArray[np.float64], matches: Matches2D3D, camera: Camera, camera_from_world: Pose, max_error: float
) -> NDArray[np.bool_]:
    """Which matches have a reprojection error within `max_error` pixels; none for a pose of NaN."""
    pixels, depths = camera.project(camera_from_world.transform(points))
    return (depths > 0) & (np.linalg.norm(pixels - matches.pixels, axis=1) <= max_error)


def _percent(pixel: NDArray[np.float64], size: tuple[int, int]) -> tuple[float, float]:
    x, y = (pixel + 0.5) / size * 100
    return round(float(x), 1), round(float(y), 1)
