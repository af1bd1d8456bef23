"""Match queries with a map without hloc: find features, match, and triangulate the map anew.

The descriptors of somebody else's map are unknown, so only the poses of its images are used: our own key points are
triangulated from them (as hloc does), and queries are matched with those.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import ClassVar

import numpy as np
from scipy.spatial import KDTree

from fgsn.config import LocalizeSettings
from fgsn.config.base import work_folder
from fgsn.config.localization import AUGMENT_WEIGHT
from fgsn.data.camera_images import images_of
from fgsn.errors import FgsnError, NoMatchesError, UsageError
from fgsn.formats.queries import Query
from fgsn.geometry.colmap import Reconstruction
from fgsn.geometry.posed import PosedImages
from fgsn.localization.matches import Floats, MatchSource, Rows
from fgsn.matching.augmentation import Augmentation
from fgsn.matching.features import Features
from fgsn.matching.label_vectors import LabelVectors
from fgsn.matching.matcher import UNFILTERED, Matcher, current_name, make_matcher
from fgsn.matching.retrieve import label_similarity
from fgsn.matching.similar import local_similarity
from fgsn.matching.triangulate import triangulate
from fgsn.processes import Workers
from fgsn.progress import say

NEIGHBOURS = 8
"""Map images that each map image is matched with."""
LARGEST_TURN = np.deg2rad(60.0)
"""Largest angle between the viewing directions of two map images that are matched."""


@dataclass(frozen=True, eq=False)
class MatchedImages:
    """Features and matches of map images and queries; made by `extract_and_match`."""

    features: Features
    """Features of all images, and matches of map images with one another."""
    query_features: Features
    """The same features, and matches of queries with map images."""
    broken: dict[str, str]
    """Images that cannot be read, and why."""
    map_pairs: list[tuple[str, str]]
    """Map images that were matched with one another."""
    retrieved: dict[str, list[str]]
    """Map images that every query was matched with, the most similar first."""


def extract_and_match(
    map_images: PosedImages, lists: Sequence[Sequence[Query]], settings: LocalizeSettings, device: str
) -> MatchedImages:
    """Find features of all images, and match map images with their neighbours and queries with similar map images.

    Args:
        map_images: the map's images.
        lists: names and cameras of the queries, best a list per condition: similar map images are found without what
            all images of a list have in common, such as snow.
        settings: matcher, its limits and folders. What the work folder already contains is not computed again.
        device: `cpu` or `cuda`.

    Raises:
        FgsnError: the matcher is unknown, or all images of the map or all queries are broken.
        MissingExtraError: the matcher's package is not installed.
    """
    assert settings.images is not None
    found = images_of(settings.images, map_images, {query.name: query.camera for query in chain(*lists)})
    with Workers(settings.workers) as workers:
        features, query_features, labels = _open_features(found.files, settings, device, workers)
        names = [map_images.names, *([query.name for query in some] for some in lists)]
        broken = found.broken | features.extract(found.files)
        images = _Readable(features, labels, broken, names, settings.device)
        query_pairs = _retrieve(images, settings) if settings.retrieved else []
        if query_features.augmentation and query_features.augmentation.weight:  # of the images that are compared only
            compared = chain.from_iterable(query_pairs if settings.retrieved else images.names)
            images.compute_labels(dict.fromkeys(compared))
        query_pairs, map_pairs = images.unbroken(query_pairs), images.unbroken(_neighbours(map_images))
        features.match_all(map_pairs)
        query_features.match_all(query_pairs)
    partners: dict[str, list[str]] = {}
    for query, name in query_pairs:
        partners.setdefault(query, []).append(name)
    return MatchedImages(features, query_features, images.broken, map_pairs, partners)


def _open_features(
    files: Mapping[str, Path], settings: LocalizeSettings, device: str, workers: Workers
) -> tuple[Features, Features, LabelVectors | None]:
    """The features of map images, the same to match queries by, and the labels that are compared, if any."""
    work, matcher = work_folder(settings), current_name(settings.matcher)
    # The map needs reliable matches; unfiltered and augmented ones are for its queries.
    filtered = make_matcher(matcher.removesuffix(UNFILTERED), settings.keypoints, device)
    for_queries = make_matcher(matcher, settings.keypoints, device) if matcher.endswith(UNFILTERED) else filtered
    weight = label_weight(settings, for_queries)
    labels = augmentation = None
    if settings.model and (weight or settings.retrieval != "local"):
        labels = LabelVectors.of_model(settings.model, work / filtered.features)  # at the key points of this kind
    if settings.model and settings.method == "p3p" and not for_queries.compares_descriptors and labels is None:
        say(
            f"fgsn: --model changes nothing here, as {matcher} is a network that compares two images itself; labels "
            f"are appended to the descriptors of {matcher}{UNFILTERED}, xfeat and sift"
        )
    if weight or settings.augment_position:
        augmentation = Augmentation(labels, weight, settings.augment_position)
    if not for_queries.compares_descriptors and (augmentation or not settings.retrieved):
        option = "--augment" if weight else "--augment-position" if augmentation else "--retrieved 0"
        raise UsageError(
            f"{option} does not apply to {matcher}, a network that compares the features of two images; "
            f"use {matcher}{UNFILTERED}, or sift or xfeat"
        )
    features = Features(files, filtered, work, workers=workers)
    return features, Features(files, for_queries, work, augmentation=augmentation, workers=workers), labels


class _Readable:
    """The names of the map's images and of each list of queries, without the images that turn out to be broken."""

    def __init__(
        self,
        features: Features,
        labels: LabelVectors | None,
        broken: dict[str, str],
        names: list[list[str]],
        device: str,
    ) -> None:
        """`names` of the map come first; FgsnError if the map or the queries have no image that can be read."""
        self.features, self.labels, self.broken, self.names, self.device = features, labels, broken, names, device
        self._leave_out()

    def compute_labels(self, names: Iterable[str]) -> None:
        """Compute the labels of images, which may have broken after their features were computed."""
        assert self.labels is not None
        points = {name: self.features[name].pixels for name in names}
        self.broken.update(self.labels.compute(self.features.images, points, self.device))
        self._leave_out()

    def unbroken(self, pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
        """The pairs of images that can be read."""
        return [pair for pair in pairs if not self.broken.keys() & set(pair)]

    def _leave_out(self) -> None:
        before, self.names = self.names, [[one for one in some if one not in self.broken] for some in self.names]
        for side in (slice(1), slice(1, None)):
            if not any(self.names[side]):
                asked = list(chain(*before[side]))
                raise FgsnError(f"none of {len(asked)} images can be read, first: {self.broken[asked[0]]}")


def _retrieve(images: _Readable, settings: LocalizeSettings) -> list[tuple[str, str]]:
    """Each query with the most similar map images, best first."""
    if settings.retrieval != "local":
        images.compute_labels(chain(*images.names))
    names, *conditions = images.names
    similarity = None
    if settings.retrieval != "local":
        assert images.labels is not None
        points = {name: images.features[name].pixels for name in chain(*images.names)}
        similarity = label_similarity(images.labels, images.features.images, points, conditions, names)
    if settings.retrieval != "labels":
        local = local_similarity(images.features, conditions, names, settings.seed)
        similarity = similarity + local if similarity else local
    assert similarity is not None
    return similarity.best(list(chain(*conditions)), names, settings.retrieved)


def label_weight(settings: LocalizeSettings, matcher: Matcher) -> float:
    """The weight of the labels in the descriptors of queries that are matched by `matcher`."""
    if settings.augment is not None:
        return settings.augment
    return AUGMENT_WEIGHT if settings.model and matcher.compares_descriptors else 0.0


def triangulated_map(map_images: PosedImages, matched: MatchedImages) -> Reconstruction:
    """Triangulate the key points of a map's images at their known poses.

    Raises:
        FgsnError: no point can be triangulated.
    """
    row = {name: number for number, name in enumerate(map_images.names)}
    posed = PosedImages(map_images.names, map_images.cameras, map_images.camera_of, map_images.camera_from_world)
    key_points = [
        np.empty((0, 2)) if name in matched.broken else matched.features[name].pixels.astype(np.float64)
        for name in map_images.names
    ]
    matches = ((row[a], row[b], matched.features.match(a, b)[0]) for a, b in matched.map_pairs)
    try:
        model = triangulate(posed, key_points, matches)
    except FgsnError as error:
        lost = [reason for name, reason in matched.broken.items() if name in row]
        why = f"; {len(lost)} of {len(row)} images cannot be used, first: {lost[0]}" if lost else ""
        raise FgsnError(f"{error}{why}") from None
    images = len(map_images.names) - len(matched.broken.keys() & row.keys())
    say(f"fgsn: {len(model.points)} map points from {images} images, {model.errors().mean():.2f} px")
    return model


@dataclass(frozen=True, eq=False)
class PipelineMatches(MatchSource):
    """Matches of `extract_and_match` with a labelled map made of `triangulated_map`."""

    images: MatchedImages
    reach: ClassVar[float] = 0.05

    def problems(self) -> list[str]:
        """Images of the map that cannot be used."""
        broken = [reason for name, reason in self.images.broken.items() if name in self.row_of]
        if not broken:
            return []
        return [f"{len(broken)} of the map's {len(self.row_of)} images cannot be used, first: {broken[0]}"]

    def partners(self, query: str) -> list[str]:
        """The map images that look most like the query."""
        if query in self.images.broken:
            raise NoMatchesError(self.images.broken[query])
        return self.images.retrieved.get(query, [])

    def key_points(self, name: str) -> Floats:
        """From the work folder."""
        return self.images.features[name].pixels.astype(np.float64)

    def pair(self, query: str, image: str, in_query: int, in_image: int) -> tuple[Rows, Rows, Floats]:
        """From the work folder; raises NoMatchesError if one of the images has broken since."""
        try:
            rows, scores = self.images.query_features.match(query, image)
        except FgsnError as error:
            raise NoMatchesError(str(error)) from None
        return rows[:, 0], rows[:, 1], scores.astype(np.float64)


def _neighbours(images: PosedImages) -> list[tuple[str, str]]:
    """Each image with the nearest ones that look in about the same direction, each pair once."""
    centres, forward = images.camera_from_world.centre, images.camera_from_world.rotation[:, 2]
    count = min(4 * NEIGHBOURS + 1, len(centres))
    _, near = KDTree(centres).query(centres, k=count)
    pairs: dict[tuple[int, int], None] = {}
    for row, others in enumerate(np.reshape(near, (len(centres), -1))):
        similar = [int(o) for o in others if o != row and forward[row] @ forward[o] > np.cos(LARGEST_TURN)]
        for other in similar[:NEIGHBOURS]:
            pairs[min(row, other), max(row, other)] = None
    return [(images.names[a], images.names[b]) for a, b in pairs]
