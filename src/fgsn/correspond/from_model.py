"""Correspondences from one COLMAP model over several conditions: points that images of both conditions see.

A point is placed at its projection in both images, which is less noisy than its single observations. Points that only
the reference observes are projected into the target, where the matcher may miss them because they look different. Such
a point is kept if the target's condition has a point close to it and none in front of it, and if its own uncertainty is
small.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from fgsn.correspond.point_map import LARGEST_ERROR, Array, PointMap, Rows, occluded
from fgsn.correspond.same_surface import image_space, within_reach
from fgsn.correspond.select_points import POINTS, select_points
from fgsn.correspond.views import NOT_SHOWN, ConditionViews, require_conditions, rows_by_condition
from fgsn.geometry.colmap import Reconstruction
from fgsn.matching.pair import PairResult, RefusedPair
from fgsn.progress import tracked


def from_model(
    model: Reconstruction,
    reference: str,
    points: int = POINTS,
    per_condition: int = 1,
    moved_pairs: int = 0,
    by_projection: bool = True,
    largest_error: float = LARGEST_ERROR,
) -> Iterator[PairResult]:
    """Match every reference image with the target images that overlap most, by the points of a map.

    Args:
        model: a model with images of all conditions.
        points: maximum number per pair.
        per_condition: maximum number of target images per reference image and condition.
        moved_pairs: maximum number of further target images from before and behind, per reference image and condition,
            the reference included.
        by_projection: also use points that the target does not observe.
        largest_error: largest expected error of a point, in pixels.

    Raises:
        FgsnError: all images are of one condition, or none is of the reference condition.
    """
    rows = rows_by_condition(model.names)
    require_conditions(rows, reference)
    point_map = PointMap(model)
    views = {condition: ConditionViews(model, those) for condition, those in rows.items()}
    seen_by = {condition: points_of(point_map, rows[condition]) for condition in views}
    for image in tracked(rows[reference], "correspondences by map", len(rows[reference]), " images"):
        seen, pose = model.points[point_map.seen_in(image)[0]], model.camera_from_world[image]
        for condition, those in views.items():
            own = image if condition == reference else None
            targets = those.targets(seen, pose, per_condition, moved_pairs, own)
            if not targets and own is None:
                yield RefusedPair(model.names[image], condition, NOT_SHOWN)
            for target, moved in targets:
                matched = match_in_map(
                    point_map, image, target, seen_by[condition] if by_projection else None, points, largest_error
                )
                yield replace(matched, moved=moved)


def match_in_map(
    point_map: PointMap,
    image: int,
    target: int,
    seen: Rows | None,
    points: int = POINTS,
    largest_error: float = LARGEST_ERROR,
) -> PairResult:
    """Match two images of one map by at most `points` of its points, with expected errors below `largest_error` pixels.

    `seen` are the points that the target's condition observes, which are also used where the target does not observe
    them; None uses observed points only.
    """
    model = point_map.model
    parts = [_observed(point_map, image, target)]
    if seen is not None:
        parts.append(_projected(point_map, image, target, seen))
    names = (model.names[image], model.names[target])
    pixels, others, errors = (np.concatenate(column) for column in zip(*parts, strict=True))
    good = errors < largest_error
    sizes = (model.camera(image).size, model.camera(target).size)
    return select_points(names, sizes, pixels[good], others[good], errors[good], points)


def points_of(point_map: PointMap, images: Rows) -> Rows:
    """The points that any of the images observes."""
    model = point_map.model
    return np.unique(model.track_point[np.isin(model.track_image, images)])


def _observed(point_map: PointMap, image: int, target: int) -> tuple[Array, Array, Array]:
    """Pixels in both images, and expected errors, of the points that both observe."""
    model = point_map.model
    (here, _), (there, _) = point_map.seen_in(image), point_map.seen_in(target)
    _, row, other = np.intersect1d(here, there, assume_unique=True, return_indices=True)
    points = model.points[here[row]]
    seen_at = model.project(image, points)[0], model.project(target, points)[0]
    return *seen_at, np.hypot(point_map.observation_error(image)[row], point_map.observation_error(target)[other])


def _projected(point_map: PointMap, image: int, target: int, seen: Rows) -> tuple[Array, Array, Array]:
    """Pixels and errors, as `_observed`, of points that the reference observes and the target does not.

    Of the points `seen` by the target's condition, one must lie close to a projected point, none in front of it. If
    there are none, as for images localized later, all points of the model may occlude.
    """
    model, camera = point_map.model, point_map.model.camera(target)
    here, pixels = point_map.seen_in(image)
    errors = np.hypot(point_map.uncertainty(here, model, target), point_map.observation_error(image))
    others, depth = model.project(target, model.points[here])
    good = camera.contains(others) & ~np.isin(here, point_map.seen_in(target)[0])
    if len(seen):
        good &= within_reach(
            image_space(model, target, model.points[here]), image_space(model, target, model.points[seen])
        )
    front, front_depth = model.project(target, model.points[seen] if len(seen) else model.points)
    inside = camera.contains(front)
    good[good] = ~occluded(others[good], depth[good], front[inside], front_depth[inside], camera.width)
    pixels, _ = model.project(image, model.points[here])  # projections: less noisy than single observations
    return pixels[good], others[good], errors[good]
