"""The motion field of a verified pair: it makes matches more exact, and gives points where a matcher finds none.

Matches lie on what did not change; what did (grass under snow, leaves) lies between them and moves with them. And a
key point found in two seasons is off by a pixel or two, yet a dozen of them together hardly are.
"""

import numpy as np
from jaxtyping import Float

from fgsn.matching.local import Prediction, predict
from fgsn.matching.two_view import TwoView, usual_noise

Points = Float[np.ndarray, "points 2"]
Field = tuple[Points, Points, Float[np.ndarray, " points"]]
"""Points of the reference image, of the target image, and their estimated errors in pixels."""

Sizes = tuple[tuple[int, int], tuple[int, int]]

_STEP = 0.015  # of the diagonal, between the points of the grid
_REACH = 0.08  # of the diagonal: how far the farthest neighbour may be
_LEAST = 30  # matches; fewer do not carry a field
_LARGEST = 0.0025  # of the diagonal: the estimated error that is still good


def largest_good_error(sizes: Sizes) -> float:
    """Estimated error in pixels up to which a point is kept: 0.25 % of the diagonal, at least 1.2."""
    return max(1.2, _LARGEST * max(float(np.hypot(*size)) for size in sizes))


def smoothed(points_ref: Points, points_tgt: Points, view: TwoView, sizes: Sizes) -> Field:
    """Move verified matches to where the matches around each, and itself, say that it is.

    Args:
        points_ref: (N, 2) verified matches in the reference image.
        points_tgt: (N, 2) the same in the target image.
        view: their two-view geometry.
        sizes: width and height of both images.

    Returns:
        All N matches; the points of the reference image are unchanged. An estimated error above `largest_good_error`
        tells a match that its neighbours do not confirm: a step in depth, or a mistake.
    """
    points_ref, points_tgt = np.asarray(points_ref, np.float64), np.asarray(points_tgt, np.float64)
    if not len(points_ref):
        return points_ref, points_tgt, np.empty(0)
    noise = usual_noise(sizes)
    found = predict(points_ref, points_tgt, points_ref, noise)
    return points_ref, _onto(view, points_ref, found.points), _error(found, noise)


def densify(points_ref: Points, points_tgt: Points, view: TwoView, sizes: Sizes) -> Field:
    """Carry a grid of the reference image into the target by the verified matches around each of its points.

    A robust local affine fit predicts each point, and the epipolar line corrects it. A point is kept where matches
    surround it closely and agree, so that `largest_good_error` is met.

    Args:
        points_ref: (N, 2) verified matches in the reference image.
        points_tgt: (N, 2) the same in the target image.
        view: their two-view geometry.
        sizes: width and height of both images.
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
    """What about two thirds of the points keep below; the numbers are a fit to the synthetic town of seed 7."""
    return np.hypot(0.4 * found.spread + 0.26 * found.spread**2 / noise, 0.02 * found.reach)


def _grid(size: tuple[int, int], step: float) -> Points:
    columns, rows = (max(2, round(side / step)) for side in size)
    x = (np.arange(columns) + 0.5) / columns * size[0] - 0.5
    y = (np.arange(rows) + 0.5) / rows * size[1] - 0.5
    return np.rint(np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2))


def _onto(view: TwoView, points_ref: Points, points_tgt: Points) -> Points:
    """The points of the target moved to the nearest place that the two-view geometry allows."""
    if view.fundamental is None:
        return points_tgt  # one plane is coarser than the field
    lines = np.column_stack([points_ref, np.ones(len(points_ref))]) @ view.fundamental.T
    normal = lines[:, :2]
    signed = (normal * points_tgt).sum(axis=1) + lines[:, 2]
    return points_tgt - normal * (signed / np.maximum((normal**2).sum(axis=1), 1e-18))[:, None]
