"""A model as one network from an image to its label map, in operations that other runtimes support.

`Model.segment` cuts windows, blends them and interpolates the scores in loops and in place. Here the same computation
is expressed by matrices along rows and columns, so that it can be traced once, for one image size or for any.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from fgsn.data.resize import resized, resized_shape
from fgsn.errors import UsageError
from fgsn.inference.model import Model
from fgsn.inference.tiles import ramp
from fgsn.inference.upsample import cells_around
from fgsn.models.layers import STRIDE, cells

CLASSES_AT_ONCE = 25
"""Labels whose scores are interpolated to pixels together; bounds the memory."""


class Portable(nn.Module):
    """From an 8-bit RGB image (height, width, 3) to the requested outputs.

    labels: (height, width) int32, one for each pixel of the image; scores: (labels, h, w) and features: (dim, h, w),
    float32, with a cell every 8 pixels of the resized image.
    """

    def __init__(self, model: Model, outputs: Sequence[str], size: tuple[int, int] | None) -> None:
        """Wrap a model on the CPU.

        `outputs` are some of labels, scores, features, in the order in which they are returned; `size` is the (height,
        width) of the images, None for any size larger than the model's window: UsageError if the model resizes its
        images.
        """
        super().__init__()
        self.network, self.normalisation = model.network, model.normalisation
        self.outputs, self.window, self.labels = tuple(outputs), model.window, model.clusters
        self.seen = None if size is None else resized_shape(size, model.short_side)
        self._resizes = self.seen != size
        if size is not None and min(size) < STRIDE:
            raise UsageError(f"--size must be at least {STRIDE} x {STRIDE} pixels")
        if size is None and model.short_side:
            raise UsageError(
                f"for onnx and torch: the model resizes images to a shorter side of {model.short_side} px, so specify "
                "their --size, such as --size 1024 768"
            )
        for name, axis in (("ramp_down", 0), ("ramp_across", 1)):
            side = model.window if self.seen is None else min(model.window, self.seen[axis])
            self.register_buffer(name, ramp(1, cells(side))[0].clone())
        if self._resizes:
            assert self.seen is not None
            assert size is not None
            self.down, self.across = _Resize(size[0], self.seen[0]), _Resize(size[1], self.seen[1])
            self.down_first = self._down_first(size, model.short_side)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """The outputs, in their order."""
        height, width = image.shape[:2]
        pixels = image.permute(2, 0, 1).float()
        if self._resizes:
            pixels = self._resized(pixels)
        seen = (height, width) if self.seen is None else self.seen
        maps = self._maps(self.normalisation.apply(pixels), seen)
        if "labels" in maps:
            maps["labels"] = _labels(maps["labels"], (height, width), seen)
        return tuple(maps[name] for name in self.outputs)

    def _resized(self, pixels: Tensor) -> Tensor:
        if self.down_first:
            return self.across(self.down(pixels.transpose(1, 2)).transpose(1, 2))
        return self.down(self.across(pixels).transpose(1, 2)).transpose(1, 2)

    def _down_first(self, size: tuple[int, int], short_side: int) -> bool:
        """Whether Pillow resizes the height first: versions differ, and so do their intermediate roundings."""
        noise = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
        expected = torch.from_numpy(resized(noise, short_side).transpose(2, 0, 1).copy())
        self.down_first = True
        return bool((self._resized(torch.from_numpy(noise).permute(2, 0, 1)) == expected).all())

    def _maps(self, image: Tensor, size: tuple[int, int]) -> dict[str, Tensor]:
        """Scores (also under labels) and features at the feature cells, blended from windows."""
        if self.seen is not None and cells(max(size)) <= cells(self.window):
            return self._chosen(image[None], None)
        sides = [self.window if self.seen is None else min(self.window, pixels) for pixels in size]
        rows, down = _windows(size[0], sides[0], self.get_buffer("ramp_down"))
        columns, across = _windows(size[1], sides[1], self.get_buffer("ramp_across"))
        tiles = image[:, rows][:, :, :, columns].permute(1, 3, 0, 2, 4).flatten(0, 1)
        return self._chosen(tiles, (rows.shape[0], columns.shape[0], down, across))

    def _chosen(self, tiles: Tensor, grid: tuple[int, int, Tensor, Tensor] | None) -> dict[str, Tensor]:
        output = self.network(tiles)
        found: dict[str, Tensor] = {}
        if {"labels", "scores"} & set(self.outputs):
            scores = output.logits[0] if grid is None else _blended(output.logits, *grid)
            found = dict.fromkeys(("labels", "scores"), scores)
        if "features" in self.outputs:
            found["features"] = output.features[0] if grid is None else _blended(output.features, *grid)
        return found


def _windows(pixels: int, side: int, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Windows along one side of the image, as in `fgsn.inference.tiles`; their cells are weighted by `weights`.

    Returns pixels (windows, side) of each, and the weight (cells, windows · window's cells) of their cells in each cell
    of the image.
    """
    last = cells(pixels) - cells(side)
    step = max(1, cells(side) * 2 // 3)
    gaps = (last + step - 1) // step  # other runtimes round towards 0, so nothing here may be negative
    first = last * torch.arange(gaps + 1) // torch.sym_max(gaps, 1)
    place = first[:, None] + torch.arange(cells(side))
    shares = (place.flatten() == torch.arange(cells(pixels))[:, None]) * weights.repeat(gaps + 1)
    return STRIDE * first[:, None] + torch.arange(side), shares


def _blended(values: Tensor, rows: int, columns: int, down: Tensor, across: Tensor) -> Tensor:
    """Maps (C, h, w) of the image from those (windows, C, …) of its windows."""
    spread = values.unflatten(0, (rows, columns)).permute(2, 0, 3, 1, 4).flatten(3, 4).flatten(1, 2)
    return (down @ spread @ across.T) / (down.sum(dim=1)[:, None] * across.sum(dim=1))


def _labels(scores: Tensor, size: tuple[int, int], seen: tuple[int, int]) -> Tensor:
    """The label with the largest score at every pixel, as in `labels_at_pixels`."""
    top, bottom, down = cells_around(size[0], seen[0], scores.shape[1])
    left, right, across = cells_around(size[1], seen[1], scores.shape[2])
    best, labels = None, None
    for first in range(0, scores.shape[0], CLASSES_AT_ONCE):
        part = scores[first : first + CLASSES_AT_ONCE]
        here = part[:, :, left]
        here = here + (part[:, :, right] - here) * across
        above = here[:, top]
        value, label = (above + (here[:, bottom] - above) * down[:, None]).max(dim=0)
        label = label.int() + first
        if best is None or labels is None:
            best, labels = value, label
        else:
            labels = torch.where(value > best, label, labels)
            best = torch.maximum(best, value)
    assert labels is not None
    return labels


class _Resize(nn.Module):
    """Bilinear resizing of the last axis with antialiasing and rounding, bit-identical to Pillow.

    Pillow's weights are multiples of 2^-22, so that sums in 64 bits are exact.
    """

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        each = torch.eye(before, dtype=torch.float64)[None, None]  # the response to each pixel; the filter is the same
        shares = functional.interpolate(each, (before, after), mode="bilinear", antialias=True)[0, 0].T
        shares = (shares * 2**22).round() / 2**22
        near = shares.argsort(dim=1, descending=True, stable=True)[:, : int((shares > 0).sum(dim=1).max())]
        self.register_buffer("pixels", near.T.contiguous())
        self.register_buffer("shares", shares.gather(1, near).T.contiguous())

    def forward(self, values: Tensor) -> Tensor:
        """(…, before) to (…, after); whole numbers 0 to 255."""
        total = torch.full((), 0.5, dtype=torch.float64)
        for pixel, share in zip(self.get_buffer("pixels"), self.get_buffer("shares"), strict=True):
            total = total + values[..., pixel] * share
        return total.floor().clamp(0, 255).float()
