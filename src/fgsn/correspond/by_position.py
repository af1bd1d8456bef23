"""Correspondences between several COLMAP models in one frame: points matched by where they are, not by how they look.

As the cross-season sets of Larsson et al., CVPR 2019, were made: each traversal has its own map, and points of two maps
are matched when each is the other's nearest. Appearance never enters, so this reaches surfaces whose look changes.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial

import numpy as np
from scipy.spatial import cKDTree

from fgsn.correspond.pair import MatchedPair, Refused
from fgsn.correspond.point_map import Array, PointMap, Rows, hidden
from fgsn.correspond.same_frame import require_same_frame
from fgsn.correspond.settle import POINTS, settle
from fgsn.correspond.views import Views, require_conditions
from fgsn.errors import FgsnError
from fgsn.geometry.colmap import Reconstruction
from fgsn.geometry.posed import PosedImages
from fgsn.progress import tracked

LARGEST_ERROR = 2.0
"""Pixels; points that are expected to lie farther off in the target are not used."""
REACH = 4.0
"""Pixels between two points of two maps, as either image sees them, that are taken for the same surface."""
DEPTH_REACH = 0.03
"""Share of their depth by which such points may differ along the line of sight."""


def by_position(
    models: Mapping[str, PosedImages],
    reference: str,
    points: int = POINTS,
    per_condition: int = 1,
    reach: float = REACH,
    triangulate: Callable[[PosedImages], Reconstruction] | None = None,
) -> Iterator[MatchedPair | Refused]:
    """Match every reference image with the target images that see the same, by the positions of points.

    Args:
        models: a model of every condition, all in one frame; names of images are taken as they are.
        reference: the reference condition.
        points: of a pair, at most.
        per_condition: target images per reference image and condition, at most.
        reach: pixels within which two points count as the same surface.
        triangulate: makes points from the images of one condition, for those that have poses only.

    Raises:
        FgsnError: there is one condition only, a model has no points, or two models are in different frames.
    """
    require_conditions(models, reference)
    maps = {condition: PointMap(_with_points(condition, model, triangulate)) for condition, model in models.items()}
    ours = maps.pop(reference)
    for condition, theirs in maps.items():
        require_same_frame(ours.model, theirs.model, (reference, condition), reach)
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
                cameras = (model.camera(image), theirs.model.camera(target))
                yield settle(names, cameras, *_matched(ours, image, theirs, target, reach), points)


def _with_points(
    condition: str, images: PosedImages, triangulate: Callable[[PosedImages], Reconstruction] | None
) -> Reconstruction:
    model = images if isinstance(images, Reconstruction) else triangulate(images) if triangulate else None
    if model is None or not len(model.points):
        raise FgsnError(f"the images of '{condition}' have poses but no points; triangulate them first")
    return model


def _matched(ours: PointMap, image: int, theirs: PointMap, target: int, reach: float) -> tuple[Array, Array, Array]:
    """Pixels in both images and expected errors of points of the reference's map that the target's map has as well."""
    here, pixels = ours.seen_in(image)
    position = ours.model.points[here]
    off = np.linalg.norm(ours.model.project(image, position)[0] - pixels, axis=1)
    others, depth = theirs.model.project(target, position)
    errors = np.hypot(ours.uncertainty(here, theirs.model, target), np.hypot(off, ours.noise))
    good = theirs.model.camera(target).contains(others) & (errors < LARGEST_ERROR)
    here, pixels, position, others, depth, errors = (
        column[good] for column in (here, pixels, position, others, depth, errors)
    )
    there = _visible(theirs, target)
    there_position = theirs.model.points[there]
    in_target = partial(_as_seen, theirs.model, target, reach=reach)
    in_reference = partial(_as_seen, ours.model, image, reach=reach)
    row, other = _mutual(in_target(position), in_target(there_position), reach)
    apart = np.linalg.norm(in_reference(position[row]) - in_reference(there_position[other]), axis=1)
    row, other = row[apart < reach], other[apart < reach]
    # Hidden in the target by what its map knows to be there, or the other way round.
    front, front_depth = theirs.model.project(target, there_position)
    behind = hidden(others[row], depth[row], front, front_depth, theirs.model.camera(target).width)
    mine, mine_depth = ours.model.project(image, ours.model.points[here])
    back, back_depth = ours.model.project(image, there_position[other])
    behind |= hidden(back, back_depth, mine, mine_depth, ours.model.camera(image).width)
    row, other = row[~behind], other[~behind]
    # Points of one surface lie around each other; what they have in common is how far the maps are displaced.
    shift = np.linalg.norm(np.median(front[other] - others[row], axis=0)) if len(row) else 0.0
    return pixels[row], others[row], np.hypot(errors[row], shift)


def _visible(point_map: PointMap, image: int) -> Rows:
    """The points of a map in view of an image that nothing seen by the image hides."""
    model = point_map.model
    pixels, depth = model.project(image, model.points)
    seen, _ = point_map.seen_in(image)
    rows = np.nonzero(model.camera(image).contains(pixels))[0]
    behind = hidden(pixels[rows], depth[rows], pixels[seen], depth[seen], model.camera(image).width)
    return np.union1d(rows[~behind], np.intersect1d(seen, rows))


def _as_seen(model: PosedImages, image: int, points: Array, reach: float) -> Array:
    """Points (N, 3) as an image sees them: pixels, and depth in a measure in which DEPTH_REACH counts as `reach`."""
    pixels, depth = model.project(image, points)
    with np.errstate(invalid="ignore"):
        return np.nan_to_num(np.column_stack([pixels, np.log(depth) * reach / DEPTH_REACH]), nan=1e9)


def _mutual(one: Array, other: Array, reach: float) -> tuple[Rows, Rows]:
    """Rows of both that are each other's nearest and within reach."""
    if not len(one) or not len(other):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    apart, nearest = cKDTree(other).query(one)
    _, back = cKDTree(one).query(other)
    rows = np.nonzero((apart < reach) & (back[nearest] == np.arange(len(one))))[0]
    return rows, nearest[rows]
