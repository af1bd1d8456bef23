"""Matches that labels keep and drop, on real pairs of images."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fgsn.config import LocalizeSettings, from_yaml_values
from fgsn.errors import FgsnError
from fgsn.files import read_yaml
from fgsn.formats.queries import Query, read_queries
from fgsn.geometry.pose import Pose
from fgsn.localization.labelled_map import LabelledMap
from fgsn.localization.localize import judged_matches
from fgsn.localization.matches import Matches2D3D, NoMatchesError
from fgsn.report.pictures import image_uri
from fgsn.report.poses import Scored
from fgsn.report.sources import Sources

PAIRS = 6
WIDTH = 480


class Line(NamedTuple):
    """A match, in percent of the pictures' widths and heights."""

    x1: float
    y1: float
    x2: float
    y2: float
    kept: bool
    right: bool
    """Whether the true pose puts the point where the query shows it."""


@dataclass(frozen=True)
class MatchPicture:
    """A query beside the map image that shares the most matches with it."""

    condition: str
    query: str
    reference: str
    query_picture: str
    reference_picture: str
    lines: list[Line]
    counts: dict[str, int]
    """Of all matches of the query with the map: kept, dropped, and of each those that are right."""


def match_pictures(sources: Sources, found: list[Scored]) -> list[MatchPicture]:
    """For each condition the query with the median number of matches, judged by SSMC as `fgsn localize` did.

    Left out where the matches are not at hand any more: finding them again would take long.
    """
    method = next((method for method in reversed(found) if _method(method) == "ssmc"), None)
    if method is None:
        return []
    file = method.file.with_suffix(".config.yaml")
    try:
        settings = LocalizeSettings(**from_yaml_values(LocalizeSettings, read_yaml(file), str(file)))
        work = settings.work or settings.out.parent / "work"
        if settings.hloc is None and not any(work.glob("matches*")):
            raise FgsnError(f"{work} holds no matches any more")
        queries = [query for path in settings.queries for query in read_queries(path)]
        with judged_matches(settings, queries) as (labelled, find, judge):
            return _pictures(
                sources, method, settings, queries, labelled, find, lambda query, all: judge(query, all).matches
            )
    except FgsnError as error:  # the files lie elsewhere now
        sources.left_out.append(f"matches on images: {error}")
        return []


def _method(scored: Scored) -> str:
    return str(read_yaml(scored.file.with_suffix(".config.yaml")).get("method"))


def _pictures(
    sources: Sources,
    method: Scored,
    settings: LocalizeSettings,
    queries: list[Query],
    labelled: LabelledMap,
    find: Callable[[str], Matches2D3D],
    judge: Callable[[Query, Matches2D3D], Matches2D3D],
) -> list[MatchPicture]:
    assert sources.dataset is not None
    images = settings.images or sources.dataset.images
    row_of = {name: row for row, name in enumerate(method.truth.names)}
    groups: dict[str, list[tuple[int, str, Query, Matches2D3D]]] = {}
    for query in (query for query in queries if query.name in row_of):
        with suppress(NoMatchesError):
            if len(matches := find(query.name)):
                condition = method.truth.conditions[row_of[query.name]]
                groups.setdefault(condition, []).append((len(matches), query.name, query, matches))
    pictures = []
    for condition, rows in list(groups.items())[:PAIRS]:
        _, _, query, matches = sorted(rows, key=lambda row: row[:2])[len(rows) // 2]
        pose = method.truth.camera_from_world[row_of[query.name]]
        pictures.append(_picture(condition, query, pose, matches, judge(query, matches), labelled, images, settings))
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
    right = (depths > 0) & (errors <= settings.max_error)  # not a number is more than any error
    image = max(range(len(labelled.names)), key=lambda row: np.isin(matches.points, labelled.points_of(row)).sum())
    pixel_of = dict(zip(labelled.points_of(image).tolist(), labelled.pixels_of(image), strict=True))
    lines = [
        Line(*_percent(pixel, query.camera.size), *_percent(pixel_of[point], labelled.camera(image).size), k, r)
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
