"""The last step of every source: spread the points over the image, and refuse what is too sparse or one-sided."""

import numpy as np
from numpy.typing import NDArray

from fgsn.matching.pair import MatchedPair, Refused

POINTS = 1500
"""Points of a pair, at most, unless told otherwise."""
FEWEST_POINTS = 20
PARTS = 8
"""The reference image is divided into PARTS x PARTS parts to see how far its points are spread."""
FEWEST_PARTS = 6
_UNKNOWN = 1e6  # sorts points of unknown error behind the others

Array = NDArray[np.float64]


def settle(
    names: tuple[str, str],
    sizes: tuple[tuple[int, int], tuple[int, int]],
    points_ref: Array,
    points_tgt: Array,
    errors: Array,
    points: int = POINTS,
) -> MatchedPair | Refused:
    """Make a pair of what was found: inside both images, no pixel of the reference twice, spread, at most `points`.

    Args:
        names: of the reference and of the target image.
        sizes: width and height of both.
        points_ref: (N, 2) pixels of the reference.
        points_tgt: (N, 2) pixels of the target.
        errors: (N,) estimated errors in pixels; smaller ones are preferred, NaN (unknown) comes last.
        points: how many to keep, at most.
    """
    inside = _within(points_ref, sizes[0]) & _within(points_tgt, sizes[1])
    points_ref, points_tgt, errors = points_ref[inside], points_tgt[inside], errors[inside]
    kept = spread_rows(points_ref, errors, sizes[0], points)
    if len(kept) < FEWEST_POINTS:
        return Refused(*names, f"only {len(kept)} points, fewer than {FEWEST_POINTS}")
    filled = covered_parts(points_ref[kept], sizes[0])
    if filled < FEWEST_PARTS:
        return Refused(*names, f"its {len(kept)} points lie in only {filled} of {PARTS**2} parts of the image")
    return MatchedPair(*names, points_ref[kept], points_tgt[kept], errors[kept])


def spread_rows(pixels: Array, errors: Array, size: tuple[int, int], count: int) -> NDArray[np.int64]:
    """Rows, at most `count`, of pixels (N, 2) that are spread over an image of `size` (width, height), in order.

    The image is divided into about `count` cells; every cell gives its best point before any gives its second.
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
    """How many of the PARTS x PARTS parts of an image of `size` hold one of the pixels (N, 2)."""
    part = np.clip(pixels / size * PARTS, 0, PARTS - 1).astype(np.int64)
    return len(np.unique(part, axis=0))


def _within(pixels: Array, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Which pixels (N, 2) lie between the first and the last pixel centre of an image of `size`."""
    return np.asarray(((pixels >= 0) & (pixels <= np.array(size) - 1)).all(axis=1))
