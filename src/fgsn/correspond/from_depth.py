"""Correspondences from depth maps with poses: pixels of the reference, carried through space into the target.

A point counts where the target's depth map says that it is seen there, and where it comes back to its pixel from
there: so occlusion is checked both ways, and no image is ever looked at.
"""

from collections.abc import Callable, Iterator
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from fgsn.correspond.depth_maps import DepthMaps, DepthView
from fgsn.correspond.depth_unit import check_unit
from fgsn.correspond.select_points import POINTS, settle
from fgsn.correspond.views import Views, require_conditions, rows_by_condition
from fgsn.geometry.posed import PosedImages
from fgsn.matching.pair import MatchedPair, Refused
from fgsn.progress import tracked

Array = NDArray[np.float64]
_TRIES_PER_POINT = 6
_LARGEST_RETURN = 1.0  # pixels between a point and where it comes back to


def from_depth(
    images: PosedImages,
    depth_maps: DepthMaps,
    reference: str,
    condition_of: Callable[[str], str],
    points: int = POINTS,
    per_condition: int = 1,
    tolerance: float = 0.01,
) -> Iterator[MatchedPair | Refused]:
    """Match every reference image with the target images that see the same, by depth and pose.

    Args:
        images: all images, of all conditions, in one frame.
        depth_maps: their depth.
        reference: the reference condition.
        condition_of: the condition of an image, by its name.
        points: of a pair, at most.
        per_condition: target images per reference image and condition, at most.
        tolerance: how far a point may lie from the target's depth, as a share of it.

    Raises:
        FgsnError: there is one condition only, depth is missing or broken, or is in another unit than the poses.
    """
    rows = rows_by_condition([condition_of(name) for name in images.names])
    require_conditions(rows, reference)
    view = lru_cache(maxsize=16)(lambda image: depth_maps.view(images, image))
    check_unit(images, rows, view, depth_maps.unit)
    views = {condition: Views(images, those) for condition, those in rows.items() if condition != reference}
    for image in tracked(rows[reference], "correspondences by depth", len(rows[reference]), " images"):
        here, name = view(image), images.names[image]
        start, depth = _start(here, points * _TRIES_PER_POINT, image)
        world = here.world(start, depth)
        for condition, those in views.items():
            targets = those.like(world, here.camera_from_world, per_condition)
            if not targets:
                yield Refused(name, condition, "no image of this condition looks at the same place")
            for target in targets:
                there = view(target)
                pixels, errors = carry(here, there, start, world, tolerance)
                found = np.isfinite(errors)
                sizes = (here.camera.size, there.camera.size)
                columns = (start[found], pixels[found], errors[found])
                yield settle((name, images.names[target]), sizes, *columns, points)


def carry(here: DepthView, there: DepthView, start: Array, world: Array, tolerance: float) -> tuple[Array, Array]:
    """Where pixels (N, 2) of one image are in another, if they are seen there.

    Args:
        here: the one image.
        there: the other.
        start: pixels of the one.
        world: (N, 3) the world points that they show.
        tolerance: share of its depth by which a point may lie off the other's depth.

    Returns:
        Pixels (N, 2) in the other image. Errors (N,): how far from its start a point comes back when it is taken where
        the other's depth has it, in pixels; NaN where the point is hidden or unknown.
    """
    pixels, expected = there.project(world)
    depths = there.depths_at(pixels)
    between, near = np.abs(depths / expected - 1) < tolerance
    found, seen = np.where(between, *depths), between | near
    back, _ = here.project(there.world(pixels, found))
    errors = np.linalg.norm(back - start, axis=1)
    return pixels, np.where(seen & (errors < _LARGEST_RETURN), errors, np.nan)


def _start(view: DepthView, count: int, seed: int) -> tuple[Array, Array]:
    """Pixels (n, 2) of an image to start from, away from edges of depth, and their depths (n,)."""
    rows = view.steady
    if len(rows) > count:
        rows = np.sort(np.random.default_rng(seed).choice(rows, count, replace=False))
    return view.pixels(rows), view.depth.ravel()[rows].astype(np.float64)
