"""Whether the correspondences of a pair agree with one another; most wrong ones show without ground truth.

Neighbouring points of one surface move similarly between two images. A robust local affine fit predicts each point from
the points around it; the distance from that prediction is its error.
"""

import numpy as np
from jaxtyping import Bool, Float
from scipy.spatial import KDTree

from fgsn.geometry.local_affine import Weights, fit_affine

NEIGHBOURS = 12
FEWEST = 8
"""A pair needs at least this many points to be checked."""
FARTHEST = 0.03
"""A point farther from its prediction than this share of the image diagonal may be an outlier."""


def prediction_errors(
    points_ref: Float[np.ndarray, "points 2"], points_tgt: Float[np.ndarray, "points 2"]
) -> tuple[Float[np.ndarray, " points"], Float[np.ndarray, " points"]]:
    """Distance of every point from where its neighbours predict it in the target image.

    Correct points at depth edges can disagree too: single large errors mean little, many mean trouble. Returns also the
    median distance of its neighbours from the same fit; both in pixels of the target image, all NaN below `FEWEST`
    points.
    """
    count = len(points_ref)
    if count < FEWEST:
        return np.full(count, np.nan), np.full(count, np.nan)
    near = min(NEIGHBOURS, count - 1)
    _, rows = KDTree(points_ref).query(points_ref, k=near + 1)
    # Equal points may come in any order, so the point itself is left out by its row.
    order = np.argsort(rows == np.arange(count)[:, None], axis=1, kind="stable")
    rows = np.take_along_axis(rows, order, axis=1)[:, :near]
    offset = points_ref[rows] - points_ref[:, None]
    design = np.concatenate([offset, np.ones((count, near, 1))], axis=2)
    # Where neighbours lie on a line, the damping selects the smallest change of the displacement along it; it must not
    # pull the displacement itself, or points far from the origin would disagree.
    shift = points_tgt - points_ref
    fit, residuals = fit_affine(design, shift[rows], np.diag([1e-6, 1e-6, 0.0]) * near, _robust_weights)
    return np.linalg.norm(shift - fit[:, 2], axis=1), np.median(residuals, axis=1)


def outlier_mask(
    points_ref: Float[np.ndarray, "points 2"], points_tgt: Float[np.ndarray, "points 2"], size: tuple[int, int]
) -> Bool[np.ndarray, " points"]:
    """Which points lie far from where their neighbours predict them in a target image of `size` (width, height).

    Either the neighbours agree with each other, or they disagree by as much, so nothing there can be right.
    """
    errors, around = prediction_errors(points_ref, points_tgt)
    far = FARTHEST * np.hypot(*size)
    return (errors > far) & ((errors > 4 * around) | (around > far))


def _robust_weights(residuals: Weights) -> Weights:
    scale = np.maximum(np.median(residuals, axis=1, keepdims=True), 0.5)
    return 1.0 / (1.0 + (residuals / (2.0 * scale)) ** 2) ** 2
