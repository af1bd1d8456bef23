"""Correspondences from one COLMAP model over several conditions: points that images of both conditions see.

What both images observe corresponds as observed. What only the reference observes is projected into the target, where
nothing nearer is seen and the point is well enough known: a matcher finds again what looks the same, but the point is
there all the same.
"""

from collections.abc import Callable, Iterator

import numpy as np

from fgsn.correspond.pair import MatchedPair, Refused
from fgsn.correspond.point_map import Array, PointMap, Rows, hidden
from fgsn.correspond.settle import POINTS, settle
from fgsn.correspond.views import Views, require_conditions, rows_by_condition
from fgsn.geometry.colmap import Reconstruction
from fgsn.progress import tracked

LARGEST_ERROR = 2.0
"""Pixels; observations and points that are expected to lie farther off are not used."""


def from_model(
    model: Reconstruction,
    reference: str,
    condition_of: Callable[[str], str],
    points: int = POINTS,
    per_condition: int = 1,
    by_projection: bool = True,
) -> Iterator[MatchedPair | Refused]:
    """Match every reference image with the target images that see the same, by the points of a map.

    Args:
        model: a model with images of all conditions.
        reference: the reference condition.
        condition_of: the condition of an image, by its name.
        points: of a pair, at most.
        per_condition: target images per reference image and condition, at most.
        by_projection: also use points that the target does not observe itself.

    Raises:
        FgsnError: all images are of one condition, or none is of the reference.
    """
    rows = rows_by_condition([condition_of(name) for name in model.names])
    require_conditions(rows, reference)
    point_map = PointMap(model)
    views = {condition: Views(model, those) for condition, those in rows.items() if condition != reference}
    seen_by = {condition: points_of(point_map, rows[condition]) for condition in views}
    for image in tracked(rows[reference], "correspondences by map", len(rows[reference]), " images"):
        here = point_map.seen_in(image)
        pose = model.camera_from_world[image]
        for condition, those in views.items():
            targets = those.like(model.points[here[0]], pose, per_condition)
            if not targets:
                yield Refused(model.names[image], condition, "no image of this condition looks at the same place")
            for target in targets:
                parts = [_observed(point_map, image, target)]
                if by_projection:
                    parts.append(_projected(point_map, image, target, seen_by[condition]))
                names = (model.names[image], model.names[target])
                columns = (np.concatenate(column) for column in zip(*parts, strict=True))
                yield settle(names, (model.camera(image), model.camera(target)), *columns, points)


def points_of(point_map: PointMap, images: Rows) -> Rows:
    """The points that any of the images observes."""
    model = point_map.model
    return np.unique(model.track_point[np.isin(model.track_image, images)])


def _observed(point_map: PointMap, image: int, target: int) -> tuple[Array, Array, Array]:
    """Pixels in both images and expected errors of the points that both observe."""
    (here, pixels), (there, others) = point_map.seen_in(image), point_map.seen_in(target)
    shared, row, other = np.intersect1d(here, there, assume_unique=True, return_indices=True)
    off = [
        np.linalg.norm(point_map.model.project(one, point_map.model.points[shared])[0] - seen, axis=1)
        for one, seen in ((image, pixels[row]), (target, others[other]))
    ]
    # A point without freedom fits its observations however wrong they are: the noise is there all the same.
    errors = np.hypot(np.hypot(*off), point_map.noise)
    good = errors < LARGEST_ERROR * np.sqrt(2)
    return pixels[row][good], others[other][good], errors[good]


def _projected(point_map: PointMap, image: int, target: int, seen: Rows) -> tuple[Array, Array, Array]:
    """The same of points that the reference observes and the target does not.

    Args:
        point_map: the map.
        image: the reference image.
        target: the target image.
        seen: points that the target's condition observes, which may stand in front of others.
    """
    model = point_map.model
    here, pixels = point_map.seen_in(image)
    fresh = ~np.isin(here, point_map.seen_in(target)[0])
    here, pixels = here[fresh], pixels[fresh]
    off = np.linalg.norm(model.project(image, model.points[here])[0] - pixels, axis=1)
    others, depth = model.project(target, model.points[here])
    errors = np.hypot(point_map.uncertainty(here, model, target), np.hypot(off, point_map.noise))
    good = model.camera(target).contains(others) & (errors < LARGEST_ERROR)
    here, pixels, others, depth, errors = (column[good] for column in (here, pixels, others, depth, errors))
    front, front_depth = model.project(target, model.points[seen])
    inside = model.camera(target).contains(front)
    behind = hidden(others, depth, front[inside], front_depth[inside], model.camera(target).width)
    return pixels[~behind], others[~behind], errors[~behind]
