"""Histograms of the labels around key points, and their similarity between query and map.

Fine labels cover a few pixels each, and key points lie where labels meet: one pixel further the label is different. The
labels in a window around a key point are much more stable than the label at its pixel.
"""

from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int64, Integer
from numpy.typing import NDArray

from fgsn.inference.label_lookup import find_label_map, labels_at
from fgsn.inference.label_maps import read_label_map
from fgsn.localization.labelled_map import LabelledMap
from fgsn.progress import tracked

_CUT = 2.0  # standard deviations at which the window ends
_SAMPLES = 3  # per standard deviation and axis, at most


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
    for offset, weight in zip(*_window(deviation), strict=True):
        labels = labels_at(label_map, pixels + offset)
        known = np.flatnonzero((labels >= 0) & (labels < clusters))
        shares[known, labels[known]] += weight
    return shares


class LabelHistograms:
    """Label histograms around every point of a map, averaged over the map's images."""

    def __init__(self, labelled: LabelledMap, label_maps: Path, window: float) -> None:
        """Compute the histograms of all observations.

        Args:
            labelled: the map; made with the same label maps.
            label_maps: folder of the label maps of its images.
            window: standard deviation of the window, as a share of the longer side of an image.
        """
        self.window, self.labelled = window, labelled
        sums = np.zeros((len(labelled.points), labelled.clusters), np.float32)
        for image, name in tracked(list(enumerate(labelled.names)), "label histograms", len(labelled.names)):
            file = find_label_map(label_maps, name)
            if file is not None:
                label_map, _ = read_label_map(file)
                np.add.at(sums, labelled.points_of(image), self._histograms(label_map, labelled.pixels_of(image)))
        self._roots = np.sqrt(sums / np.maximum(sums.sum(axis=1, keepdims=True), 1e-9))

    def similarity(
        self,
        label_map: Integer[np.ndarray, "height width"],
        pixels: NDArray[np.float64],
        points: Int64[np.ndarray, " n"],
    ) -> Float32[np.ndarray, " n"]:
        """Similarity of label histograms around query pixels and around map points (Bhattacharyya coefficient).

        Args:
            label_map: of the query.
            pixels: (N, 2) its key points.
            points: (N,) rows of the map points they were matched with.

        Returns:
            (N,) from 0, no label in common, to 1, equal histograms.
        """
        return (np.sqrt(self._histograms(label_map, pixels)) * self._roots[points]).sum(axis=1)

    def _histograms(self, label_map: NDArray[np.integer], pixels: NDArray[np.float64]) -> NDArray[np.float32]:
        deviation = self.window * max(label_map.shape)
        shares = label_histograms(label_map, pixels, deviation, self.labelled.clusters)
        if self.labelled.stationary is not None:
            shares[:, ~self.labelled.stationary] = 0.0
        return shares


def _window(deviation: float) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Offsets (S, 2) of the pixels in a window, and their weights (S,), which sum to 1."""
    reach = round(_CUT * deviation)
    step = max(1, int(deviation / _SAMPLES))
    line = np.arange(-(reach // step), reach // step + 1) * step
    offsets = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2).astype(np.float64)
    square = (offsets**2).sum(axis=1)
    inside = square <= reach**2
    weights = np.exp(-square[inside] / (2 * max(deviation, 1e-6) ** 2))
    return offsets[inside], (weights / weights.sum()).astype(np.float32)
