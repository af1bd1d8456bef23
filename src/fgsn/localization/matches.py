"""Matches between the pixels of a query and the points of a map."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from fgsn.errors import FgsnError, NoMatchesError
from fgsn.geometry.camera import Camera, require_size
from fgsn.localization.labelled_map import LabelledMap

Rows = NDArray[np.int64]
Floats = NDArray[np.float64]
REACH = 1.0
"""Largest distance in pixels between a key point and the map's observation of the same point."""


@dataclass(frozen=True, eq=False)
class Matches2D3D:
    """N matches of one query; no pixel and no point occurs twice."""

    pixels: Floats
    """(N, 2) x, y in the query, pixel centres at integers."""
    points: Rows
    """(N,) rows of the map's points."""
    similarity: Floats
    """(N,) similarity of the descriptors, as the matcher scored it; more is better."""

    def __len__(self) -> int:
        return len(self.points)

    def __getitem__(self, keep: NDArray[np.bool_] | Rows) -> "Matches2D3D":
        """Some of the matches."""
        return Matches2D3D(self.pixels[keep], self.points[keep], self.similarity[keep])


@dataclass(frozen=True, eq=False)
class MatchSource(ABC):
    """Finds the matches of queries with the points of a map, from key points matched between queries and map images.

    A query's key point matches a map point if it matches a key point at which a map image observes that point.
    """

    map: LabelledMap
    reach: ClassVar[float] = REACH
    lacking: list[str] = field(default_factory=list, init=False)
    """Pairs without matches or key points so far, and why; the other pairs of their queries count."""
    _points: dict[str, Rows] = field(default_factory=dict, init=False)

    @abstractmethod
    def partners(self, query: str) -> list[str]:
        """The map images that a query was matched with; raises NoMatchesError if there is no such query."""

    @abstractmethod
    def key_points(self, name: str) -> Floats:
        """Key points (P, 2) of a query or a map image."""

    @abstractmethod
    def pair(self, query: str, image: str, in_query: int, in_image: int) -> tuple[Rows, Rows, Floats]:
        """Matched key points of the query (n,) and of a map image (n,), with their scores (n,).

        `in_query` and `in_image` say how many key points each of them has.
        """

    def stored_size(self, name: str) -> tuple[int, int] | None:
        """Width and height of the image that key points were found in, where that has not been checked before."""
        return None

    def check_image(self, name: str, camera: Camera) -> None:
        """Raise NoMatchesError if an image of a query or of the map is known to have another size than its camera."""
        try:
            require_size(name, camera, self.stored_size(name) or camera.size)
        except FgsnError as error:
            raise NoMatchesError(str(error)) from None

    def problems(self) -> list[str]:
        """What is wrong with the map's images."""
        return []

    def of(self, query: str) -> Matches2D3D:
        """The matches of one query with map points.

        Raises:
            NoMatchesError: the query cannot be read or was not matched, or all of its pairs lack key points or matches.
            FgsnError: a file is damaged.
        """
        names, pixels = self.partners(query), self.key_points(query)
        found = [(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))]
        lacking: list[str] = []
        for name in names:
            try:
                points = self._points_of(name)
                of_query, of_image, scores = self.pair(query, name, len(pixels), len(points))
            except NoMatchesError as error:
                lacking.append(str(error))
                continue
            known = points[of_image] >= 0
            found.append((of_query[known], points[of_image[known]], scores[known]))
        self.lacking.extend(lacking)
        if names and len(lacking) == len(names):
            raise NoMatchesError(f"'{query}' has no matches with any of {len(names)} images, first: {lacking[0]}")
        of_query, points, scores = (np.concatenate(column) for column in zip(*found, strict=True))
        return unique_matches(pixels, of_query, points, scores)

    @cached_property
    def row_of(self) -> dict[str, int]:
        """Row of every map image."""
        return {name: row for row, name in enumerate(self.map.names)}

    def _points_of(self, name: str) -> Rows:
        """The map point (P,) at every key point of a map image, -1 for none; found once."""
        if name not in self._points:
            row = self.row_of[name]
            self.check_image(name, self.map.camera(row))
            key_points = self.key_points(name)
            pixels, points = self.map.pixels_of(row), self.map.points_of(row)
            self._points[name] = points_at(key_points, pixels, points, self.map.observations, self.reach)
        return self._points[name]


def points_at(
    key_points: Floats, observed_pixels: Floats, observed_points: Rows, support: NDArray[np.int32], reach: float = REACH
) -> Rows:
    """The map point that an image observes at each of its key points.

    If the map was triangulated from these key points, a key point and its observation differ only by rounding;
    otherwise the nearest observation within reach is taken. Of several observations at one pixel (SIFT makes a key
    point for each orientation), the one whose point is observed by most images counts.

    Args:
        key_points: (P, 2) x, y with pixel centres at integers.
        observed_pixels: (n, 2) where the image observes points of the map.
        observed_points: (n,) rows of those points.
        support: (M,) number of images that observe each point of the map.
        reach: distance in pixels that counts as the same place.

    Returns:
        (P,) rows of points, -1 for none.
    """
    if not len(observed_points) or not len(key_points):
        return np.full(len(key_points), -1, np.int64)
    order = np.lexsort((observed_points, -support[observed_points]))
    pixels, first = np.unique(observed_pixels[order], axis=0, return_index=True)
    distance, nearest = KDTree(pixels).query(key_points, distance_upper_bound=reach)
    found = np.isfinite(distance)
    return np.where(found, observed_points[order][first[np.where(found, nearest, 0)]], -1)


def unique_matches(pixels: Floats, key_points: Rows, points: Rows, similarity: Floats) -> Matches2D3D:
    """Resolve key points that were matched to several map points, and points matched to several key points.

    Each key point keeps the map point proposed by most map images, ties going to the most similar; then each map point
    keeps its best key point in the same way.

    Args:
        pixels: (P, 2) all key points of the query.
        key_points: (N,) row of `pixels` of every proposal.
        points: (N,) map point of every proposal.
        similarity: (N,) of every proposal.

    Returns:
        Matches in the order of the key points.
    """
    pairs, number = np.unique(np.stack([key_points, points], axis=1).reshape(-1, 2), axis=0, return_inverse=True)
    number = number.reshape(-1)
    votes = np.bincount(number, minlength=len(pairs))
    best = np.full(len(pairs), -np.inf)
    np.maximum.at(best, number, similarity)
    ranked = np.lexsort((pairs[:, 1], pairs[:, 0], -best, -votes))  # best first; rows break the last ties
    for column in (0, 1):
        first = np.unique(pairs[ranked, column], return_index=True)[1]
        ranked = ranked[np.sort(first)]
    kept = np.sort(ranked)  # rows of `pairs` are in the order of the key points
    return Matches2D3D(pixels[pairs[kept, 0]].astype(np.float64), pairs[kept, 1].astype(np.int64), best[kept])
