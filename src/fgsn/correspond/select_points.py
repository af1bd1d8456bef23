"""The last step of every source: spread the points over the image, and refuse pairs that are sparse or one-sided."""

import numpy as np
from numpy.typing import NDArray

from fgsn.matching.pair import MatchedPair, PairResult, RefusedPair

POINTS = 1500
"""Default maximum number of points per pair."""
FEWEST_POINTS = 20
PARTS = 8
"""The coverage of the reference image is measured in PARTS x PARTS parts."""
FEWEST_PARTS = 6
_UNKNOWN = 1e6  # sorts points of unknown error behind the others

Array = NDArray[np.float64]


def select_points(
    names: tuple[str, str],
    sizes: tuple[tuple[int, int], tuple[int, int]],
    points_ref: Array,
    points_tgt: Array,
    errors: Array,
    points: int = POINTS,
) -> PairResult:
    """Select points inside both images, no reference pixel twice, spread over the reference; refuse too few.

    Args:
        names: of the reference and the target image.
        sizes: width and height of both images.
        points_ref: (N, 2) pixels of the reference.
        points_tgt: (N, 2) pixels of the target.
        errors: (N,) estimated errors in pixels; smaller is preferred, NaN (unknown) comes last.
        points: maximum number of points to keep.
    """
    inside = _within(points_ref, sizes[0]) & _within(points_tgt, sizes[1])
    points_ref, points_tgt, errors = points_ref[inside], points_tgt[inside], errors[inside]
    kept = spread_rows(points_ref, errors, sizes[0], points)
    if len(kept) < FEWEST_POINTS:
        return RefusedPair(*names, f"only {len(kept)} points, fewer than {FEWEST_POINTS}")
    filled = covered_parts(points_ref[kept], sizes[0])
    if filled < FEWEST_PARTS:
        return RefusedPair(*names, f"its {len(kept)} points cover only {filled} of {PARTS**2} parts of the image")
    return MatchedPair(*names, points_ref[kept], points_tgt[kept], errors[kept])


def spread_rows(pixels: Array, errors: Array, size: tuple[int, int], count: int) -> NDArray[np.int64]:
    """Rows, at most `count` and sorted, of pixels (N, 2) spread over an image of `size` (width, height).

    The image is divided into about `count` cells; every cell contributes its best point before any its second.
    """
    order = np.argsort(np.nan_to_num(errors, nan=_UNKNOWN), kind="stable")
    _, first = np.unique(np.rint(pixels[order]).astype(np.int64), axis=0, return_index=True)
    order = order[np.sort(first)]
    side = max(1.0, (size[0] * size[1] / count) ** 0.5)
    x, y = (pixels[order] // side).astype(np.int64).T
    cell = y * (int(size[0] // side) + 1) + x
    by_cell = np.argsort(cell, kind="stable")
    begins = np.searchsorted(cell[by_cell], cell[by_cell])
    rank = np.empty(len(order), np.int64)
    rank[by_cell] = np.arange(len(order)) - begins
    return np.sort(order[np.argsort(rank, kind="stable")[:count]])


def covered_parts(pixels: Array, size: tuple[int, int]) -> int:
    """Number of the PARTS x PARTS parts of an image of `size` that contain one of the pixels (N, 2)."""
    part = np.clip(pixels / size * PARTS, 0, PARTS - 1).astype(np.int64)
    return len(np.unique(part, axis=0))


def _within(pixels: Array, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Which pixels (N, 2) lie between the first and the last pixel centre of an image of `size`."""
    return np.asarray(((pixels >= 0) & (pixels <= np.array(size) - 1)).all(axis=1))
