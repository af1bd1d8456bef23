"""The motion field of a verified pair: it refines matches, and adds points where the matcher finds none.

Matches lie on what did not change; what did (grass under snow, leaves) lies between them and moves with them. A
keypoint found in two seasons is off by a pixel or two, but the errors of a dozen neighbours nearly average out.
"""

import numpy as np
from jaxtyping import Float

from fgsn.matching.local import Prediction, predict
from fgsn.matching.two_view import TwoView, usual_noise

Points = Float[np.ndarray, "points 2"]
Field = tuple[Points, Points, Float[np.ndarray, " points"]]
"""Points of the reference image, of the target image, and their estimated errors in pixels."""

Sizes = tuple[tuple[int, int], tuple[int, int]]

_STEP = 0.015  # of the diagonal: spacing of the grid
_REACH = 0.08  # of the diagonal: largest distance of the farthest neighbour
_LEAST = 30  # matches that a field requires
_LARGEST = 0.0025  # of the diagonal: largest accepted estimated error


def largest_good_error(sizes: Sizes) -> float:
    """Largest estimated error of a point that is kept, in pixels: 0.25 % of the diagonal, at least 1.2."""
    return max(1.2, _LARGEST * max(float(np.hypot(*size)) for size in sizes))


def smoothed(points_ref: Points, points_tgt: Points, view: TwoView, sizes: Sizes) -> Field:
    """Refine the verified matches of two images: move each to what the matches around it and itself predict.

    Returns:
        All matches; the points of the reference image are unchanged. An estimated error above `largest_good_error`
        marks a match that its neighbours do not confirm: a depth discontinuity, or a wrong match.
    """
    points_ref, points_tgt = np.asarray(points_ref, np.float64), np.asarray(points_tgt, np.float64)
    if not len(points_ref):
        return points_ref, points_tgt, np.empty(0)
    noise = usual_noise(sizes)
    found = predict(points_ref, points_tgt, points_ref, noise)
    return points_ref, _onto(view, points_ref, found.points), _error(found, noise)


def densify(points_ref: Points, points_tgt: Points, view: TwoView, sizes: Sizes) -> Field:
    """Map a grid of the reference image into the target image by the verified matches around each point.

    A robust local affine fit predicts each point, and the epipolar line corrects it. A point is kept if close matches
    surround it and its estimated error is below `largest_good_error`.
    """
    if len(points_ref) < _LEAST:
        return np.empty((0, 2)), np.empty((0, 2)), np.empty(0)
    diagonal, noise = float(np.hypot(*sizes[0])), usual_noise(sizes)
    points_ref, points_tgt = np.asarray(points_ref, np.float64), np.asarray(points_tgt, np.float64)
    grid = _grid(sizes[0], _STEP * diagonal)
    found = predict(points_ref, points_tgt, grid, noise)
    points, errors = _onto(view, grid, found.points), _error(found, noise)
    kept = found.surrounded & (found.reach < _REACH * diagonal) & (errors < largest_good_error(sizes))
    kept &= np.linalg.norm(points - found.points, axis=1) < 2 * noise
    kept &= ((points >= 0) & (points <= np.array(sizes[1]) - 1)).all(axis=1)
    return grid[kept], points[kept], errors[kept]


def _error(found: Prediction, noise: float) -> Float[np.ndarray, " points"]:
    """Estimated error, exceeded by about a third of the points; coefficients fitted to the synthetic town of seed 7."""
    return np.hypot(0.4 * found.spread + 0.26 * found.spread**2 / noise, 0.02 * found.reach)


def _grid(size: tuple[int, int], step: float) -> Points:
    columns, rows = (max(2, round(side / step)) for side in size)
    x = (np.arange(columns) + 0.5) / columns * size[0] - 0.5
    y = (np.arange(rows) + 0.5) / rows * size[1] - 0.5
    return np.rint(np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2))


def _onto(view: TwoView, points_ref: Points, points_tgt: Points) -> Points:
    """Project the target points onto the epipolar lines of the reference points."""
    if view.fundamental is None:
        return points_tgt  # a single plane is less accurate than the field
    lines = np.column_stack([points_ref, np.ones(len(points_ref))]) @ view.fundamental.T
    normal = lines[:, :2]
    signed = (normal * points_tgt).sum(axis=1) + lines[:, 2]
    return points_tgt - normal * (signed / np.maximum((normal**2).sum(axis=1), 1e-18))[:, None]
