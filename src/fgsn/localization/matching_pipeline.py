"""Match queries with a map without hloc: find features, match, and triangulate the map anew.

The descriptors of somebody else's map are unknown, so only the poses of its images are used: our own key points are
triangulated from them (as hloc does), and queries are matched with those.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import ClassVar

import numpy as np
from scipy.spatial import KDTree

from fgsn.config import LocalizeSettings
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
from fgsn.matching.similar import local_similarity, most_similar
from fgsn.matching.triangulate import triangulate
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
    work, matcher = settings.work or settings.out.parent / "work", current_name(settings.matcher)
    workers = settings.workers if device == "cpu" else 0
    assert settings.images is not None
    found = images_of(settings.images, map_images, {query.name: query.camera for query in chain(*lists)})
    files = found.files
    # The map needs reliable matches; unfiltered and augmented ones are for its queries.
    filtered = make_matcher(matcher.removesuffix(UNFILTERED), settings.keypoints, device)
    for_queries = make_matcher(matcher, settings.keypoints, device) if matcher.endswith(UNFILTERED) else filtered
    weight = label_weight(settings, for_queries)
    labels = augmentation = None
    if settings.model and (weight or settings.retrieval != "local"):
        labels = LabelVectors.of_model(settings.model, work)
    if weight or settings.augment_position:
        augmentation = Augmentation(labels, weight, settings.augment_position)
    if not for_queries.compares_descriptors and (augmentation or not settings.retrieved):
        option = "--augment" if weight else "--augment-position" if augmentation else "--retrieved 0"
        raise UsageError(
            f"{option} does not apply to {matcher}, a network that compares the features of two images; "
            f"use {matcher}{UNFILTERED}, or sift or xfeat"
        )
    features = Features(files, filtered, work)
    query_features = Features(files, for_queries, work, augmentation=augmentation)
    broken = found.broken | features.extract(files, workers)
    asked = [[query.name for query in some] for some in lists]

    def unbroken(conditions: Sequence[Sequence[str]]) -> list[list[str]]:
        left = [[name for name in names if name not in broken] for names in conditions]
        if not any(left):
            asked_for = list(chain(*conditions))
            raise FgsnError(f"none of {len(asked_for)} images can be read, first: {broken[asked_for[0]]}")
        return left

    def compute_labels(of: LabelVectors, names: Iterable[str]) -> None:  # an image may break after its features
        points = {name: features[name].pixels for name in names}
        broken.update(of.compute(files, points, settings.device))

    (names,), conditions = unbroken([map_images.names]), unbroken(asked)
    similarity = 0.0
    if labels and settings.retrieval != "local":
        compute_labels(labels, chain(names, *conditions))
        (names,), conditions = unbroken([names]), unbroken(conditions)
        points = {name: features[name].pixels for name in chain(names, *conditions)}
        similarity = label_similarity(labels, files, points, conditions, names)
    if settings.retrieved and settings.retrieval != "labels":
        similarity = similarity + local_similarity(features, conditions, names, settings.seed)
    wanted = list(chain(*conditions))
    query_pairs: list[tuple[str, str]] = []
    if settings.retrieved:
        query_pairs = most_similar(np.asarray(similarity), wanted, names, settings.retrieved)
    if labels and augmentation:  # of the images that are compared only
        compared = (name for pair in query_pairs for name in pair) if settings.retrieved else chain(names, wanted)
        compute_labels(labels, dict.fromkeys(compared))
        query_pairs = [pair for pair in query_pairs if not broken.keys() & set(pair)]
    map_pairs = [pair for pair in _neighbours(map_images) if not broken.keys() & set(pair)]
    features.match_all(map_pairs, workers)
    query_features.match_all(query_pairs, workers)
    partners: dict[str, list[str]] = {name: [] for name in wanted}
    for query, name in query_pairs:
        partners[query].append(name)
    return MatchedImages(features, query_features, broken, map_pairs, partners)


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
