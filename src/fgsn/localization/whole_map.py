"""Match queries with all points of a map at once, without retrieval, as published (Larsson et al., ICCV 2019).

The map counts as one image. The descriptor of a point is the mean over the images that observe it, labels included if
they are appended, so the rules of the matcher (mutual neighbours, ratio test, least similarity) hold as ever.
"""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from fgsn.errors import FgsnError, NoMatchesError
from fgsn.localization.matches import Matches2D3D
from fgsn.localization.matching_pipeline import PipelineMatches
from fgsn.matching.keypoints import Keypoints
from fgsn.progress import tracked


@dataclass(frozen=True, eq=False)
class WholeMapMatches(PipelineMatches):
    """Matches of queries with all points of a map made of `triangulated_map`."""

    _found: dict[str, Matches2D3D] = field(default_factory=dict, init=False)

    def of(self, query: str) -> Matches2D3D:
        """The matches of one query with map points; raises NoMatchesError if it cannot be read."""
        if query in self.images.broken:
            raise NoMatchesError(self.images.broken[query])
        if query not in self._found:
            try:
                here = self.images.query_features.to_match(query)
            except FgsnError as error:  # broken since
                raise NoMatchesError(str(error)) from None
            rows, scores = self.images.query_features.matcher.match(here, self._as_one_image)
            self._found[query] = Matches2D3D(
                here.pixels[rows[:, 0]].astype(np.float64), rows[:, 1], scores.astype(np.float64)
            )
        return self._found[query]

    def partners(self, query: str) -> list[str]:
        """The map images that observe points matched by the query, those with most of them first."""
        seen = self.map.track_image[np.isin(self.map.track_point, self.of(query).points)]
        counts = np.bincount(seen, minlength=len(self.map.names))
        return [self.map.names[row] for row in np.argsort(-counts, kind="stable") if counts[row]]

    @cached_property
    def _as_one_image(self) -> Keypoints:
        """All points of the map with their mean descriptors."""
        points, features = len(self.map.points), self.images.query_features
        sums = np.zeros((points, 0), np.float32)
        for name in tracked(self.map.names, "describe the map", len(self.map.names)):
            if name in self.images.broken:
                continue
            try:
                descriptors, of_key_points = features.to_match(name).descriptors, self._points_of(name)
            except FgsnError as error:  # broken since
                self.images.broken[name] = str(error)
                continue
            if not sums.size:
                sums = np.zeros((points, descriptors.shape[1]), np.float32)
            known = of_key_points >= 0
            np.add.at(sums, of_key_points[known], descriptors[known])
        if not sums.size:
            raise FgsnError(f"no image of the map can be read, first: {next(iter(self.images.broken.values()))}")
        sums /= np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)
        return Keypoints(np.zeros((points, 2), np.float32), sums, np.ones(points, np.float32), (1, 1))
