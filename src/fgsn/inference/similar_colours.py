"""Colours that mean something: clusters that are close in feature space get colours that look alike.

The colours themselves are those of `fgsn.inference.colours.palette`, so any two labels stay as easy to tell apart as
ever; which cluster gets which colour is what is chosen here.
"""

import itertools

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fgsn.inference.colours import GREEDY, oklab, palette

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]

EFFORT = 1e10
"""Multiplications that exchanging colours may take, a second or so; 370 exchanges among 300 labels."""


def similar_palette(features: ArrayLike) -> NDArray[np.uint8]:
    """Deal the colours of `palette(K)` to K clusters so that distances of colours follow those of the features.

    Both sets are cut into halves along their principal axes, again and again, and the parts laid onto each other; then
    pairs of clusters exchange their colours as long as the correlation of the two kinds of distances (in OKLab, and in
    feature space) rises.

    Args:
        features: (K, D) one row per cluster, such as its centroid.

    Returns:
        (K, 3) uint8, all distinct. From K = 1025 on, where nobody can tell so many colours apart, it is `palette(K)`.
    """
    features = np.asarray(features, np.float64)
    count = len(features)
    colours = palette(count)
    if not 3 <= count <= GREEDY:
        return colours
    wanted, given = distances(features), distances(oklab(colours))
    axes, colour_axes = _principal(features), _principal(oklab(colours))
    starts = [
        _laid_onto(axes[:, order] * signs, colour_axes)
        for order in map(list, itertools.permutations(range(3)))
        for signs in itertools.product((1, -1), repeat=3)
    ]
    best = max(starts, key=lambda start: float((wanted * given[np.ix_(start, start)]).sum()))
    return colours[_exchanged(wanted, given, best)]


def distances(rows: ArrayLike) -> Floats:
    """Euclidean distances (N, N) between the rows of (N, D)."""
    rows = np.asarray(rows, np.float64)
    squares = (rows**2).sum(axis=1)
    return np.sqrt(np.maximum(squares[:, None] + squares - 2 * rows @ rows.T, 0.0))


def _principal(rows: ArrayLike) -> Floats:
    """Coordinates (N, 3) along the three directions of largest variance; 0 where there are fewer."""
    rows = np.asarray(rows, np.float64)
    centred = rows - rows.mean(axis=0)
    left, scale, _ = np.linalg.svd(centred, full_matrices=False)
    coordinates = (left * scale)[:, :3]
    return np.pad(coordinates, ((0, 0), (0, 3 - coordinates.shape[1])))


def _laid_onto(points: Floats, targets: Floats) -> Rows:
    """A target for every point, each once: both sets are halved along the first axis, the second, the third, …"""
    chosen = np.zeros(len(points), np.int64)
    parts = [(np.arange(len(points)), np.arange(len(points)), 0)]
    while parts:
        mine, theirs, axis = parts.pop()
        if len(mine) == 1:
            chosen[mine] = theirs
            continue
        mine = mine[np.argsort(points[mine, axis], kind="stable")]
        theirs = theirs[np.argsort(targets[theirs, axis], kind="stable")]
        half, after = len(mine) // 2, (axis + 1) % 3
        parts += [(mine[:half], theirs[:half], after), (mine[half:], theirs[half:], after)]
    return chosen


def _exchanged(wanted: Floats, given: Floats, start: Rows) -> Rows:
    """Exchange the colours of the two clusters that gain the most by it, until nothing gains or the effort is spent."""
    chosen = start.copy()
    for _ in range(int(EFFORT / len(chosen) ** 3)):
        mine = given[np.ix_(chosen, chosen)]
        product = wanted @ mine
        kept = np.diag(product)
        gain = product + product.T - kept[:, None] - kept + 2 * wanted * mine
        one, other = np.unravel_index(int(gain.argmax()), gain.shape)
        if gain[one, other] <= 1e-9 * kept.sum():
            break
        chosen[[one, other]] = chosen[[other, one]]
    return chosen
