"""Building blocks shared by all backbones, and the position of feature cells in the image."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

STRIDE = 8
"""Pixels between neighbouring feature cells: cell c is exactly at pixel 8 c, for any image size."""


class ConvNorm(nn.Sequential):
    """Convolution without bias and batch normalisation, `conv` and `bn`, with "same" padding."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 1,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        padding = dilation * (kernel // 2)
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation=dilation, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=eps)

    def forward(self, input: Tensor) -> Tensor:
        """(B, inputs, H, W) → (B, outputs, H / stride, W / stride)."""
        if self.conv.groups > 1 and input.device.type == "cpu" and torch.is_grad_enabled():
            # On a CPU the gradient of a depthwise convolution takes ten times as long in 16 bits as in 32.
            with torch.autocast("cpu", enabled=False):
                return self.bn(self.conv(input.float()))
        return self.bn(self.conv(input))


def cells(pixels: int) -> int:
    """Number of feature cells along a side of `pixels` pixels: 713 → 90, 1024 → 128."""
    return (pixels - 1) // STRIDE + 1


def resize_map(
    values: Float[Tensor, "batch channels height width"], size: Sequence[int]
) -> Float[Tensor, "batch channels new_height new_width"]:
    """Bilinear interpolation with aligned corners (align_corners, as in PSPNet)."""
    if values.shape[-2:] == torch.Size(size):
        return values
    return functional.interpolate(values, size=tuple(size), mode="bilinear", align_corners=True)
