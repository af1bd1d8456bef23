"""Correspondences from depth maps with poses: pixels of the reference, transferred to the target.

A point is kept if the depth map of the target confirms it and it returns to its pixel from there: occlusion is checked
both ways, and the images themselves are never read.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from fgsn.correspond.depth_maps import DepthMaps, DepthView
from fgsn.correspond.depth_unit import check_unit
from fgsn.correspond.select_points import POINTS, select_points
from fgsn.correspond.views import NOT_SHOWN, ConditionViews, require_conditions, rows_by_condition
from fgsn.geometry.posed import PosedImages
from fgsn.matching.pair import PairResult, RefusedPair
from fgsn.progress import tracked

Array = NDArray[np.float64]
_TRIES_PER_POINT = 6
_TOLERANCE = 0.01  # relative difference between the depth of a point and the depth map of the target
_LARGEST_RETURN = 1.0  # pixels between a point and where it returns


def from_depth(
    images: PosedImages,
    depth_maps: DepthMaps,
    reference: str,
    points: int = POINTS,
    per_condition: int = 1,
    moved_pairs: int = 0,
) -> Iterator[PairResult]:
    """Match every reference image with the target images that overlap most, by depth and pose.

    Args:
        images: all images, of all conditions, in one frame.
        points: maximum number per pair.
        per_condition: maximum number of target images per reference image and condition.
        moved_pairs: maximum number of further target images from before and behind, per reference image and condition,
            the reference included.

    Raises:
        FgsnError: there is only one condition, or depth is missing, broken or in another unit than the poses.
    """
    rows = rows_by_condition(images.names)
    require_conditions(rows, reference)
    view = lru_cache(maxsize=16)(lambda image: depth_maps.view(images, image))
    check_unit(images, rows, view, depth_maps.unit)
    views = {condition: ConditionViews(images, those) for condition, those in rows.items()}
    for image in tracked(rows[reference], "correspondences by depth", len(rows[reference]), " images"):
        here, name = view(image), images.names[image]
        start, depth = _sample_pixels(here, points * _TRIES_PER_POINT, image)
        world = here.world(start, depth)
        for condition, those in views.items():
            own = image if condition == reference else None
            targets = those.targets(world, here.camera_from_world, per_condition, moved_pairs, own)
            if not targets and own is None:
                yield RefusedPair(name, condition, NOT_SHOWN)
            for target, moved in targets:
                there = view(target)
                pixels, errors = transfer(here, there, start, world)
                found = np.isfinite(errors)
                sizes = (here.camera.size, there.camera.size)
                columns = (start[found], pixels[found], errors[found])
                yield replace(select_points((name, images.names[target]), sizes, *columns, points), moved=moved)


def transfer(here: DepthView, there: DepthView, start: Array, world: Array) -> tuple[Array, Array]:
    """Transfer pixels (N, 2) of one image, with their world points (N, 3), to another where they are visible.

    Returns:
        Pixels (N, 2) in the destination. Errors (N,): distance in pixels from the start after the way back through the
        depth of the destination; NaN where the point is occluded or its depth unknown.
    """
    pixels, expected = there.project(world)
    depths = there.depths_at(pixels)
    between, near = np.abs(depths / expected - 1) < _TOLERANCE
    found, seen = np.where(between, *depths), between | near
    back, _ = here.project(there.world(pixels, found))
    errors = np.linalg.norm(back - start, axis=1)
    return pixels, np.where(seen & (errors < _LARGEST_RETURN), errors, np.nan)


def _sample_pixels(view: DepthView, count: int, seed: int) -> tuple[Array, Array]:
    """Random pixels (n, 2) of an image away from depth edges, and their depths (n,)."""
    rows = view.smooth_rows
    if len(rows) > count:
        rows = np.sort(np.random.default_rng(seed).choice(rows, count, replace=False))
    return view.pixels(rows), view.depth.ravel()[rows].astype(np.float64)
