"""Correspondences between several COLMAP models in one frame: points matched by position, not by appearance.

The cross-season sets of Larsson et al., CVPR 2019, were made in this way: each traversal has its own map, and two
points of different maps match if they are mutual nearest neighbours. Appearance plays no part, so this also covers
surfaces whose appearance changes.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial

import numpy as np

from fgsn.correspond.from_model import match_in_map
from fgsn.correspond.point_map import LARGEST_ERROR, Array, PointMap, Rows, occluded
from fgsn.correspond.same_surface import REACH, image_space, mutual_nearest
from fgsn.correspond.select_points import POINTS, select_points
from fgsn.correspond.views import NOT_SHOWN, ConditionViews, require_conditions
from fgsn.errors import FgsnError
from fgsn.geometry.colmap import Reconstruction
from fgsn.matching.pair import PairResult, RefusedPair
from fgsn.progress import tracked


def by_position(
    models: Mapping[str, Reconstruction],
    reference: str,
    points: int = POINTS,
    per_condition: int = 1,
    moved_pairs: int = 0,
    displaced: Mapping[str, float] | None = None,
) -> Iterator[PairResult]:
    """Match every reference image with the target images that overlap most, by the positions of points.

    Args:
        models: a model of every condition, all in one frame.
        points: maximum number per pair.
        per_condition: maximum number of target images per reference image and condition.
        moved_pairs: maximum number of further target images from before and behind, per reference image and condition;
            those of the reference condition are matched by the points of its own map.
        displaced: displacement of the other conditions in pixels (see `check_frames`), 0 by default.

    Raises:
        FgsnError: there is only one condition, or a model has no points.
    """
    require_conditions(models, reference)
    for condition, model in models.items():
        if not len(model.points):
            raise FgsnError(f"the model of '{condition}' has no points; triangulate its images first")
    maps = {condition: PointMap(model) for condition, model in models.items()}
    ours = maps.pop(reference)
    views = {condition: ConditionViews(one.model, np.arange(len(one.model.names))) for condition, one in maps.items()}
    model = ours.model
    own_views, every_point = ConditionViews(model, np.arange(len(model.names))), np.arange(len(model.points))
    for image in tracked(range(len(model.names)), "correspondences by position", len(model.names), " images"):
        seen, pose = model.points[ours.seen_in(image)[0]], model.camera_from_world[image]
        for target in own_views.moved(seen, pose, moved_pairs, [image]):
            yield replace(match_in_map(ours, image, target, every_point, points), moved=True)
        for condition, theirs in maps.items():
            targets = views[condition].targets(seen, pose, per_condition, moved_pairs)
            if not targets:
                yield RefusedPair(model.names[image], condition, NOT_SHOWN)
            for target, moved in targets:
                names = (model.names[image], theirs.model.names[target])
                sizes = (model.camera(image).size, theirs.model.camera(target).size)
                found = _matched(ours, image, theirs, target, (displaced or {}).get(condition, 0.0))
                yield replace(select_points(names, sizes, *found, points), moved=moved)


def _matched(ours: PointMap, image: int, theirs: PointMap, target: int, displaced: float) -> tuple[Array, Array, Array]:
    """Match points of the reference's map to points of the target's, which are `displaced` by some pixels.

    Returns:
        Pixels (N, 2) in both images and expected errors (N,).
    """
    here, pixels = ours.seen_in(image)
    position = ours.model.points[here]
    others, depth = theirs.model.project(target, position)
    errors = np.hypot(np.hypot(ours.uncertainty(here, theirs.model, target), ours.observation_error(image)), displaced)
    good = theirs.model.camera(target).contains(others) & (errors < LARGEST_ERROR)
    position, pixels, others, depth, errors = position[good], pixels[good], others[good], depth[good], errors[good]
    there = _visible(theirs, target)
    there_position = theirs.model.points[there]
    in_target = partial(image_space, theirs.model, target)
    in_reference = partial(image_space, ours.model, image)
    row, other = mutual_nearest(in_target(position), in_target(there_position))
    apart = np.linalg.norm(in_reference(position[row]) - in_reference(there_position[other]), axis=1)
    row, other = row[apart < REACH], other[apart < REACH]
    # Occluded in the target by points of its map, or in the reference by points of its own.
    front, front_depth = theirs.model.project(target, there_position)
    behind = occluded(others[row], depth[row], front, front_depth, theirs.model.camera(target).width)
    mine, mine_depth = ours.model.project(image, position)
    back, back_depth = ours.model.project(image, there_position[other])
    behind |= occluded(back, back_depth, mine, mine_depth, ours.model.camera(image).width)
    row, other = row[~behind], other[~behind]
    return pixels[row], others[row], errors[row]


def _visible(point_map: PointMap, image: int) -> Rows:
    """The points of a map in view of an image that no observed point occludes."""
    model = point_map.model
    pixels, depth = model.project(image, model.points)
    seen, _ = point_map.seen_in(image)
    rows = np.nonzero(model.camera(image).contains(pixels))[0]
    behind = occluded(pixels[rows], depth[rows], pixels[seen], depth[seen], model.camera(image).width)
    return np.union1d(rows[~behind], np.intersect1d(seen, rows))
