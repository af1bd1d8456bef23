"""Correspondences between several COLMAP models in one frame: points matched by position, not by appearance.

The cross-season sets of Larsson et al., CVPR 2019, were made in this way: each traversal has its own map, and two
points of different maps match if they are mutual nearest neighbours. Appearance plays no part, so this also covers
surfaces whose appearance changes.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial

import numpy as np

from fgsn.correspond.point_map import LARGEST_ERROR, Array, PointMap, Rows, occluded
from fgsn.correspond.same_frame import displacement
from fgsn.correspond.same_surface import REACH, image_space, mutual_nearest
from fgsn.correspond.select_points import POINTS, select_points
from fgsn.correspond.views import ConditionViews, require_conditions
from fgsn.errors import FgsnError
from fgsn.geometry.colmap import Reconstruction
from fgsn.geometry.posed import PosedImages
from fgsn.matching.pair import PairResult, RefusedPair
from fgsn.progress import tracked


def by_position(
    models: Mapping[str, PosedImages],
    reference: str,
    points: int = POINTS,
    per_condition: int = 1,
    reach: float = REACH,
    largest_error: float = LARGEST_ERROR,
    triangulate: Callable[[PosedImages], Reconstruction] | None = None,
) -> Iterator[PairResult]:
    """Match every reference image with the target images that overlap most, by the positions of points.

    Args:
        models: a model of every condition, all in one frame.
        reference: the reference condition.
        points: maximum number per pair.
        per_condition: maximum number of target images per reference image and condition.
        reach: largest distance in pixels between two points on the same surface.
        largest_error: largest expected error of a point in the target, in pixels.
        triangulate: makes the points of a condition whose images have only poses.

    Raises:
        FgsnError: there is only one condition, a model has no points, or two models are in different frames.
    """
    require_conditions(models, reference)
    maps = {condition: PointMap(_with_points(condition, model, triangulate)) for condition, model in models.items()}
    ours = maps.pop(reference)
    displaced = {
        condition: displacement(ours.model, theirs.model, (reference, condition), largest_error)
        for condition, theirs in maps.items()
    }
    views = {condition: ConditionViews(one.model, np.arange(len(one.model.names))) for condition, one in maps.items()}
    model = ours.model
    for image in tracked(range(len(model.names)), "correspondences by position", len(model.names), " images"):
        here, _ = ours.seen_in(image)
        for condition, theirs in maps.items():
            targets = views[condition].most_overlapping(
                model.points[here], model.camera_from_world[image], per_condition
            )
            if not targets:
                yield RefusedPair(model.names[image], condition, "no image of this condition shows the same place")
            for target in targets:
                names = (model.names[image], theirs.model.names[target])
                sizes = (model.camera(image).size, theirs.model.camera(target).size)
                found = _matched(ours, image, theirs, target, reach, displaced[condition], largest_error)
                yield select_points(names, sizes, *found, points)


def _with_points(
    condition: str, images: PosedImages, triangulate: Callable[[PosedImages], Reconstruction] | None
) -> Reconstruction:
    model = images if isinstance(images, Reconstruction) else triangulate(images) if triangulate else None
    if model is None or not len(model.points):
        raise FgsnError(f"the images of '{condition}' have poses but no points; triangulate them first")
    return model


def _matched(
    ours: PointMap, image: int, theirs: PointMap, target: int, reach: float, displaced: float, largest_error: float
) -> tuple[Array, Array, Array]:
    """Match points of the reference's map to points of the target's map.

    Args:
        ours: the reference's map.
        image: the reference image.
        theirs: the target's map.
        target: the target image.
        reach: largest distance in pixels between two points on the same surface.
        displaced: displacement of the two maps in pixels.
        largest_error: largest expected error in pixels.

    Returns:
        Pixels (N, 2) in both images and expected errors (N,).
    """
    here, pixels = ours.seen_in(image)
    position = ours.model.points[here]
    others, depth = theirs.model.project(target, position)
    errors = np.hypot(np.hypot(ours.uncertainty(here, theirs.model, target), ours.observation_error(image)), displaced)
    good = theirs.model.camera(target).contains(others) & (errors < largest_error)
    position, pixels, others, depth, errors = position[good], pixels[good], others[good], depth[good], errors[good]
    there = _visible(theirs, target)
    there_position = theirs.model.points[there]
    in_target = partial(image_space, theirs.model, target, reach=reach)
    in_reference = partial(image_space, ours.model, image, reach=reach)
    row, other = mutual_nearest(in_target(position), in_target(there_position), reach)
    apart = np.linalg.norm(in_reference(position[row]) - in_reference(there_position[other]), axis=1)
    row, other = row[apart < reach], other[apart < reach]
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
