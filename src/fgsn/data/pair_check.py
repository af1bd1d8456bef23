"""Do the correspondences of a pair agree with one another? No truth is needed to see most wrong ones.

Neighbouring points of one surface move alike between two images. Each point is predicted from the points around it (a
local affine fit that is robust to wrong ones), and its distance from the prediction is measured.
"""

import numpy as np
from jaxtyping import Bool, Float
from scipy.spatial import KDTree

NEIGHBOURS = 12
FEWEST = 8
"""Points of a pair that are needed to say anything."""
ROUNDS = 4
FARTHEST = 0.03
"""A point farther from its prediction than this share of the image's diagonal looks wrong."""


def disagreement(
    points_ref: Float[np.ndarray, "points 2"], points_tgt: Float[np.ndarray, "points 2"]
) -> tuple[Float[np.ndarray, " points"], Float[np.ndarray, " points"]]:
    """How far every point lies from where its neighbours say it should be in the target.

    Edges of near things make points disagree that are right, so single ones mean little, many mean trouble.

    Returns:
        Distance of each point from its prediction in pixels of the target, and the median distance of its neighbours
        from the same fit; all NaN below `FEWEST` points.
    """
    count = len(points_ref)
    if count < FEWEST:
        return np.full(count, np.nan), np.full(count, np.nan)
    near = min(NEIGHBOURS, count - 1)
    _, rows = KDTree(points_ref).query(points_ref, k=near + 1)
    # Equal points may come in any order: the point itself is left out by its number.
    order = np.argsort(rows == np.arange(count)[:, None], axis=1, kind="stable")
    rows = np.take_along_axis(rows, order, axis=1)[:, :near]
    offset = points_ref[rows] - points_ref[:, None]
    design = np.concatenate([offset, np.ones((count, near, 1))], axis=2)
    moved = points_tgt[rows]
    weight = np.ones((count, near))
    fit, off = np.zeros((count, 3, 2)), np.zeros((count, near))
    for _ in range(ROUNDS):
        weighted = design * weight[..., None]
        normal = np.einsum("nki,nkj->nij", weighted, design) + 1e-6 * np.eye(3) * near
        fit = np.linalg.solve(normal, np.einsum("nki,nkj->nij", weighted, moved))
        off = np.linalg.norm(moved - design @ fit, axis=2)
        scale = np.maximum(np.median(off, axis=1, keepdims=True), 0.5)
        weight = 1.0 / (1.0 + (off / (2.0 * scale)) ** 2) ** 2
    prediction = fit[:, 2]
    return np.linalg.norm(points_tgt - prediction, axis=1), np.median(off, axis=1)


def looks_wrong(
    points_ref: Float[np.ndarray, "points 2"], points_tgt: Float[np.ndarray, "points 2"], size: tuple[int, int]
) -> Bool[np.ndarray, " points"]:
    """Which points lie far from where their neighbours say that they should be.

    Either the neighbours agree among themselves, or they are at odds by as much, so that nothing can be right there.

    Args:
        points_ref: x, y in the reference image.
        points_tgt: x, y in the target image.
        size: width and height of the target image.
    """
    off, around = disagreement(points_ref, points_tgt)
    far = FARTHEST * np.hypot(*size)
    return (off > far) & ((off > 4 * around) | (around > far))
