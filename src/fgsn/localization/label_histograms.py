"""Histograms of the labels around key points, and their similarity between query and map.

Fine labels cover a few pixels each, and key points lie where labels meet: one pixel further the label is different. The
labels in a window around a key point are much more stable than the label at its pixel.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float32, Int64, Integer, UInt16
from numpy.typing import NDArray

_CUT = 2.0  # standard deviations at which the window ends
_SAMPLES = 3  # per standard deviation and axis, at most
_FAR = 1e9  # where a pixel that is no number is: outside
_CELLS = 4_000_000  # points x labels that are dense at once
_DENSE = 250_000  # the same while sums are added up: fits in a cache
_WAITING = 2_000_000  # shares of labels that wait to be added up


def label_histograms(
    label_map: NDArray[np.integer], pixels: NDArray[np.float64], deviation: float, clusters: int
) -> Float32[np.ndarray, "points labels"]:
    """Shares of the labels around pixels, weighted by a Gaussian window.

    Args:
        label_map: (H, W); values outside 0 to K - 1 mean no label.
        pixels: (N, 2) x, y, pixel centres at integers.
        deviation: standard deviation of the window in pixels; 0 takes the pixel alone.
        clusters: number of labels K.

    Returns:
        (N, K) shares from 0 to 1; what has no label or lies outside the image is missing from the sum of a row.
    """
    shares = np.zeros((len(pixels), clusters), np.float32)
    height, width = label_map.shape
    nearest = np.floor(np.nan_to_num(pixels, nan=_FAR, posinf=_FAR, neginf=_FAR).clip(-_FAR, _FAR) + 0.5)
    x, y = nearest.astype(np.int64).T
    for (right, down), weight in zip(*_window(deviation), strict=True):
        column, line = x + right, y + down
        inside = np.flatnonzero((column >= 0) & (column < width) & (line >= 0) & (line < height))
        labels = label_map[line[inside], column[inside]]
        known = (labels >= 0) & (labels < clusters)
        shares[inside[known], labels[known]] += weight
    return shares


@dataclass(frozen=True, eq=False)
class LabelHistograms:
    """Label histograms around M map points, summed over the images that observe them; zeros are left out."""

    window: float
    """Standard deviation of the window, as a share of the longer side of an image."""
    first: Int64[np.ndarray, " points_and_one"]
    """(M + 1,) where the labels of each point begin, and the end."""
    labels: UInt16[np.ndarray, " entries"]
    """(E,) labels around the points, in ascending order for each point."""
    sums: Float32[np.ndarray, " entries"]
    """(E,) their summed shares."""

    def similarity(
        self,
        label_map: Integer[np.ndarray, "height width"],
        pixels: NDArray[np.float64],
        points: Int64[np.ndarray, " n"],
        stationary: NDArray[np.bool_],
    ) -> Float32[np.ndarray, " n"]:
        """Bhattacharyya coefficient of the label histograms around pixels of a query and around map points.

        Args:
            label_map: of the query.
            pixels: (N, 2) its key points.
            points: (N,) rows of the map points they were matched with.
            stationary: (K,) which labels count.

        Returns:
            (N,) from 0, no label in common, to 1, equal histograms.
        """
        found = [np.zeros(0, np.float32)]
        for rows, shares in _histograms(label_map, pixels, self.window, len(stationary)):
            begin, count = self.first[points[rows]], self.first[points[rows] + 1] - self.first[points[rows]]
            row = np.repeat(np.arange(len(count)), count)
            entry = np.arange(len(row)) + np.repeat(begin - np.cumsum(count) + count, count)
            label = self.labels[entry]
            sums = self.sums[entry] * stationary[label]
            totals = np.maximum(np.bincount(row, sums, len(count)), 1e-9)
            roots = np.sqrt(shares[row, label] * sums / totals[row])
            found.append(np.bincount(row, roots, len(count)).astype(np.float32))
        return np.concatenate(found)


class HistogramSums:
    """Adds up label histograms image by image; the sums are in memory once, and dense for a few points at a time."""

    def __init__(self, points: int, clusters: int, window: float) -> None:
        """Begin with nothing.

        Args:
            points: number of points M.
            clusters: number of labels K.
            window: see `LabelHistograms`.
        """
        self._clusters, self._window = clusters, window
        self._counts = np.zeros(points, np.int64)
        self._labels, self._sums = np.zeros(0, np.uint16), np.zeros(0, np.float32)
        self._waiting: list[tuple[NDArray[Any], ...]] = []

    def add(
        self, label_map: Integer[np.ndarray, "height width"], pixels: NDArray[np.float64], points: NDArray[np.int64]
    ) -> None:
        """Add what one image observes.

        Args:
            label_map: of the image.
            pixels: (N, 2) where it observes points.
            points: (N,) rows of these points.
        """
        for rows, shares in _histograms(label_map, pixels, self._window, self._clusters):
            row, label = shares.nonzero()
            self._waiting.append((points[rows][row] * self._clusters + label, shares[row, label]))
        if sum(len(shares) for _, shares in self._waiting) > _WAITING:
            self._add_up()

    def total(self) -> LabelHistograms:
        """The sums over all images."""
        self._add_up()
        return LabelHistograms(self._window, np.concatenate([[0], np.cumsum(self._counts)]), self._labels, self._sums)

    def _add_up(self) -> None:
        """Merge the sums with what waits, front to back in their own memory, after they have moved to its end."""
        if not self._waiting:
            return
        waiting, self._waiting = [*zip(*self._waiting, strict=True)], []
        shares, cells = np.concatenate(waiting.pop()), np.concatenate(waiting.pop())
        at_once = max(1, _DENSE // self._clusters)
        block = (cells // (at_once * self._clusters)).astype(np.int32)
        order = np.argsort(block, kind="stable").astype(np.int32)  # images stay in order, on which rounding depends
        bounds = np.searchsorted(block[order], np.arange(-(-len(self._counts) // at_once) + 1))
        for array in (self._labels, self._sums):
            _move_to_end(array, len(cells))
        read, written = len(cells), 0
        for number, first in enumerate(range(0, len(self._counts), at_once)):
            counts = self._counts[first : first + at_once]
            before = slice(read, read + counts.sum())
            added = order[bounds[number] : bounds[number + 1]]
            dense = np.zeros((len(counts), self._clusters), np.float32)
            dense[np.repeat(np.arange(len(counts)), counts), self._labels[before]] = self._sums[before]
            np.add.at(dense.ravel(), cells[added] - first * self._clusters, shares[added])
            row, label = dense.nonzero()
            after = slice(written, written + len(row))
            self._labels[after], self._sums[after] = label, dense[row, label]
            counts[:] = np.bincount(row, minlength=len(counts))
            read, written = before.stop, after.stop
        for array in (self._labels, self._sums):
            array.resize(written, refcheck=False)


def _move_to_end(array: NDArray[Any], more: int) -> None:
    """Lengthen an array by `more` at its front, without a copy of it."""
    end = len(array)
    array.resize(end + more, refcheck=False)
    for begin in reversed(range(0, end, _DENSE)):
        array[begin + more : min(begin + _DENSE, end) + more] = array[begin : min(begin + _DENSE, end)].copy()


def _histograms(
    label_map: NDArray[np.integer], pixels: NDArray[np.float64], window: float, clusters: int
) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    """Slices of the pixels, and their dense histograms; the window as in `LabelHistograms`."""
    at_once = max(1, _CELLS // clusters)
    for rows in (slice(begin, begin + at_once) for begin in range(0, len(pixels), at_once)):
        yield rows, label_histograms(label_map, pixels[rows], window * max(label_map.shape), clusters)


def _window(deviation: float) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Offsets (S, 2) of the pixels in a window, and their weights (S,), which sum to 1."""
    reach = round(_CUT * deviation)
    step = max(1, int(deviation / _SAMPLES))
    line = np.arange(-(reach // step), reach // step + 1) * step
    offsets = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)
    square = (offsets**2).sum(axis=1)
    inside = square <= reach**2
    weights = np.exp(-square[inside] / (2 * max(deviation, 1e-6) ** 2))
    return offsets[inside], (weights / weights.sum()).astype(np.float32)
