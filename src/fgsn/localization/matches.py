"""Matches between the pixels of a query and the points of a map."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from fgsn.errors import FgsnError

REACH = 1.0
"""How far a key point may be from an observation to be that observation, in pixels."""


class NoMatchesError(FgsnError):
    """What the matches of one query come from is not there; other queries may have theirs."""


@dataclass(frozen=True, eq=False)
class Matches2D3D:
    """N matches of one query; no pixel and no point occurs twice."""

    pixels: NDArray[np.float64]
    """(N, 2) x, y in the query, pixel centres at integers."""
    points: NDArray[np.int64]
    """(N,) rows of the map's points."""
    similarity: NDArray[np.float64]
    """(N,) how alike the descriptors are, as the matcher scored it: the more, the better."""

    def __len__(self) -> int:
        return len(self.points)

    def __getitem__(self, keep: NDArray[np.bool_] | NDArray[np.int64]) -> "Matches2D3D":
        """Some of the matches."""
        return Matches2D3D(self.pixels[keep], self.points[keep], self.similarity[keep])


def points_at(
    key_points: NDArray[np.float64],
    observed_pixels: NDArray[np.float64],
    observed_points: NDArray[np.int64],
    support: NDArray[np.int32],
    reach: float = REACH,
) -> NDArray[np.int64]:
    """The map point that an image observes at each of its key points.

    A key point lies on its observation but for rounding where the map was triangulated from these key points; where it
    was made otherwise, the nearest observation within reach serves. Of observations at one pixel (SIFT makes a key
    point for each orientation) the one counts whose point more images observe.

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


def unique_matches(
    pixels: NDArray[np.float64],
    key_points: NDArray[np.int64],
    points: NDArray[np.int64],
    similarity: NDArray[np.float64],
) -> Matches2D3D:
    """Resolve key points that were matched to several map points, and points matched to several key points.

    Each key point keeps the point that most database images propose, then the most similar; then each point keeps its
    best key point likewise.

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
    ranked = np.lexsort((pairs[:, 1], pairs[:, 0], -best, -votes))  # best first; rows decide what is left
    for column in (0, 1):
        first = np.unique(pairs[ranked, column], return_index=True)[1]
        ranked = ranked[np.sort(first)]
    kept = np.sort(ranked)  # rows of `pairs` are in the order of the key points
    return Matches2D3D(pixels[pairs[kept, 0]].astype(np.float64), pairs[kept, 1].astype(np.int64), best[kept])
