"""Correspondences from images alone, by two-view matching or through one model of all images."""

import shutil
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from fgsn.config import CorrespondSettings
from fgsn.correspond.from_model import from_model
from fgsn.correspond.inputs import cameras_of, read_map
from fgsn.correspond.select_points import select_points
from fgsn.correspond.views import condition_of
from fgsn.data.images import walk_images
from fgsn.errors import FgsnError
from fgsn.geometry.colmap import Reconstruction
from fgsn.geometry.posed import PosedImages
from fgsn.inference.model import prepare_device
from fgsn.matching.candidates import (
    Pairs,
    all_pairs,
    listed_pairs,
    neighbours_in_order,
    pairs_by_position,
    pairs_in_order,
    read_positions,
)
from fgsn.matching.features import Features
from fgsn.matching.matcher import make_matcher
from fgsn.matching.pair import MatchedPair, PairResult, RefusedPair
from fgsn.matching.pairwise import match_images
from fgsn.matching.promising import promising
from fgsn.matching.reconstruct import reconstruct
from fgsn.matching.similar import similar_pairs
from fgsn.matching.triangulate import triangulate
from fgsn.processes import Workers
from fgsn.progress import say

CANDIDATES = 3
"""Factor of similar images to try per requested target image."""
POINT_COLUMNS = ("points_ref", "points_tgt", "errors")
MORE_THAN_ASKED = "left out: other pairs of its reference image have more points (--per-condition)"
NEIGHBOURS = 4
"""Images of its own traversal that each image is matched with."""


class ImageCollection:
    """The images of a folder with their features and, where known, their cameras."""

    def __init__(
        self, settings: CorrespondSettings, features: Features, sizes: Mapping[str, tuple[int, int]], failed: list[str]
    ) -> None:
        """Extract the `features` of all images; broken ones are left out, with a line each in `failed`.

        `sizes` are width and height by name.
        """
        self.settings, self.features, self.sizes, names = settings, features, sizes, list(sizes)
        known = cameras_of(settings.intrinsics, sizes)
        # Of all conditions, and read before minutes of work.
        here = [name for name in names if condition_of(name) == settings.reference]
        there = [name for name in names if condition_of(name) != settings.reference]
        kind, _, where = settings.pairs.partition(":")
        self.positions = read_positions(Path(where)) if kind == "positions" else {}
        for some, side in ((here, "reference"), (there, "target")) if self.positions else ():
            if not set(some) & self.positions.keys():
                raise FgsnError(
                    f"{where} has a position of no {side} image: it names {next(iter(self.positions))}, expected for "
                    f"example {next(iter(some), settings.reference)}"
                )
        by_rule = kind in ("all", "order", "similar", "positions")
        self.listed = None
        if not by_rule:
            files = {file.relative_to(settings.images).as_posix() for file in walk_images(settings.images)}
            self.listed = listed_pairs(Path(settings.pairs), here, there, files - sizes.keys())
        broken = features.extract(names)
        failed += broken.values()
        self.names = [name for name in names if name not in broken]
        self.by_condition: dict[str, list[str]] = defaultdict(list)
        for name in self.names:
            self.by_condition[condition_of(name)].append(name)
        self.cameras = {name: camera for name, camera in known.items() if name not in broken}

    def cross_condition_pairs(self) -> Pairs:
        """The pairs of a reference and a target image that --pairs selects, without those of broken images."""
        if self.listed is not None:
            usable = set(self.names)
            return [pair for pair in self.listed if usable.issuperset(pair)]
        reference = self.by_condition[self.settings.reference]
        pairs: Pairs = []
        for condition, targets in self.by_condition.items():
            if condition != self.settings.reference and reference and targets:
                pairs += self._between(reference, targets)
        return pairs

    def _between(self, reference: list[str], targets: list[str]) -> Pairs:
        kind, count = self.settings.pairs, self.settings.per_condition
        if kind == "all":
            return all_pairs(reference, targets)
        if kind == "order":
            return pairs_in_order(reference, targets, count)
        if kind == "similar":
            return similar_pairs(self.features, reference, targets, CANDIDATES * count, self.settings.seed)
        return pairs_by_position(reference, targets, self.positions, count, farthest=np.inf)

    def same_condition_pairs(self, names: Sequence[str]) -> Pairs:
        """Each image with the next ones of the same camera and traversal."""
        by_camera: dict[str, list[str]] = defaultdict(list)
        for name in names:
            by_camera[str(Path(name).parent)].append(name)
        return [pair for some in by_camera.values() for pair in neighbours_in_order(some, NEIGHBOURS)]

    def triangulate(self, images: PosedImages) -> Reconstruction:
        """Triangulate points from posed images of one condition; FgsnError if there is none."""
        row = {name: number for number, name in enumerate(images.names)}
        key_points = [self.features[name].pixels.astype(np.float64) for name in images.names]
        pairs = self.same_condition_pairs(images.names)
        self.features.match_all(pairs)
        return triangulate(images, key_points, ((row[a], row[b], self.features.match(a, b)[0]) for a, b in pairs))


