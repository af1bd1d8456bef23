"""Correspondences between several COLMAP models in one frame: points matched by where they are, not by how they look.

As the cross-season sets of Larsson et al., CVPR 2019, were made: each traversal has its own map, and points of two maps
are matched when each is the other's nearest. Appearance never enters, so this reaches surfaces whose look changes.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial

import numpy as np

from fgsn.correspond.point_map import LARGEST_ERROR, Array, PointMap, Rows, hidden
from fgsn.correspond.same_frame import displacement
from fgsn.correspond.same_surface import REACH, as_seen, mutual
from fgsn.correspond.select_points import POINTS, settle
from fgsn.correspond.views import Views, require_conditions
from fgsn.errors import FgsnError
from fgsn.geometry.colmap import Reconstruction
from fgsn.geometry.posed import PosedImages
from fgsn.matching.pair import MatchedPair, Refused
from fgsn.progress import tracked


def by_position(
    models: Mapping[str, PosedImages],
    reference: str,
    points: int = POINTS,
    per_condition: int = 1,
    reach: float = REACH,
    largest_error: float = LARGEST_ERROR,
    triangulate: Callable[[PosedImages], Reconstruction] | None = None,
) -> Iterator[MatchedPair | Refused]:
    """Match every reference image with the target images that see the same, by the positions of points.

    Args:
        models: a model of every condition, all in one frame; names of images are taken as they are.
        reference: the reference condition.
        points: of a pair, at most.
        per_condition: target images per reference image and condition, at most.
        reach: pixels within which two points count as the same surface.
        largest_error: pixels; points that are expected to lie farther off in the target are not used.
        triangulate: makes points from the images of one condition, for those that have poses only.

    Raises:
        FgsnError: there is one condition only, a model has no points, or two models are in different frames.
    """
    require_conditions(models, reference)
    maps = {condition: PointMap(_with_points(condition, model, triangulate)) for condition, model in models.items()}
    ours = maps.pop(reference)
    displaced = {
        condition: displacement(ours.model, theirs.model, (reference, condition), largest_error)
        for condition, theirs in maps.items()
    }
    views = {condition: Views(one.model, np.arange(len(one.model.names))) for condition, one in maps.items()}
    model = ours.model
    for image in tracked(range(len(model.names)), "correspondences by position", len(model.names), " images"):
        here, _ = ours.seen_in(image)
        for condition, theirs in maps.items():
            targets = views[condition].like(model.points[here], model.camera_from_world[image], per_condition)
            if not targets:
                yield Refused(model.names[image], condition, "no image of this condition looks at the same place")
            for target in targets:
                names = (model.names[image], theirs.model.names[target])
                sizes = (model.camera(image).size, theirs.model.camera(target).size)
                found = _matched(ours, image, theirs, target, reach, displaced[condition], largest_error)
                yield settle(names, sizes, *found, points)


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
    """Pixels in both images and expected errors of points of the reference's map that the target's map has as well.

    Args:
        ours: the reference's map.
        image: the reference image.
        theirs: the target's map.
        target: the target image.
        reach: pixels within which two points count as the same surface.
        displaced: pixels by which the two maps are displaced.
        largest_error: pixels; points with more are left out.
    """
    here, pixels = ours.seen_in(image)
    position = ours.model.points[here]
    others, depth = theirs.model.project(target, position)
    errors = np.hypot(np.hypot(ours.uncertainty(here, theirs.model, target), ours.misfit(image)), displaced)
    good = theirs.model.camera(target).contains(others) & (errors < largest_error)
    position, pixels, others, depth, errors = position[good], pixels[good], others[good], depth[good], errors[good]
    there = _visible(theirs, target)
    there_position = theirs.model.points[there]
    in_target = partial(as_seen, theirs.model, target, reach=reach)
    in_reference = partial(as_seen, ours.model, image, reach=reach)
    row, other = mutual(in_target(position), in_target(there_position), reach)
    apart = np.linalg.norm(in_reference(position[row]) - in_reference(there_position[other]), axis=1)
    row, other = row[apart < reach], other[apart < reach]
    # Hidden in the target by what its map knows to be there, or the other way round.
    front, front_depth = theirs.model.project(target, there_position)
    behind = hidden(others[row], depth[row], front, front_depth, theirs.model.camera(target).width)
    mine, mine_depth = ours.model.project(image, position)
    back, back_depth = ours.model.project(image, there_position[other])
    behind |= hidden(back, back_depth, mine, mine_depth, ours.model.camera(image).width)
    row, other = row[~behind], other[~behind]
    return pixels[row], others[row], errors[row]


def _visible(point_map: PointMap, image: int) -> Rows:
    """The points of a map in view of an image that nothing seen by the image hides."""
    model = point_map.model
    pixels, depth = model.project(image, model.points)
    seen, _ = point_map.seen_in(image)
    rows = np.nonzero(model.camera(image).contains(pixels))[0]
    behind = hidden(pixels[rows], depth[rows], pixels[seen], depth[seen], model.camera(image).width)
    return np.union1d(rows[~behind], np.intersect1d(seen, rows))
