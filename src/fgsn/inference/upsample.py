"""From scores at feature cells to one label per pixel, in bounded memory, or to values at a few points."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from fgsn.data.resize import scaled_points
from fgsn.models.layers import STRIDE

BAND_VALUES = 1 << 20
"""Interpolated scores in memory at once (4 MiB of float32): fastest if they fit into the processor's cache."""
GPU_BAND_VALUES = 1 << 26


def labels_at_pixels(
    scores: Float[Tensor, "classes h w"], size: Sequence[int], resized: Sequence[int] | None = None
) -> Int64[Tensor, "height width"]:
    """Interpolate scores, a cell every 8 pixels of the network's input, bilinearly to every pixel and take the largest.

    If the four cells around a pixel have the same best label, so has every interpolation between them; only the other
    pixels are interpolated, in bands of rows, which bounds the memory for any number of classes and any image size.
    `size` is the (height, width) of the label map, `resized` that of the network's input, `size` by default.
    """
    classes, cells_y, cells_x = scores.shape
    resized = size if resized is None else resized
    top, bottom, down = (part.to(scores.device) for part in cells_around(size[0], resized[0], cells_y))
    left, right, across = (part.to(scores.device) for part in cells_around(size[1], resized[1], cells_x))
    by_cell = scores.permute(1, 2, 0).contiguous()
    best = argmax(by_cell)
    labels = best[top][:, left]
    mixed = labels != best[bottom][:, left]
    mixed |= labels != best[top][:, right]
    mixed |= labels != best[bottom][:, right]
    values = GPU_BAND_VALUES if scores.device.type == "cuda" else BAND_VALUES
    band = max(1, values // (classes * size[1]))
    for start in range(0, size[0], band):
        rows = slice(start, min(start + band, size[0]))
        y, x = mixed[rows].nonzero(as_tuple=True)
        if len(y):
            columns = torch.lerp(by_cell[top[rows]], by_cell[bottom[rows]], down[rows, None, None])
            labels[rows][y, x] = argmax(torch.lerp(columns[y, left[x]], columns[y, right[x]], across[x, None]))
    return labels


def cells_around(pixels: int, resized: int, cells: int) -> tuple[Tensor, Tensor, Tensor]:
    """For every pixel the cells before and after it, and its position between them (0 to 1).

    Pixel centres keep their relative position in the image, so pixel p of the label map lies at
    (p + 0.5) · resized / pixels - 0.5 of the network's input.
    """
    position = (torch.arange(pixels, dtype=torch.float64) + 0.5) * (resized / pixels) - 0.5
    position = (position / STRIDE).clamp(0, cells - 1)
    before = position.long()
    return before, (before + 1).clamp(max=cells - 1), (position - before).float()


def values_at_points(
    cells: Float[Tensor, "channels h w"],
    points: Float[np.ndarray, "points 2"],
    size: Sequence[int],
    resized: Sequence[int] | None = None,
) -> Float[Tensor, "points channels"]:
    """Interpolate a map, a cell every 8 pixels of the network's input, bilinearly at points (N, 2) of the image.

    Points are x, y in pixels, with pixel centres at integers; outside they take the value at the border. `size` is the
    (height, width) of the image, `resized` that of the network's input, `size` by default.
    """
    place = torch.from_numpy(scaled_points(points, size, resized or size) / STRIDE).to(cells)
    last = torch.tensor([cells.shape[2] - 1, cells.shape[1] - 1]).to(cells).clamp(min=1)
    grid = (place / last * 2 - 1)[None, None]
    found = functional.grid_sample(cells[None], grid, padding_mode="border", align_corners=True)
    return found[0, :, 0].T


def argmax(values: Float[Tensor, "*rows classes"]) -> Int64[Tensor, "*rows"]:
    """Index of the largest value of each row; on a CPU NumPy is several times as fast as torch."""
    if values.device.type == "cpu":
        return torch.from_numpy(values.numpy().argmax(axis=-1))
    return values.argmax(dim=-1)
