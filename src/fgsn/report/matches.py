"""Matches that labels keep and drop, drawn on pairs of images."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fgsn.config import LocalizeSettings, from_yaml_values
from fgsn.errors import FgsnError, NoMatchesError
from fgsn.files import read_yaml
from fgsn.formats.queries import Query, read_queries
from fgsn.geometry.pose import Pose
from fgsn.localization.labelled_map import LabelledMap
from fgsn.localization.localize import (
    MethodContext,
    match_with_map,
    prepare_method,
    priors_by_name,
    weigh_matches,
)
from fgsn.localization.matches import Matches2D3D, MatchSource
from fgsn.report.pictures import image_uri
from fgsn.report.poses import ScoredPoses
from fgsn.report.sources import ReportSources

WIDTH = 480


class MatchLine(NamedTuple):
    """A match, in percent of the widths and heights of the two pictures."""

    x1: float
    y1: float
    x2: float
    y2: float
    kept: bool
    right: bool
    """Whether the reprojection error at the true pose is within the maximum error."""


@dataclass(frozen=True)
class MatchPicture:
    """A query and the map image that shares the most matches with it."""

    condition: str
    query: str
    reference: str
    query_picture: str
    reference_picture: str
    lines: list[MatchLine]
    counts: dict[str, int]
    """Matches of the query with the map: `kept`, `dropped`, and how many of each are correct."""


def match_pictures(sources: ReportSources, found: list[ScoredPoses]) -> list[MatchPicture]:
    """For each condition, the query with the median number of matches, weighted by SSMC as in `fgsn localize`.

    Skipped if the files of the matches no longer exist: computing them again would take too long.
    """
    method = next((method for method in reversed(found) if _method(method) == "ssmc"), None)
    if method is None:
        return []
    file = method.file.with_suffix(".config.yaml")
    try:
        settings = LocalizeSettings(**from_yaml_values(LocalizeSettings, read_yaml(file), str(file)))
        work = settings.work or settings.out.parent / "work"
        if settings.hloc is None and not any(work.glob("matches*")):
            raise FgsnError(f"{work} no longer contains matches; run fgsn localize again")
        queries = [query for path in settings.queries for query in read_queries(path)]
        priors = priors_by_name(settings, queries)
        source = match_with_map(settings, queries)
        return _pictures(sources, method, queries, source, prepare_method(settings, queries, source, priors))
    except FgsnError as error:  # the files lie elsewhere now
        sources.left_out.append(f"matches on images: {error}")
        return []


def _method(scored: ScoredPoses) -> str:
    return str(read_yaml(scored.file.with_suffix(".config.yaml")).get("method"))


def _pictures(
    sources: ReportSources,
    scored: ScoredPoses,
    queries: list[Query],
    source: MatchSource,
    method: MethodContext,
) -> list[MatchPicture]:
    assert sources.dataset is not None
    images = method.settings.images or sources.dataset.images
    row_of = {name: row for row, name in enumerate(scored.truth.names)}
    groups: dict[str, list[tuple[int, str, Query, Matches2D3D]]] = {}
    for query in (query for query in queries if query.name in row_of):
        with suppress(NoMatchesError):
            if len(matches := source.of(query.name)):
                condition = scored.truth.conditions[row_of[query.name]]
                groups.setdefault(condition, []).append((len(matches), query.name, query, matches))
    pictures = []
    for condition, rows in groups.items():
        _, _, query, matches = sorted(rows, key=lambda row: row[:2])[len(rows) // 2]
        pose, kept = scored.truth.camera_from_world[row_of[query.name]], weigh_matches(query, matches, method).matches
        pictures.append(_picture(condition, query, pose, matches, kept, source.map, images, method.settings))
    return pictures


def _picture(
    condition: str,
    query: Query,
    camera_from_world: Pose,
    matches: Matches2D3D,
    kept: Matches2D3D,
    labelled: LabelledMap,
    images: Path,
    settings: LocalizeSettings,
) -> MatchPicture:
    is_kept = np.isin(matches.points, kept.points)
    true_pixels, depths = query.camera.project(camera_from_world.transform(labelled.points[matches.points]))
    errors = np.linalg.norm(true_pixels - matches.pixels, axis=1)
    right = (depths > 0) & (errors <= settings.max_error)  # a NaN is not within the error
    image = max(range(len(labelled.names)), key=lambda row: np.isin(matches.points, labelled.points_of(row)).sum())
    pixel_of = dict(zip(labelled.points_of(image).tolist(), labelled.pixels_of(image), strict=True))
    lines = [
        MatchLine(*_percent(pixel, query.camera.size), *_percent(pixel_of[point], labelled.camera(image).size), k, r)
        for pixel, point, k, r in zip(
            matches.pixels, matches.points.tolist(), is_kept.tolist(), right.tolist(), strict=True
        )
        if point in pixel_of
    ]
    return MatchPicture(
        condition,
        query.name,
        labelled.names[image],
        image_uri(images / query.name, WIDTH),
        image_uri(images / labelled.names[image], WIDTH),
        lines,
        {
            "kept": int(is_kept.sum()),
            "dropped": int((~is_kept).sum()),
            "kept_right": int((is_kept & right).sum()),
            "dropped_right": int((~is_kept & right).sum()),
        },
    )


def _percent(pixel: NDArray[np.float64], size: tuple[int, int]) -> tuple[float, float]:
    x, y = (pixel + 0.5) / size * 100
    return round(float(x), 1), round(float(y), 1)
