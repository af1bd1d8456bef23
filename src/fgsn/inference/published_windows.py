"""Label maps exactly as in the authors' code, for imported models.

Our own windows (`fgsn.inference.tiles`) start on feature cells and are blended there. The authors' windows start at any
pixel, and their scores are interpolated to pixels before blending; the label map is then resized to the image by its
nearest pixels. About one label in twenty differs, where two scores are close. This module reproduces the authors'
labels exactly, but stores scores at feature cells and works in bands of rows, whereas the authors' code stores a map of
the image's size for every label (over 18 GB for 1000 labels).
"""

from collections.abc import Callable, Iterator, Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from fgsn.inference.upsample import argmax

BAND_VALUES, GPU_BAND_VALUES = 1 << 22, 1 << 26
"""Blended scores in memory at once (16 and 256 MiB of float32)."""


def published_starts(pixels: int, side: int) -> list[int]:
    """First pixels of the windows along one side of the image, evenly spaced, at most 2/3 of a window apart."""
    free = max(0, pixels - side)
    step = -(-2 * side // 3)
    gaps = -(-free // step)
    return [free * index // gaps for index in range(gaps + 1)] if gaps else [0]


def published_ramp(side: int) -> Float[Tensor, " side"]:
    """Weights of the pixels along a window's side: 1 in the middle third, falling linearly to the borders."""
    position = torch.arange(side, dtype=torch.float32)
    return (torch.minimum(position + 1, side - position) / max(1, round(side / 3))).clamp(max=1.0)


@torch.inference_mode()
def published_labels(
    predict: Callable[[Float[Tensor, "batch 3 side side"]], Float[Tensor, "batch classes h w"]],
    image: Float[Tensor, "3 seen_height seen_width"],
    side: int,
    batch: int,
    size: Sequence[int],
) -> Int64[Tensor, "height width"]:
    """The label (height, width) of every pixel, by scores of windows that `predict` gives at cells or at pixels.

    Smaller images than the `side` of a window are padded with zeros (the mean colour) at the right and below. `size` is
    the (height, width) of the label map.
    """
    bands = published_scores(predict, image, side, batch)
    labels = torch.cat([argmax(scores.permute(1, 2, 0).contiguous()) for scores in bands])
    rows, columns = (
        ((torch.arange(pixels, dtype=torch.float64) + 0.5) * seen / pixels).long().clamp(max=seen - 1)
        for pixels, seen in zip(size, labels.shape, strict=True)
    )
    return labels[rows.to(labels.device)][:, columns.to(labels.device)]


@torch.inference_mode()
def published_scores(
    predict: Callable[[Float[Tensor, "batch 3 side side"]], Float[Tensor, "batch classes h w"]],
    image: Float[Tensor, "3 height width"],
    side: int,
    batch: int,
) -> Iterator[Float[Tensor, "classes rows width"]]:
    """Blended scores of every pixel of the image, in bands of rows from top to bottom; arguments as above."""
    height, width = image.shape[-2:]
    padded = functional.pad(image, (0, max(0, side - width), 0, max(0, side - height)))
    tops, lefts = published_starts(height, side), published_starts(width, side)
    corners = [(top, left) for top in tops for left in lefts]
    scores: list[Tensor] = []
    for first in range(0, len(corners), batch):
        tiles = [padded[:, top : top + side, left : left + side] for top, left in corners[first : first + batch]]
        scores += predict(torch.stack(tiles)).float()
    ramp = published_ramp(side).to(image.device)
    share_down, share_across = (torch.zeros(pixels, device=image.device) for pixels in (height, width))
    for share, starts in ((share_down, tops), (share_across, lefts)):
        for start in starts:
            share[start : start + side] += ramp[: len(share) - start]
    values_at_once = GPU_BAND_VALUES if image.device.type == "cuda" else BAND_VALUES
    band = max(1, values_at_once // (len(scores[0]) * width))
    for start in range(0, height, band):
        stop = min(start + band, height)
        total = scores[0].new_zeros(len(scores[0]), stop - start, width)
        for (top, left), cells in zip(corners, scores, strict=True):
            above, below = max(start, top), min(stop, top + side)
            if above < below:
                rows = _interpolated(cells, side, above - top, below - top, -2)
                values = _interpolated(rows, side, 0, width - left, -1)
                weights = ramp[above - top : below - top, None] * ramp[: values.shape[-1]]
                total[:, above - start : below - start, left : left + side] += values * weights
        # The windows form a grid, so the sum of their weights is a product, too.
        yield total / (share_down[start:stop, None] * share_across)


def _interpolated(cells: Tensor, side: int, first: int, last: int, dim: int) -> Tensor:
    """Values at pixels `first` to `last` of a window's side, interpolated with the outer cells at its corners."""
    count = cells.shape[dim]
    position = torch.arange(first, min(last, side), device=cells.device) * ((count - 1) / max(1, side - 1))
    before = position.long().clamp(max=count - 1)
    after = (before + 1).clamp(max=count - 1)
    share = (position - before).float()
    if dim == -2:
        share = share[:, None]
    return torch.lerp(cells.index_select(dim, before), cells.index_select(dim, after), share)
