"""Local consistency of matches: neighbouring points have similar displacements."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int64
from scipy.spatial import KDTree

from fgsn.geometry.local_affine import fit_affine

Points = Float[np.ndarray, "points 2"]

NEIGHBOURS = 12
_STIFFNESS = 0.3  # regularises the local affine map towards a translation, where neighbours leave it open


def locally_consistent(
    points_ref: Points, points_tgt: Points, radius: float, least: int, noise: float
) -> Bool[np.ndarray, " points"]:
    """Which matches have neighbours with a similar displacement.

    A neighbour supports a match if their displacements differ by less than a quarter of their distance plus the noise
    of both. A wrong match has such neighbours only by chance.

    Args:
        points_ref: pixels in the image in which neighbours are searched; `points_tgt` are those in the other image.
        radius: largest distance of a neighbour, in pixels.
    """
    count = min(NEIGHBOURS, len(points_ref) - 1)
    if count < least:
        return np.zeros(len(points_ref), bool)
    rows, distance = _neighbours(points_ref, points_ref, count + 1)
    rows, distance = rows[:, 1:], distance[:, 1:]  # without the match itself
    shift = points_tgt - points_ref
    apart = np.linalg.norm(shift[rows] - shift[:, None], axis=2)
    return ((distance < radius) & (apart < 2 * noise + 0.25 * distance)).sum(axis=1) >= least


@dataclass(frozen=True, eq=False)
class Prediction:
    """Positions of reference points in the target image, predicted from the matches around them."""

    points: Points
    """(N, 2) in the target image; NaN without neighbours."""
    spread: Float[np.ndarray, " points"]
    """Root mean square residual of the neighbours under the local affine map, in pixels."""
    reach: Float[np.ndarray, " points"]
    """Distance to the farthest neighbour used, in pixels."""
    surrounded: Bool[np.ndarray, " points"]
    """Whether neighbours lie on all sides."""


def predict(points_ref: Points, points_tgt: Points, at: Points, noise: float) -> Prediction:
    """Predict points of the target image by a robust affine fit to the matches around each point `at` of the reference.

    There is at least one match. `noise` is the typical error of a correct match, in pixels; neighbours with larger
    residuals get smaller weights.
    """
    rows, distance = _neighbours(points_ref, at, min(NEIGHBOURS, len(points_ref)))
    reach = np.maximum(distance[:, -1:], 1e-6)
    offset = (points_ref[rows] - at[:, None]) / reach[:, :, None]
    design = np.concatenate([np.ones_like(offset[..., :1]), offset], axis=2)
    shift = (points_tgt - points_ref)[rows]
    near = np.exp(-((distance / reach) ** 2))
    damping = np.diag([1e-9, _STIFFNESS, _STIFFNESS])
    fit, residual = fit_affine(design, shift, damping, lambda off: near / (1.0 + (off / noise) ** 2))
    spread = np.sqrt((near * residual**2).sum(axis=1) / near.sum(axis=1))
    return Prediction(at + fit[:, 0], spread, distance[:, -1], _surrounded(offset))


def _neighbours(points: Points, at: Points, count: int) -> tuple[Int64[np.ndarray, "n k"], Float[np.ndarray, "n k"]]:
    distance, rows = KDTree(points).query(at, k=count)
    return np.asarray(rows).reshape(len(at), count), np.asarray(distance).reshape(len(at), count)


def _surrounded(offset: Float[np.ndarray, "points neighbours 2"]) -> Bool[np.ndarray, " points"]:
    """Whether the largest gap between the directions of neighbours is below 180 degrees."""
    angle = np.sort(np.arctan2(offset[..., 1], offset[..., 0]), axis=1)
    gaps = np.diff(angle, axis=1, append=angle[:, :1] + 2 * np.pi)
    return gaps.max(axis=1) < np.pi
