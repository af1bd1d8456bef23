"""From scores at feature cells to one label per pixel, in bounded memory."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from fgsn.models.layers import STRIDE

BAND_VALUES = 1 << 24
"""Interpolated scores held at once (64 MiB of float32)."""


def labels_at_pixels(
    scores: Float[Tensor, "classes h w"], size: Sequence[int], resized: Sequence[int] | None = None
) -> Int64[Tensor, "height width"]:
    """Interpolate the scores bilinearly to every pixel and take the largest.

    Pixels are handled in bands of rows, so that memory is bounded whatever the number of classes and the image.

    Args:
        scores: a cell every 8 pixels of the image that the network saw.
        size: (height, width) of the wanted label map.
        resized: (height, width) of the image that the network saw; default: as many pixels as `size`.
    """
    classes, cells_y, cells_x = scores.shape
    resized = size if resized is None else resized
    rows = _cell_positions(size[0], resized[0], cells_y).to(scores.device)
    columns = _cell_positions(size[1], resized[1], cells_x).to(scores.device)
    labels = torch.empty(tuple(size), dtype=torch.int64, device=scores.device)
    band = max(1, BAND_VALUES // (classes * size[1]))
    for start in range(0, size[0], band):
        narrow = _interpolate(scores, rows[start : start + band], dim=1)
        labels[start : start + band] = _interpolate(narrow, columns, dim=2).argmax(dim=0)
    return labels


def _cell_positions(pixels: int, resized: int, cells: int) -> Float[Tensor, " pixels"]:
    """Position of every pixel in units of cells; pixel centres of both images coincide at the borders' fractions."""
    position = (torch.arange(pixels, dtype=torch.float64) + 0.5) * (resized / pixels) - 0.5
    return (position / STRIDE).clamp(0, cells - 1).float()


def _interpolate(values: Tensor, positions: Tensor, dim: int) -> Tensor:
    low = positions.floor().long()
    high = (low + 1).clamp(max=values.shape[dim] - 1)
    shape = [1, 1, 1]
    shape[dim] = -1
    return torch.lerp(values.index_select(dim, low), values.index_select(dim, high), (positions - low).view(shape))