def open_features(settings: CorrespondSettings, names: Iterable[str], work: Path, workers: Workers) -> Features:
    """The features of images, not computed yet; `work` keeps them and their matches."""
    device = prepare_device(settings.device).type
    matcher = make_matcher(settings.matcher, settings.keypoints, device)
    images = {name: settings.images / name for name in names}
    return Features(images, matcher, work, workers=workers)


def from_images(images: ImageCollection) -> Iterator[PairResult]:
    """Match images pair by pair; of similar images, a slow matcher is given the promising pairs only."""
    settings, pairs = images.settings, images.cross_condition_pairs()
    if settings.pairs == "similar" and not images.features.matcher.compares_descriptors:
        pairs, skipped = promising(images.features, pairs, lambda a, b: (a, condition_of(b)), settings.per_condition)
        say(
            f"fgsn: {len(skipped)} of {len(pairs) + len(skipped)} pairs of similar images are skipped: too few of "
            "their key points agree, or those of other pairs agree better"
        )
        yield from skipped
    found = match_images(images.features, pairs, settings.densify, images.cameras)
    yield from best_of_each((_selected(images, pair) for pair in found), settings.per_condition)


def from_reconstruction(images: ImageCollection) -> tuple[list[Reconstruction], Iterator[PairResult]]:
    """Build models over all conditions, and derive the correspondences from them.

    Returns the models, largest first, and the pairs; FgsnError if no model has images of the reference and another
    condition.
    """
    settings, folder = images.settings, images.features.folder / "models"
    pairs = images.same_condition_pairs(images.names) + images.cross_condition_pairs()
    shutil.rmtree(folder, ignore_errors=True)  # from other settings or an interrupted run
    made = reconstruct(images.features, pairs, folder, images.cameras, settings.seed)
    models = [read_map(folder, images.sizes) for folder in made]
    useful = [model for model in models if _connects(model, settings.reference)]
    registered = {name for model in models for name in model.names}
    say(
        f"fgsn: {len(models)} models contain {len(registered)} of {len(images.names)} images; "
        f"{len(useful)} of them connect the reference with another condition"
    )
    if missing := [name for name in images.names if name not in registered]:
        say(
            f"fgsn: {len(missing)} images are in no model, first {missing[0]}; more pairs (--pairs all, "
            "--per-condition) or --matcher xfeat-lighterglue may connect them"
        )
    if not useful:
        raise FgsnError(
            f"none of the {len(models)} models connects '{settings.reference}' with another condition; leave "
            "--reconstruct out to match images pair by pair"
        )
    by_model = [
        pair
        for model in useful
        for pair in from_model(model, settings.reference, settings.points, settings.per_condition, settings.moved_pairs)
    ]
    return useful, _with_two_views(images, by_model)


def _with_two_views(images: ImageCollection, by_model: Sequence[PairResult]) -> Iterator[PairResult]:
    """Add two-view matches to the pairs of a model, which keeps only its most certain points."""
    settings = images.settings
    pairs = [(pair.reference, pair.target) for pair in by_model if pair.target in images.sizes]
    matched = match_images(images.features, pairs, settings.densify, images.cameras)
    in_two_views = dict(zip(pairs, matched, strict=True))
    for pair in by_model:
        parts = [pair, in_two_views.get((pair.reference, pair.target), pair)]
        parts = [part for part in dict.fromkeys(parts) if isinstance(part, MatchedPair)]
        if not parts:
            yield pair
            continue
        columns = [np.concatenate([getattr(part, name) for part in parts]) for name in POINT_COLUMNS]
        yield replace(_selected(images, MatchedPair(pair.reference, pair.target, *columns)), moved=pair.moved)


def best_of_each(found: Iterable[PairResult], count: int) -> Iterator[PairResult]:
    """Keep the `count` pairs with the most points per reference image and condition; the others say why not."""
    groups: dict[tuple[str, str], list[MatchedPair]] = defaultdict(list)
    for pair in found:
        if isinstance(pair, RefusedPair):
            yield pair
        else:
            groups[pair.reference, condition_of(pair.target)].append(pair)
    for group in groups.values():
        group.sort(key=lambda pair: -len(pair.points_ref))
        yield from group[:count]
        yield from (RefusedPair(pair.reference, pair.target, MORE_THAN_ASKED) for pair in group[count:])


def _selected(images: ImageCollection, pair: PairResult) -> PairResult:
    if isinstance(pair, RefusedPair):
        return pair
    names = (pair.reference, pair.target)
    sizes = (images.sizes[pair.reference], images.sizes[pair.target])
    return select_points(names, sizes, pair.points_ref, pair.points_tgt, pair.errors, images.settings.points)


def _connects(model: Reconstruction, reference: str) -> bool:
    conditions = {condition_of(name) for name in model.names}
    return reference in conditions and len(conditions) > 1
