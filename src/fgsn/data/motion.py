"""How far corresponding points move in the image between the two images of a pair: what a data set can teach."""

import numpy as np

LEAST_MOTION = 8.0
"""Percent of the image width; a set with a smaller median shows every place from one viewpoint."""
_STEP, _LARGEST = 0.1, 200.0  # percent of the image width: bins of the histogram, and its end


def _in_widths(points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Pixels (N, 2) of an image of `size` (width, height) in image widths from its top left corner."""
    return (np.asarray(points, np.float64) + 0.5) / size[0]


class PointMotion:
    """Collects how far points move, over any number of pairs, in a histogram."""

    def __init__(self) -> None:
        self._counts = np.zeros(round(_LARGEST / _STEP) + 1, np.int64)

    def add(
        self, points_ref: np.ndarray, points_tgt: np.ndarray, sizes: tuple[tuple[int, int], tuple[int, int]]
    ) -> float:
        """Add the points of one pair: pixels (N, 2) of both images, and the width and height of each.

        Returns the median of this pair, in percent of the image width; NaN without points.
        """
        moved = 100 * np.linalg.norm(_in_widths(points_tgt, sizes[1]) - _in_widths(points_ref, sizes[0]), axis=1)
        rows = np.minimum(np.rint(moved / _STEP), len(self._counts) - 1).astype(np.int64)
        self._counts += np.bincount(rows, minlength=len(self._counts))
        return float(np.median(moved)) if len(moved) else float("nan")

    def metrics(self) -> dict[str, float | None]:
        """Median and 90th percentile over the points of all pairs, in percent of the image width, None without any."""
        return {"motion_median_percent": self._quantile(0.5), "motion_p90_percent": self._quantile(0.9)}

    def _quantile(self, share: float) -> float | None:
        total = np.cumsum(self._counts)
        if not total[-1]:
            return None
        return round(int(np.searchsorted(total, share * total[-1])) * _STEP, 1)
