"""Matches of queries with a map, made here: the map's images are matched with one another and its points made anew.

The key points of a map that somebody else made are not ours, so their descriptors are unknown. The poses of its images
are what counts: from them our own key points are triangulated (as hloc does), and queries are matched with those.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial import KDTree

from fgsn.geometry.colmap import Reconstruction
from fgsn.geometry.posed import PosedImages
from fgsn.localization.labelled_map import LabelledMap
from fgsn.localization.matches import Matches2D3D, NoMatchesError, points_at, unique_matches
from fgsn.matching.features import Features, Matches
from fgsn.matching.matcher import LOOSE, make_matcher
from fgsn.matching.similar import similar_pairs
from fgsn.matching.triangulate import triangulate
from fgsn.progress import say

NEIGHBOURS = 8
"""Map images that each map image is matched with."""
LARGEST_TURN = np.deg2rad(60.0)
"""Between the viewing directions of two map images that are matched."""
SAME_PIXEL = 0.05


class OwnMatches:
    """Features and matches of map images and queries."""

    def __init__(
        self, database: PosedImages, queries: Sequence[str], images: Path, work: Path, matcher: str, **settings: Any
    ) -> None:
        """Find features, match, and triangulate; what is in `work` from before is not found again.

        Args:
            database: the map's images.
            queries: names of the queries.
            images: folder that all names are relative to.
            work: folder for features and matches.
            matcher: see `fgsn.matching.matcher`; a loose one matches queries only.
            settings: keypoints, retrieved, workers, device, seed.

        Raises:
            FgsnError: no point of the map comes out; an unknown matcher.
            MissingExtraError: the matcher's package is not installed.
        """
        workers = settings["workers"] if settings["device"] == "cpu" else 0
        files = {name: images / name for name in [*database.names, *queries]}
        # The map is made as well as can be; loose matches are for its queries.
        strict = make_matcher(matcher.removesuffix(LOOSE), settings["keypoints"], settings["device"])
        self.features = Features(files, strict, work)
        self._across = self.features
        if matcher.endswith(LOOSE):
            self._across = Features(files, make_matcher(matcher, settings["keypoints"], settings["device"]), work)
        self.broken = self.features.extract(files, workers)
        names = [name for name in database.names if name not in self.broken]
        queries = [name for name in queries if name not in self.broken]
        within = [pair for pair in _neighbours(database) if not self.broken.keys() & set(pair)]
        across = similar_pairs(self.features, queries, names, settings["retrieved"], settings["seed"])
        self.features.match_all(within, workers)
        self._across.match_all(across, workers)
        self.retrieved: dict[str, list[str]] = {name: [] for name in queries}
        for query, name in across:
            self.retrieved[query].append(name)
        row = {name: number for number, name in enumerate(database.names)}
        posed = PosedImages(database.names, database.cameras, database.camera_of, database.camera_from_world)
        key_points = [
            np.empty((0, 2)) if name in self.broken else self.features[name].pixels.astype(np.float64)
            for name in database.names
        ]
        self.model: Reconstruction = triangulate(
            posed, key_points, ((row[a], row[b], self.features.match(a, b)[0]) for a, b in within)
        )
        say(f"fgsn: {len(self.model.points)} map points from {len(names)} images, {self.model.errors().mean():.2f} px")

    def match(self, query: str, name: str) -> Matches:
        """Rows of key points of a query and of a map image that were matched, and scores."""
        return self._across.match(query, name)

    def finder(self, labelled: LabelledMap) -> Callable[[str], Matches2D3D]:
        """A function that gives the matches of a query with the points of `labelled`, made of `model`.

        It raises `NoMatchesError` for a query that cannot be read.
        """
        at: dict[str, np.ndarray] = {}
        row = {name: number for number, name in enumerate(labelled.names)}

        def points_of(name: str) -> np.ndarray:
            if name not in at:
                pixels, points = labelled.pixels_of(row[name]), labelled.points_of(row[name])
                key_points = self.features[name].pixels.astype(np.float64)
                at[name] = points_at(key_points, pixels, points, labelled.observations, SAME_PIXEL)
            return at[name]

        def find(query: str) -> Matches2D3D:
            if query in self.broken:
                raise NoMatchesError(self.broken[query])
            rows, points, scores = [], [], []
            for name in self.retrieved.get(query, []):
                pairs, score = self.match(query, name)
                found = points_of(name)[pairs[:, 1]]
                good = found >= 0
                rows.append(pairs[good, 0])
                points.append(found[good])
                scores.append(score[good])
            none = np.empty(0, np.int64)  # a query that resembles nothing has no matches
            pixels = self.features[query].pixels if rows else np.empty((0, 2), np.float32)
            key_points, found = (np.concatenate([none, *column]) for column in (rows, points))
            return unique_matches(pixels.astype(np.float64), key_points, found, np.concatenate([np.empty(0), *scores]))

        return find


def _neighbours(images: PosedImages) -> list[tuple[str, str]]:
    """Each image with the nearest ones that look about the same way, each pair once."""
    centres, forward = images.camera_from_world.centre, images.camera_from_world.rotation[:, 2]
    count = min(4 * NEIGHBOURS + 1, len(centres))
    _, near = KDTree(centres).query(centres, k=count)
    pairs: dict[tuple[int, int], None] = {}
    for row, others in enumerate(np.reshape(near, (len(centres), -1))):
        alike = [int(o) for o in others if o != row and forward[row] @ forward[o] > np.cos(LARGEST_TURN)]
        for other in alike[:NEIGHBOURS]:
            pairs[min(row, other), max(row, other)] = None
    return [(images.names[a], images.names[b]) for a, b in pairs]
