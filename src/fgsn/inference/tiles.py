"""Sliding windows over an image of any size, their results blended with linear ramps at feature resolution.

A network sees windows as large as its training crops. Windows start on multiples of 8 pixels, so that their feature
cells coincide; cells seen by several windows get an average weighted by the distance to the window's border
(METHOD section 2: stride 2/3 of the window, linear ramps).
"""

from collections.abc import Callable, Iterator
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from fgsn.models.layers import STRIDE, cells


def starts(pixels: int, side: int) -> list[int]:
    """First pixels of the windows along one side: multiples of 8, about 2/3 of a window apart, covering every cell."""
    last = max(0, cells(pixels) - cells(side))
    step = max(1, cells(side) * 2 // 3)
    count = -(-last // step) + 1
    return [STRIDE * (last * index // (count - 1) if count > 1 else 0) for index in range(count)]


@lru_cache(maxsize=16)
def ramp(height: int, width: int) -> Float[Tensor, "height width"]:
    """Weights of a window's cells: 1 in the middle third, falling linearly towards the borders, never 0."""
    sides = []
    for n in (height, width):
        position = torch.arange(n, dtype=torch.float32)
        distance = torch.minimum(position + 1, n - position)
        sides.append((distance / max(1.0, n / 3)).clamp(max=1.0))
    return sides[0][:, None] * sides[1][None, :]


@torch.inference_mode()
def blended(
    predict: Callable[[Float[Tensor, "batch 3 height width"]], Tensor],
    image: Float[Tensor, "3 height width"],
    side: int,
    batch: int,
) -> Float[Tensor, "channels cells_y cells_x"]:
    """Run `predict` (a cell every 8 pixels) on all windows of a normalised image and blend the results.

    Args:
        predict: gives (B, C, h, w) for (B, 3, window, window).
        image: the normalised image, on the device of the network.
        side: side of the window in pixels, 8 n + 1; smaller images are one window.
        batch: windows computed at once.
    """
    height, width = image.shape[-2:]
    window = (min(side, height), min(side, width))
    corners = [(top, left) for top in starts(height, side) for left in starts(width, side)]
    if len(corners) == 1:
        return predict(image[None])[0].float()
    grid = (cells(height), cells(width))
    weights = ramp(cells(window[0]), cells(window[1])).to(image.device)
    total, share = None, torch.zeros(grid, device=image.device)
    for chunk in _chunks(corners, batch):
        tiles = torch.stack([image[:, top : top + window[0], left : left + window[1]] for top, left in chunk])
        for (top, left), values in zip(chunk, predict(tiles).float(), strict=True):
            if total is None:
                total = values.new_zeros(values.shape[0], *grid)
            rows = slice(top // STRIDE, top // STRIDE + weights.shape[0])
            columns = slice(left // STRIDE, left // STRIDE + weights.shape[1])
            total[:, rows, columns] += values * weights
            share[rows, columns] += weights
    assert total is not None
    return total / share


def _chunks(items: list[tuple[int, int]], size: int) -> Iterator[list[tuple[int, int]]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
