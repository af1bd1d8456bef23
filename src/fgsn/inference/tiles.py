"""Sliding windows over images of any size; predictions are blended with linear ramps at feature resolution.

Windows have the size of the training crops. They start on multiples of 8 pixels, so that their feature cells coincide;
cells in several windows are averaged, weighted by the distance to the window's border (as in the authors' code: stride
2/3 of the window, linear ramps).
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from fgsn.models.layers import STRIDE, cells

Key = TypeVar("Key")


def starts(pixels: int, side: int) -> list[int]:
    """First pixels of the windows along one side: multiples of 8, about 2/3 of a window apart, covering every cell."""
    last = max(0, cells(pixels) - cells(side))
    step = max(1, cells(side) * 2 // 3)
    count = -(-last // step) + 1
    return [STRIDE * (last * index // (count - 1) if count > 1 else 0) for index in range(count)]


@lru_cache(maxsize=16)
def ramp(height: int, width: int, device: torch.device | str = "cpu") -> Float[Tensor, "height width"]:
    """Weights of a window's cells: 1 in the middle third, falling linearly towards the borders, never 0."""
    sides = []
    for n in (height, width):
        position = torch.arange(n, dtype=torch.float32)
        distance = torch.minimum(position + 1, n - position)
        sides.append((distance / max(1.0, n / 3)).clamp(max=1.0))
    return (sides[0][:, None] * sides[1][None, :]).to(device)


class Canvas:
    """The windows of one image, which is on the device of the network, and their blended predictions.

    The side of the windows is 8 n + 1 pixels; a smaller image is one window.
    """

    def __init__(self, image: Float[Tensor, "3 height width"], side: int) -> None:
        height, width = image.shape[-2:]
        self.image = image
        self.corners = [(top, left) for top in starts(height, side) for left in starts(width, side)]
        self.window = (min(side, height), min(side, width)) if len(self.corners) > 1 else (height, width)
        self.missing = len(self.corners)
        self._total: Tensor | None = None

    def tile(self, corner: tuple[int, int]) -> Float[Tensor, "3 window_height window_width"]:
        """The pixels of a window."""
        top, left = corner
        return self.image[:, top : top + self.window[0], left : left + self.window[1]]

    @torch.inference_mode()
    def add(self, corner: tuple[int, int], values: Float[Tensor, "channels h w"]) -> None:
        """Add the prediction for a window."""
        values = values.permute(1, 2, 0)
        self.missing -= 1
        if len(self.corners) == 1:
            self._total = values.float().clone()
            return
        if self._total is None:
            grid = tuple(cells(pixels) for pixels in self.image.shape[-2:])
            self._total = values.new_zeros(*grid, values.shape[-1], dtype=torch.float32)
        rows, columns = self._place(corner)
        weights = ramp(*values.shape[:2], values.device)
        self._total[rows, columns].addcmul_(values.float(), weights[:, :, None])

    @torch.inference_mode()
    def result(self) -> Float[Tensor, "channels cells_y cells_x"]:
        """The blended values, after all windows have been added; the channels of a cell are contiguous in memory."""
        assert self._total is not None
        assert not self.missing
        if len(self.corners) > 1:
            share = torch.zeros(self._total.shape[:2], device=self._total.device)
            weights = ramp(*map(cells, self.window), share.device)
            for corner in self.corners:
                share[self._place(corner)] += weights
            self._total /= share[:, :, None]
        return self._total.permute(2, 0, 1)

    def _place(self, corner: tuple[int, int]) -> tuple[slice, slice]:
        top, left = (pixels // STRIDE for pixels in corner)
        height, width = map(cells, self.window)
        return slice(top, top + height), slice(left, left + width)


def blended(
    predict: Callable[[Float[Tensor, "batch 3 height width"]], Tensor],
    images: Iterable[tuple[Key, Float[Tensor, "3 height width"]]],
    side: int,
    batch: int,
) -> Iterator[tuple[Key, Float[Tensor, "channels cells_y cells_x"]]]:
    """Run `predict` on all windows of many images and blend the results; batches may span several images.

    Images are consumed one by one, and stay in memory only until their last window has been computed.

    Args:
        predict: maps windows to a cell every 8 pixels.
        images: keys and normalised images, on the device of the network.
        side: side of the window in pixels, 8 n + 1; smaller images are one window.
        batch: windows computed at once.

    Yields:
        The key and the blended map of each image, in their order.
    """
    waiting: deque[tuple[Key, Canvas]] = deque()
    windows: list[tuple[Canvas, tuple[int, int]]] = []
    for key, image in images:
        canvas = Canvas(image, side)
        if windows and windows[0][0].window != canvas.window:
            _compute(predict, windows)
        waiting.append((key, canvas))
        for corner in canvas.corners:
            windows.append((canvas, corner))
            if len(windows) == batch:
                _compute(predict, windows)
        while waiting and not waiting[0][1].missing:
            key, canvas = waiting.popleft()
            yield key, canvas.result()
    if windows:
        _compute(predict, windows)
    yield from ((key, canvas.result()) for key, canvas in waiting)


def _compute(
    predict: Callable[[Float[Tensor, "batch 3 height width"]], Tensor], windows: list[tuple[Canvas, tuple[int, int]]]
) -> None:
    """Predict the windows, add them to their canvases and clear the list."""
    with torch.inference_mode():
        maps = predict(torch.stack([canvas.tile(corner) for canvas, corner in windows]))
    for (canvas, corner), values in zip(windows, maps, strict=True):
        canvas.add(corner, values)
    windows.clear()
